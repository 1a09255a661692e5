"""Failing schedules, kept in a directory (`.mmactors/`) and tried first by the next search.

One file a schedule: its text form on the first line, what is known of it as JSON on the second,
then the report for people. What fails is kept as soon as it is found, and again when it was made as
short as it can be, so that nothing is lost if the search is ended meanwhile.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Final

from attrs import asdict, fields, frozen

from mmactors.errors import UserError
from mmactors.explore.execution.script import Script, decode
from mmactors.given_file import read_given
from mmactors.limits import KEPT_FILES_MAX, SCRIPT_BYTES_MAX

DIRECTORY: Final = ".mmactors"
_MAX_KEPT: Final = 8
_IGNORE: Final = "# Made by mmactors: schedules that failed on this computer.\n*\n"


@frozen(kw_only=True)
class Figures:
    """What was found out about a schedule, so that nobody has to find it out again."""

    nr_preemptions: int
    is_least: bool
    is_shrunk: bool
    """It was made as short as it can be; False: there was no time."""
    found_by: str
    at_schedule: int


@frozen(kw_only=True)
class Kept:
    """One schedule that failed once."""

    path: Path
    fingerprint: str
    script: Script
    figures: Figures | None
    """None: it was kept without."""


class Store:
    """The failing schedules of one test."""

    def __init__(self, root: Path, name: str) -> None:
        self._root: Final = root
        self._directory: Final = root / _slug(name)
        self.trouble: str | None = None
        """Why nothing can be kept; None: it can."""

    def load(self) -> list[Kept]:
        """Return what was kept; what cannot be read is passed over."""
        kept = []
        for path in sorted(self._directory.glob("*.txt"))[:KEPT_FILES_MAX]:
            try:
                data = read_given(path, bytes_max=SCRIPT_BYTES_MAX)
                lines = data.decode("utf-8").splitlines()
                fingerprint, script = decode(lines[0])
            except (OSError, UserError, IndexError, UnicodeDecodeError):
                continue
            figures = _figures("".join(lines[1:2]))
            kept.append(Kept(path=path, fingerprint=fingerprint, script=script, figures=figures))
        return kept

    def keep(self, replay: str, figures: Figures, report: str) -> Path | None:
        """Keep a schedule; the oldest go when there are too many.

        If that cannot be done, note why: what failed is told all the same.
        """
        try:
            return self._keep(replay, figures, report)
        except OSError as error:
            self.trouble = str(error)
            return None

    def _keep(self, replay: str, figures: Figures, report: str) -> Path:
        self._directory.mkdir(parents=True, exist_ok=True)
        ignore = self._root / ".gitignore"
        if not ignore.exists():
            ignore.write_text(_IGNORE, encoding="utf-8")
        digest = hashlib.blake2b(replay.encode(), digest_size=4).hexdigest()
        path = self._directory / f"{digest}.txt"
        known = json.dumps(asdict(figures))
        unfinished = path.with_suffix(".new")
        unfinished.write_text(f"{replay}\n{known}\n\n{report}\n", encoding="utf-8")
        unfinished.replace(path)  # Whoever is killed here leaves the file of before.
        others = sorted(self._directory.glob("*.txt"), key=lambda other: other.stat().st_mtime_ns)
        for other in others[:-_MAX_KEPT]:
            other.unlink(missing_ok=True)
        return path

    def drop(self, path: Path) -> None:
        """Forget a schedule: its program is no more, or a simpler one stands for it."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self.trouble = str(error)


def _figures(text: str) -> Figures | None:
    try:
        figures = Figures(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None
    fits = all(type(getattr(figures, each.name)) is each.type for each in fields(Figures))
    return figures if fits else None


def _slug(name: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[-80:]
    return f"{readable}-{hashlib.blake2b(name.encode(), digest_size=3).hexdigest()}"
