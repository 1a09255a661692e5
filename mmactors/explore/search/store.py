"""Failing schedules, kept in a directory (`.mmactors/`) and tried first by the next search.

One file a schedule: its text form on the first line, then the report for people.
"""

import hashlib
import re
from pathlib import Path
from typing import Final

from attrs import frozen

from mmactors.errors import UserError
from mmactors.explore.execution.script import Script, decode

DIRECTORY: Final = ".mmactors"
_MAX_KEPT: Final = 8
_IGNORE: Final = "# Made by mmactors: schedules that failed on this computer.\n*\n"


@frozen(kw_only=True)
class Kept:
    """One schedule that failed once."""

    path: Path
    fingerprint: str
    script: Script


class Store:
    """The failing schedules of one test."""

    def __init__(self, root: Path, name: str) -> None:
        self._root: Final = root
        self._directory: Final = root / _slug(name)

    def load(self) -> list[Kept]:
        """Return what was kept; what cannot be read is passed over."""
        kept = []
        for path in sorted(self._directory.glob("*.txt")):
            try:
                fingerprint, script = decode(path.read_text(encoding="utf-8").splitlines()[0])
            except (UserError, IndexError, UnicodeDecodeError):
                continue
            kept.append(Kept(path=path, fingerprint=fingerprint, script=script))
        return kept

    def keep(self, replay: str, report: str) -> Path:
        """Keep a schedule; the oldest go when there are too many."""
        self._directory.mkdir(parents=True, exist_ok=True)
        ignore = self._root / ".gitignore"
        if not ignore.exists():
            ignore.write_text(_IGNORE, encoding="utf-8")
        digest = hashlib.blake2b(replay.encode(), digest_size=4).hexdigest()
        path = self._directory / f"{digest}.txt"
        path.write_text(f"{replay}\n\n{report}\n", encoding="utf-8")
        others = sorted(self._directory.glob("*.txt"), key=lambda other: other.stat().st_mtime_ns)
        for other in others[:-_MAX_KEPT]:
            other.unlink()
        return path

    def drop(self, kept: Kept) -> None:
        """Forget a schedule of a program that is no more."""
        kept.path.unlink(missing_ok=True)


def _slug(name: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[-80:]
    return f"{readable}-{hashlib.blake2b(name.encode(), digest_size=3).hexdigest()}"
