"""Operations on the kernel's own mappings, as a kernel module does them (mm/vmalloc.c, v6.1).

These are ours; they are named after the kernel's functions that they call. An area is known by a
name to the program that made it, among the names of its objects (slab.py): `poke` and `peek` go
through the CPU's TLB then. Pages that are mapped are those of blocks (page.py).
"""

from typing import ClassVar, Final

from attrs import frozen

from mmactors.workload.operation.grammar import (
    NAME_WORD,
    SIZE,
    Kind,
    Written,
    choice,
    integer,
    keyword,
    positional,
)
from mmactors.workload.operation.slab import NODE

VMALLOC_GFP_NAMES: Final = ("KERNEL", "KERNEL_ACCOUNT", "NOWARN", "THISNODE")
"""GFP_* (include/linux/gfp_types.h); NOWARN: GFP_KERNEL | __GFP_NOWARN, and so on."""
_GFP: Final = choice(*VMALLOC_GFP_NAMES, symbol="GFP")
_CPU: Final = integer(0, 8191, "CPU")
_ALIGN_MAX: Final = 1 << 40


def _read_align(text: str) -> int:
    value = SIZE.read(text)
    if not 0 < value <= _ALIGN_MAX or value & (value - 1):
        raise ValueError(text)
    return int(value)


_ALIGN: Final = Kind(
    "ALIGN", "expected a power of two of bytes up to 1T, such as 1 or 2M", _read_align, SIZE.write
)
_COUNT: Final = integer(1, 1 << 20, "PAGES")
_VM_FLAGS: Final = choice("IOREMAP", symbol="VM_FLAG")


@frozen(kw_only=True)
class Vmalloc(Written):
    """Map new pages one after the other, known as `name`; the result is an address, or -ENOMEM.

    Without a name nobody frees them, and the result is 0.
    """

    verb: ClassVar[str] = "vmalloc"
    name: str | None = positional(NAME_WORD, default=None)
    length: int = positional(SIZE)
    align: int = keyword("align", _ALIGN, 1)
    node: int | None = keyword("node", NODE, None)
    gfp: str = keyword("gfp", _GFP, "KERNEL")


@frozen(kw_only=True)
class Vzalloc(Written):
    """Do the same with pages of zeros; with a node, as vzalloc_node."""

    verb: ClassVar[str] = "vzalloc"
    name: str = positional(NAME_WORD)
    length: int = positional(SIZE)
    node: int | None = keyword("node", NODE, None)


@frozen(kw_only=True)
class Vfree(Written):
    """Unmap an area, and free its pages; from an interrupt a worker does it."""

    verb: ClassVar[str] = "vfree"
    area: str = positional(NAME_WORD)
    smp_call: int | None = keyword("smp_call", _CPU, None)


@frozen(kw_only=True)
class Vmap(Written):
    """Map the first pages of a block, all if no count is said; -EINVAL: they are not its own."""

    verb: ClassVar[str] = "vmap"
    name: str = positional(NAME_WORD)
    block: str = keyword("block", NAME_WORD)
    count: int | None = keyword("count", _COUNT, None)


@frozen(kw_only=True)
class Vunmap(Written):
    """Unmap an area; its pages stay whose they are."""

    verb: ClassVar[str] = "vunmap"
    area: str = positional(NAME_WORD)


@frozen(kw_only=True)
class VmMapRam(Written):
    """Map the first pages of a block for a short time, all if no count is said."""

    verb: ClassVar[str] = "vm_map_ram"
    name: str = positional(NAME_WORD)
    block: str = keyword("block", NAME_WORD)
    count: int | None = keyword("count", _COUNT, None)
    node: int | None = keyword("node", NODE, None)


@frozen(kw_only=True)
class VmUnmapRam(Written):
    """Unmap what vm_map_ram has mapped."""

    verb: ClassVar[str] = "vm_unmap_ram"
    area: str = positional(NAME_WORD)


@frozen(kw_only=True)
class VmUnmapAliases(Written):
    """Make all CPUs forget what is not mapped any more, and let its addresses be used again."""

    verb: ClassVar[str] = "vm_unmap_aliases"


@frozen(kw_only=True)
class GetVmArea(Written):
    """Reserve addresses; with IOREMAP aligned to a power of two that is not less."""

    verb: ClassVar[str] = "get_vm_area"
    name: str = positional(NAME_WORD)
    length: int = positional(SIZE)
    flags: str | None = keyword("flags", _VM_FLAGS, None)


@frozen(kw_only=True)
class FreeVmArea(Written):
    """Give reserved addresses back."""

    verb: ClassVar[str] = "free_vm_area"
    area: str = positional(NAME_WORD)


VmallocOperation = (
    Vmalloc
    | Vzalloc
    | Vfree
    | Vmap
    | Vunmap
    | VmMapRam
    | VmUnmapRam
    | VmUnmapAliases
    | GetVmArea
    | FreeVmArea
)
