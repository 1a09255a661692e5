"""Which source measured a figure: what is kept says so, or nobody knows when it was true."""

import subprocess
from pathlib import Path
from typing import Final

from mmactors.version import __version__

_ROOT: Final = Path(__file__).parents[2]
_WHAT_COUNTS: Final = ("mmactors", "configs/races")
"""What figures of races depend on, of the source."""


def measured_at() -> str:
    """Return the commit of the source and its date, with + if files differ; else the version."""
    commit = ""
    if (_ROOT / ".git").exists():
        commit = _git("log", "-1", "--abbrev=12", "--format=%h of %cs")
    if not commit:
        return f"version {__version__}"
    differs = _git("status", "--short", "--", *_WHAT_COUNTS)
    return commit.replace(" ", "+ ", 1) if differs else commit


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are those above
            ["git", *arguments],  # noqa: S607 - whichever git the shell would run
            cwd=_ROOT,
            check=False,
            capture_output=True,
            text=True,
        )
    except OSError:  # There is no git.
        return ""
    return done.stdout.strip()
