"""All compiled functions as one LLVM module, by Numba's front end.

This module, quick.py and entry.py use parts of Numba that are not its documented interface: mostly
those that Numba's own ahead-of-time compiler (numba.pycc, deprecated) uses, as they are from 0.62
on. If a release changes them, tests/example/test_native_code.py fails, and users get each function
compiled by Numba alone (see `compiled`).

Numba compiles each function with all that it calls, once for itself and once more in each caller,
which took two thirds of the time. Here the functions are lowered one by one into one module, a
call is a call within it, and LLVM optimises that module once.

Reference counting of arrays is off (`nrt`): it costs the access path a factor of four to five. So
functions may read and write the arrays they are given, and must not make any.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

from numba.core import types
from numba.core.compiler import compile_extra
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate

from mmactors.arch.native.abi import CPU, ENTRY
from mmactors.arch.native.entry import emit_entry
from mmactors.arch.native.quick import QuickCodegen, QuickFlags, prefer_whole_numbers
from mmactors.arch.native.signature import PAIR, ArrayKind, Kind, Signature, signature_of

_RESULTS: Final = {
    int: types.int64,
    bool: types.boolean,
    None: types.none,
    PAIR: types.UniTuple(types.int64, 2),
}
_ENVIRONMENT: Final = "_ZN08NumbaEnv"
"""How the names of what Numba keeps Python objects in begin; nothing here uses it."""


class Unit:
    """Functions, lowered one after the other, and their entries from Python."""

    def __init__(self, name: str) -> None:
        target = cpu_target.target_context
        target.refresh()
        self._typing: Final = cpu_target.typing_context
        self._typing.refresh()
        prefer_whole_numbers(self._typing)
        codegen: Any = QuickCodegen(name, cpu_name=CPU)  # type: ignore[no-untyped-call]
        self._context: Final = target.subtarget(_internal_codegen=codegen, aot_mode=True)
        self._library: Final = codegen.create_library(name)

    @global_compiler_lock  # type: ignore[untyped-decorator]
    def add(self, function: Callable[..., Any], name: str, *, has_entry: bool) -> None:
        """Lower a function, whose callees were added before."""
        signature = signature_of(function)
        arguments = tuple(map(_type_of, signature.parameters))
        result = _RESULTS[signature.result]
        compiled = compile_extra(
            self._typing,
            self._context,
            function,
            arguments,
            result,
            _flags(),
            locals={},
            library=self._library,
        )
        self._typing.insert_user_function(function, _template(function, compiled.signature))
        self._context.insert_user_function(function, compiled.fndesc)
        if has_entry:
            self._add_entry(name, signature, compiled)

    def _add_entry(self, name: str, signature: Signature, compiled: Any) -> None:
        module = self._library.create_ir_module(name)
        emit_entry(self._context, module, compiled.fndesc, name, signature)
        self._library.add_ir_module(module)

    @global_compiler_lock  # type: ignore[untyped-decorator]
    def finish(self) -> bytes:
        """Optimise all of it; return an object file for this kind of machine."""
        module = self._library._final_module  # noqa: SLF001 - pycc takes it the same way
        _hide_all_but_entries(module)
        self._library.finalize()
        _must_be_whole(module)
        code: bytes = self._library.emit_native_object()
        return code


def _hide_all_but_entries(module: Any) -> None:
    """Let LLVM inline and drop what is not called from outside."""
    for function in module.functions:
        if not function.is_declaration and not function.name.startswith(ENTRY):
            function.linkage = "internal"
    for variable in module.global_variables:
        if variable.name.startswith(_ENVIRONMENT):
            variable.linkage = "internal"


def _must_be_whole(module: Any) -> None:
    """Nothing but what LLVM itself brings may be missing."""
    missing = [
        function.name
        for function in module.functions
        if function.is_declaration and not function.name.startswith("llvm.")
    ]
    assert not missing, f"native code needs {missing}"


def _template(function: Callable[..., Any], signature: Any) -> type[AbstractTemplate]:
    """Return what tells Numba's callers of `function` its one signature, also by keyword."""
    named = signature.replace(pysig=inspect.signature(function))

    class Callee(AbstractTemplate):
        key = function

        def generic(self, args: Sequence[Any], kws: dict[str, Any]) -> Any:
            named.pysig.bind(*args, **kws)
            return named

    return Callee


def _flags() -> Any:
    flags: Any = QuickFlags()  # type: ignore[no-untyped-call]
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.boundscheck = False
    flags.error_model = "numpy"
    flags.nrt = False
    return flags


def _type_of(kind: Kind) -> Any:
    if isinstance(kind, ArrayKind):
        element = getattr(types, kind.dtype)
        return types.Array(element, kind.nr_dimensions, "C", readonly=not kind.is_writable)
    return types.boolean if kind is bool else types.int64
