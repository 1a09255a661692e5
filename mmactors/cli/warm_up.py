"""`mmactors warm-up`: compile everything now, so that no run has to."""

import json as json_text
import sys
from typing import Annotated

from cyclopts import Parameter

from mmactors.arch import jit
from mmactors.arch.native import store
from mmactors.arch.native.parts import PARTS


def warm_up(*, json: Annotated[bool, Parameter(help="Print JSON.", negative="")] = False) -> int:
    """Compile what is not compiled yet; exit 1 if that cannot be kept, or not be done."""
    was_there = {part for part in PARTS if store.find(part) is not None}
    jit.prepare()
    lines, parts = [], []
    for part, text in PARTS.items():
        found = store.find(part)
        state = _state(part, is_kept=found is not None, was_there=part in was_there)
        path = None if found is None else str(found.path)
        parts.append({"part": part, "state": state, "path": path})
        lines.append(f"{text}: {state}{'' if path is None else f', {path}'}")
    if json:
        sys.stdout.write(json_text.dumps(parts, indent=1) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    is_good = jit.IS_PLAIN or all(part["path"] is not None for part in parts)
    if not is_good:
        sys.stderr.write(
            f"nothing could be kept in {store.cache_dir() or 'no cache'}; "
            f"set {store.CACHE_VARIABLE} to a folder that can be written\n"
        )
    return 0 if is_good else 1


def _state(part: str, *, is_kept: bool, was_there: bool) -> str:
    if jit.IS_PLAIN:
        return "runs as plain Python (NUMBA_DISABLE_JIT)"
    if not jit.is_native(part):
        return "left to Numba"
    if was_there:
        return "was there"
    return "compiled" if is_kept else "compiled, not kept"
