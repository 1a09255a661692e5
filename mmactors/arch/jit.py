"""The one decorator for compiled functions.

Reference counting of arrays is switched off (`_nrt=False`, a private option of Numba): it costs a
factor of four to five on the access path. Such a function may read and write the arrays it is
given and call other functions compiled here; it must not make arrays, tuples of arrays or Python
objects. With NUMBA_DISABLE_JIT=1 the same functions run as plain Python.

Three departures from Numba's defaults, all about time and trust:
- Numba compiles a callee anew for each constant and each width of integer that a caller passes,
  which doubles the time to compile. Here every integer is int64 and every flag a boolean; LLVM
  still propagates constants where it inlines.
- A function whose name begins with an underscore is called by compiled functions only, so it
  gets no entry from Python and no place on disk of its own.
- Numba looks only at a function's own file when it decides whether the cached code is still good.
  Here a change in any module that compiles something makes all of it anew.
"""

import gc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numba
from numba.core import types
from numba.core.dispatcher import Dispatcher

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final[dict[str, Any]] = {
    "_nrt": False,
    "no_cfunc_wrapper": True,
    "boundscheck": False,
    "error_model": "numpy",
}
_PACKAGES: Final = ("arch", "hw", "mm", "sanitize", "workload")


def compiled(function: F) -> F:
    """Compile `function`; the result is cached beside its module."""
    is_callee = function.__name__.startswith("_")
    options = _OPTIONS | {"no_cpython_wrapper": is_callee, "cache": not is_callee}
    jitted: Any = numba.njit(**options)(function)
    if isinstance(jitted, Dispatcher):
        _widen_arguments(jitted)
        _compile_without_collector(jitted)
        if not is_callee:
            _watch_all_sources(jitted)
    result: F = jitted
    return result


def is_cached(function: Any) -> bool:
    """Return whether compiled code of `function` is on disk, or none is wanted."""
    if not isinstance(function, Dispatcher):
        return True
    return bool(_index_of(function)._load_index())  # noqa: SLF001 - Numba has no other way


def precompile(function: Any, *examples: Any) -> None:
    """Compile `function` for arguments of the examples' types, without calling it."""
    if isinstance(function, Dispatcher):
        function.compile(tuple(_widen(numba.typeof(example)) for example in examples))


def _widen_arguments(dispatcher: Any) -> None:
    """Let callees be compiled for int64 and boolean instead of for what constants there are."""
    resolve = dispatcher.get_call_template

    def get_call_template(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        widened = tuple(map(_widen, args))
        return resolve(widened, {name: _widen(value) for name, value in kws.items()})

    dispatcher.get_call_template = get_call_template


def _widen(argument: Any) -> Any:
    plain = types.unliteral(argument)
    return types.int64 if isinstance(plain, types.Integer) else plain


def _compile_without_collector(dispatcher: Any) -> None:
    """Compile with the garbage collector off: it finds next to nothing and takes a tenth."""
    compile_one = dispatcher.compile

    def compile_quickly(signature: Any) -> Any:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return compile_one(signature)
        finally:
            if was_enabled:
                gc.enable()

    dispatcher.compile = compile_quickly


def _watch_all_sources(dispatcher: Any) -> None:
    _index_of(dispatcher)._source_stamp = _source_stamp()  # noqa: SLF001 - Numba has no hook for it


def _index_of(dispatcher: Any) -> Any:
    return dispatcher._cache._cache_file  # noqa: SLF001 - Numba has no other way to its cache


@cache
def _source_stamp() -> tuple[float, int]:
    """Return newest change and total size of all modules that may compile something."""
    package = Path(__file__).parent.parent
    stats = [path.stat() for name in _PACKAGES for path in sorted((package / name).rglob("*.py"))]
    return max(stat.st_mtime for stat in stats), sum(stat.st_size for stat in stats)
