"""What makes Numba's front end quick for whole numbers, and lets sums wrap if asked to.

- For each use of an operator Numba tries one after the other what it may be: sets, texts, arrays,
  dates. Here the one on whole numbers comes first; it gives what Numba itself would find.
- Numba optimises each function alone before it is linked, and all of it cheaply before it is
  optimised. The whole is small, so once is enough.
- Flags are compared thousands of times, option by option; they are equal if what was set is.

None of these changes the code. Numba tells LLVM that sums of numbers with a sign never overflow,
and what does is undefined; code of WRAPPING_PARTS is not told.
"""

import operator
from collections.abc import Sequence
from typing import Any, Final

from numba.core import types
from numba.core.codegen import AOTCodeLibrary, AOTCPUCodegen
from numba.core.compiler import Flags
from numba.core.typing.templates import AbstractTemplate, signature

from mmactors.arch.native.parts import WRAPPING_PARTS

_TO_NUMBER: Final = (
    *(operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod),
    *(operator.iadd, operator.isub, operator.imul),
    *(operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift),
    *(operator.iand, operator.ior, operator.ixor, operator.ilshift, operator.irshift),
)
_TO_FLAG: Final = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)


def prefer_whole_numbers(typing: Any) -> None:
    """Let operators on signed whole numbers be found at once, in this process."""
    for operators, result in ((_TO_NUMBER, types.int64), (_TO_FLAG, types.boolean)):
        for each in operators:
            template = _template(each, signature(result, types.int64, types.int64))
            known = typing.resolve_value_type(each)
            typing._remove_global(each)  # noqa: SLF001 - to be put first
            typing.insert_global(each, types.Function((template, *known.templates)))


def _template(function: Any, on_numbers: Any) -> type[AbstractTemplate]:
    class OnNumbers(AbstractTemplate):
        key = function
        metadata = {"target": "cpu"}  # noqa: RUF012 - as Numba's own templates have it

        def generic(self, args: Sequence[Any], kws: dict[str, Any]) -> Any:
            if kws or len(args) != 2 or not all(map(_is_signed, args)):
                return None
            return on_numbers

    return OnNumbers


def _is_signed(kind: Any) -> bool:
    number: Any = types.Integer
    return isinstance(kind, number) and bool(kind.signed)


class QuickFlags(Flags):
    """Flags that are equal if the same was set."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QuickFlags) and self._values == other._values

    def __hash__(self) -> int:
        return len(self._values)


class _QuickLibrary(AOTCodeLibrary):
    def add_ir_module(self, ir_module: Any) -> None:
        if self.name in WRAPPING_PARTS:
            for function in ir_module.functions:
                for block in function.blocks:
                    for instruction in block.instructions:
                        flags = getattr(instruction, "flags", ())
                        if "nsw" in flags:
                            instruction.flags = tuple(each for each in flags if each != "nsw")
        super().add_ir_module(ir_module)  # type: ignore[no-untyped-call]

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout  # noqa: SLF001 - as Numba's own

    def _optimize_final_module(self) -> None:
        manager, builder = self._codegen._module_pass_manager()  # noqa: SLF001 - as Numba's own
        manager.run(self._final_module, builder)


class QuickCodegen(AOTCPUCodegen):
    """Makes libraries that are optimised once, at the end."""

    _library_class = _QuickLibrary
