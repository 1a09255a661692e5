"""Make native code: `python -m mmactors.arch.native.build PART [FOLDER]`.

It runs as a process of its own, in which `compiled` only collects the functions. What it has done
it says on stdout, a line a function: `done all name`. Without a folder the last line is
`code LENGTH`, and so many bytes follow, what the file would hold: nothing need be writable.
"""

import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from mmactors.arch import jit
from mmactors.arch.native import store
from mmactors.arch.native.load import NativeCode
from mmactors.arch.native.parts import PACKAGE, modules_of, part_of

Function = Callable[..., Any]

CODE: Final = "code"
"""The word before the length of what is made."""


def build(part: str, say: Callable[[str], None]) -> bytes:
    """Make the code of a part; return the content of its file."""
    with jit.collecting() as functions:
        for module in modules_of(part):
            import_module(module)
    chosen = in_order(functions, part)
    say(f"0 {len(chosen)}")
    from mmactors.arch.native.numba_unit import Unit  # noqa: PLC0415 - first say how much it is

    unit = Unit(part)
    for done, function in enumerate(chosen, 1):
        name = jit.name_of(function)
        unit.add(function, name, has_entry=_has_entry(function, part))
        say(f"{done} {len(chosen)} {name}")
    code = unit.finish()
    _check(code, [function for function in chosen if _has_entry(function, part)])
    return store.pack(code, _imported())


def _check(code: bytes, functions: Iterable[Function]) -> None:
    """Load the code here, where a crash harms nobody, and call each function: too few arguments."""
    native = NativeCode(code)
    for function in functions:
        entry = native.function(jit.name_of(function), function)
        assert entry is not None, f"{jit.name_of(function)} has no entry"
        try:
            entry()
        except TypeError:
            continue
        raise AssertionError(f"{jit.name_of(function)} takes no arguments")


def _has_entry(function: Function, part: str) -> bool:
    return part_of(function.__module__) == part and not function.__name__.startswith("_")


def in_order(functions: Iterable[Function], part: str) -> list[Function]:
    """Return the functions of a part and all that they call, callees first."""
    known = {id(function): function for function in functions}
    order: dict[int, Function] = {}

    def visit(function: Function, callers: tuple[Function, ...]) -> None:
        assert function not in callers, f"{jit.name_of(function)} calls itself"
        if id(function) in order:
            return
        for callee in _callees(function, known):
            visit(callee, (*callers, function))
        order[id(function)] = function

    for function in known.values():
        if part_of(function.__module__) == part:
            visit(function, ())
    return list(order.values())


def _callees(function: Any, known: dict[int, Function]) -> Iterator[Function]:
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if id(value) in known:
            yield known[id(value)]


def _imported() -> list[Path]:
    """Return the files of all modules of mmactors in this process."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    paths = [Path(file) for file in files if file is not None]
    return [path for path in paths if path.is_relative_to(PACKAGE)]


def main(arguments: Sequence[str]) -> None:
    """Make the code of the part that is named first; put it into the folder, or on stdout."""
    part, *folders = arguments
    # Compiling leaves next to nothing for the collector, which would take a tenth of the time.
    gc.disable()
    content = build(part, _say)
    for folder in folders:
        store.save(Path(folder) / store.file_name(part), content)
    if not folders:
        _say(f"{CODE} {len(content)}")
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def _say(line: str) -> None:
    sys.stdout.buffer.write(f"{line}\n".encode())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
