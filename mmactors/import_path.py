"""Where Python looks for modules: not in the current folder, whoever filled that.

`python -m mmactors` puts it first on the path. What Python itself imports before this package is
out of reach (`python -P -m mmactors` or the command `mmactors` never look there). This module
imports nothing that is not there already, so that nothing is run before the folder is left out.
"""

import os
import sys


def leave_out_current_folder() -> None:
    """Take away what `python -m mmactors` put first on the path; what the user put there stays."""
    if sys.flags.safe_path or not sys.path or not _is_main():
        return
    try:
        current = os.getcwd()  # noqa: PTH109 - pathlib is not imported yet
    except OSError:  # It was removed, or may not be read; then Python leaves it out by itself.
        current = ""
    if sys.path[0] in {"", ".", current}:
        del sys.path[0]


def _is_main() -> bool:
    """Return whether `-m` names this package: it is being imported for that now."""
    argv = getattr(sys, "argv", [])
    if argv[:1] != ["-m"]:
        return False
    word = sys.orig_argv[-len(argv)]
    name = word.partition("m")[2] if word.startswith("-") else word
    return name.partition(".")[0] == "mmactors"
