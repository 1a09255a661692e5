"""The one decorator for compiled functions.

Reference counting of arrays is switched off (`_nrt=False`, a private option of Numba): it costs a
factor of four to five on the access path. Such a function may read and write the arrays it is
given and call other functions compiled here; it must not make arrays, tuples of arrays or Python
objects. With NUMBA_DISABLE_JIT=1 the same functions run as plain Python.

Left to itself, Numba compiles a callee anew for each constant and each width of integer that a
caller happens to pass, which more than doubles the time to compile. Here every integer is int64 and
every flag a boolean, whatever is passed; LLVM still propagates constants where it inlines.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numba
from numba.core import types

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final[dict[str, Any]] = {
    "cache": True,
    "_nrt": False,
    "no_cfunc_wrapper": True,
    "boundscheck": False,
    "error_model": "numpy",
}


def compiled(function: F) -> F:
    """Compile `function`; the result is cached beside its module."""
    jitted: Any = numba.njit(**_OPTIONS)(function)
    if isinstance(jitted, numba.core.dispatcher.Dispatcher):
        _widen_arguments(jitted)
    result: F = jitted
    return result


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
