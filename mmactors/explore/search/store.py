"""Failing schedules, kept in a directory (`.mmactors/`) and tried first by the next search.

One file a schedule: its text form on the first line, what is known of it as JSON on the second,
then the report for people. What fails is kept as soon as it is found, and again when it was made as
short as it can be, so that nothing is lost if the search is ended meanwhile.
"""

import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import asdict, fields, frozen

from mmactors.errors import UserError
from mmactors.explore.execution.script import Script, decode
from mmactors.given_file import read_given
from mmactors.limits import KEPT_FILES_MAX, SCRIPT_BYTES_MAX
from mmactors.own_files import Folder

DIRECTORY: Final = ".mmactors"
_KEPT: Final = ".txt"
_IGNORED: Final = ".gitignore"
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
        for path in sorted(self._directory.glob(f"*{_KEPT}"))[:KEPT_FILES_MAX]:
            try:
                if path.is_symlink():
                    continue
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
        folder = self._open_folder()
        try:
            digest = hashlib.blake2b(replay.encode(), digest_size=4).hexdigest()
            known = json.dumps(asdict(figures))
            # Whoever is killed here leaves the file of before.
            folder.write(f"{digest}{_KEPT}", (f"{replay}\n{known}\n\n{report}\n",))
            kept = [name for name in folder.names() if name.endswith(_KEPT)]
            for name in sorted(kept, key=folder.modified_ns)[:-_MAX_KEPT]:
                folder.remove(name)
        finally:
            folder.close()
        return self._directory / f"{digest}{_KEPT}"

    def _open_folder(self) -> Folder:
        """Open the folder of the test, which is made where it is missing; no link is followed."""
        with suppress(FileExistsError):  # If it is no folder, opening it says so.
            self._root.mkdir(parents=True)
        root = Folder(self._root, may_be_link=False)
        try:
            if _IGNORED not in root.names():
                root.write(_IGNORED, (_IGNORE,))
        finally:
            root.close()
        with suppress(FileExistsError):
            self._directory.mkdir()
        return Folder(self._directory, may_be_link=False)

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
