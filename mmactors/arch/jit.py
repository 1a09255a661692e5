"""The one decorator for compiled functions.

A compiled function is native code. That of all functions is made once from their source, by Numba's
front end and LLVM (arch/native/), and kept in a file: a wheel brings it, or the first import of a
module with such functions makes it, as Python makes a .pyc. Where it cannot be made, Numba compiles
each function when it is first called.

Such a function may read and write the arrays it is given and call other functions compiled here;
it must not make arrays, tuples of arrays or Python objects, or call itself. It has one signature,
which its annotations say (arch/native/signature.py). A function whose name begins with an
underscore is called by compiled functions only: it has no entry from Python. With
NUMBA_DISABLE_JIT=1 the same functions run as plain Python.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from mmactors.arch.native.parts import MACHINE_PARTS, PARTS, part_of

if TYPE_CHECKING:
    from mmactors.arch.native.load import NativeCode
    from mmactors.arch.native.make import Say

F = TypeVar("F", bound=Callable[..., Any])

IS_PLAIN: Final = os.environ.get("NUMBA_DISABLE_JIT", "0") not in {"", "0"}
"""Whether functions run as plain Python."""

_loaded: Final[dict[str, "NativeCode | None"]] = {}
"""By part its code in this process; None: it cannot be had."""
_sources: Final[dict[int, tuple[Any, Callable[..., Any]]]] = {}
"""What `compiled` has returned, by its id, and the function that it was returned for."""
_numba_versions: Final[dict[Callable[..., Any], Callable[..., Any]]] = {}
_collectors: Final[list[list[Callable[..., Any]]]] = []


def compiled(function: F) -> F:
    """Return what calls the native code of `function`."""
    if IS_PLAIN:
        return function
    if _collectors:
        _collectors[-1].append(function)
        return function
    part = part_of(function.__module__)
    if part is not None:
        if part not in _loaded:
            # A machine needs both of its parts, which are made side by side.
            prepare(MACHINE_PARTS if part in MACHINE_PARTS else [part])
        code = _loaded[part]
        native: Any = None if code is None else code.function(name_of(function), function)
        if native is not None or (code is not None and function.__name__.startswith("_")):
            result: F = native or function
            _sources[id(result)] = (result, function)
            return result
    return _compiled_by_numba(function)


def prepare(parts: Sequence[str] = tuple(PARTS), say: "Say | None" = None) -> None:
    """Let native code of these parts be in this process; what is missing is made.

    `say` is told how far that has come; without it a user reads it on stderr.
    """
    missing = [part for part in parts if part not in _loaded]
    if IS_PLAIN or _collectors or not missing:
        return
    # llvmlite and subprocess are imported where there is something to load or make.
    from mmactors.arch.native.load import CannotLoadError, NativeCode  # noqa: PLC0415
    from mmactors.arch.native.make import CannotMakeError, native_code  # noqa: PLC0415
    from mmactors.arch.native.report import Report  # noqa: PLC0415

    try:
        with Report() as report:
            codes = native_code(missing, say or report, report.regret)
        _loaded.update((part, NativeCode(code)) for part, code in codes.items())
    except (CannotMakeError, CannotLoadError) as error:
        Report().say(f"Numba compiles each function when it is called: {error}")
        _loaded.update(dict.fromkeys(missing))


def is_native(part: str) -> bool:
    """Return whether a part that was prepared is native code."""
    return _loaded.get(part) is not None


@contextmanager
def collecting() -> Iterator[list[Callable[..., Any]]]:
    """Let modules that are imported meanwhile keep their functions, and list them."""
    functions: list[Callable[..., Any]] = []
    _collectors.append(functions)
    try:
        yield functions
    finally:
        _collectors.pop()


def name_of(function: Callable[..., Any]) -> str:
    """Return the name under which native code has a function, such as `hw.access.run`."""
    return f"{function.__module__.removeprefix('mmactors.')}.{function.__name__}"


def _compiled_by_numba(function: F) -> F:
    """Return a function that Numba compiles by itself, for the types it is called with."""
    jitted: list[Callable[..., Any]] = []

    def call(*arguments: Any) -> Any:
        if not jitted:
            jitted.append(_for_numba(function))
        return jitted[0](*arguments)

    result: Any = call
    _sources[id(result)] = (result, function)
    return cast("F", result)


def _for_numba(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return Numba's version of a function, whose callees are Numba's, too: native or not yet."""
    if function in _numba_versions:
        return _numba_versions[function]
    import numba  # noqa: PLC0415 - who has native code never needs it

    names = function.__globals__
    callees = {name: names[name] for name in function.__code__.co_names if name in names}
    known = {
        name: _for_numba(_sources[id(value)][1])
        for name, value in callees.items()
        if id(value) in _sources
    }
    own = FunctionType(function.__code__, {**names, **known}, function.__name__)
    version: Callable[..., Any] = numba.njit(error_model="numpy")(own)
    _numba_versions[function] = version
    return version
