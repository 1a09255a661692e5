"""All compiled functions as one LLVM module, by Numba's front end.

This is the only module that uses parts of Numba that are not its documented interface; they are
those that Numba's own ahead-of-time compiler (numba.pycc, deprecated) uses. If a release of Numba
changes them, tests/example/test_native_build.py fails, and users get each function compiled by
Numba alone (see `compiled`).

Numba compiles each function with all that it calls, once for itself and once more in each caller,
which took two thirds of the time. Here the functions are lowered one by one into one module, a
call is a call within it, and LLVM optimises that module once.

Reference counting of arrays is off (`nrt`): it costs the access path a factor of four to five. So
functions may read and write the arrays they are given, and must not make any.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import llvmlite.binding as llvm
from numba.core import types
from numba.core.compiler import Flags, compile_extra
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate

from mmactors.arch.native.abi import ENTRY
from mmactors.arch.native.entry import emit_entry
from mmactors.arch.native.signature import PAIR, ArrayKind, Kind, Signature, signature_of

_RESULTS: Final = {
    int: types.int64,
    bool: types.boolean,
    None: types.none,
    PAIR: types.UniTuple(types.int64, 2),
}
_ENVIRONMENT: Final = "_ZN08NumbaEnv"
"""How the names of what Numba keeps Python objects in begin; nothing here uses it."""

TARGETS: Final = {
    "x86_64-linux": ("x86_64-unknown-linux-gnu", "x86-64-v2"),
    "aarch64-linux": ("aarch64-unknown-linux-gnu", "generic"),
    "x86_64-darwin": ("x86_64-apple-macosx10.15.0", "x86-64-v2"),
    "aarch64-darwin": ("arm64-apple-macosx11.0.0", "apple-m1"),
}
"""LLVM's names, by kind of machine: the least processor that numpy's wheels run on, too."""


class Unit:
    """Functions, lowered one after the other, and their entries from Python."""

    def __init__(self, name: str) -> None:
        target = cpu_target.target_context
        target.refresh()
        self._typing: Final = cpu_target.typing_context
        self._typing.refresh()
        self._context: Final = target.with_aot_codegen(name)
        self._library: Final = self._context.codegen().create_library(name)

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
    def emit(self, machines: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Optimise all of it; return for each kind of machine its name and an object file.

        The machines have 64-bit words and pointers, laid out alike, so one front end is enough.
        """
        module = self._library._final_module  # noqa: SLF001 - pycc takes it the same way
        _hide_all_but_entries(module)
        self._library.finalize()
        _must_be_whole(module)
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        return ((machine, _object_file(module, *TARGETS[machine])) for machine in machines)


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


def _object_file(optimised: Any, triple: str, cpu: str) -> bytes:
    target = llvm.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=cpu, opt=3, reloc="pic", codemodel="default")
    module = optimised.clone()
    module.triple = triple
    module.data_layout = str(machine.target_data)
    code: bytes = machine.emit_object(module)
    return code


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
    flags: Any = Flags()
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
