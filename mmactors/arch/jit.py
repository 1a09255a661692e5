"""The one decorator for compiled functions.

Reference counting of arrays is switched off (`_nrt=False`, a private option of Numba): it costs a
factor of four to five on the access path. Such a function may read and write the arrays it is
given and call other functions compiled here; it must not make arrays, tuples of arrays or Python
objects. With NUMBA_DISABLE_JIT=1 the same functions run as plain Python.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numba

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
    jitted: F = numba.njit(**_OPTIONS)(function)
    return jitted
