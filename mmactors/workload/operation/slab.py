"""Operations on objects of the kernel's caches, as a kernel module does them.

These are ours; they are named after the kernel's functions that they call. An object and a cache
are known by names to the program that made them; a name means what it was bound to last, also when
that was freed: what is done with it then is the module's mistake, and the kernel's to find.

With `smp_call=CPU` an interrupt handler on that CPU does it, and is waited for
(smp_call_function_single): it does not sleep, so it allocates with GFP_ATOMIC or GFP_NOWAIT.
"""

from enum import IntFlag
from typing import ClassVar, Final

from attrs import frozen

from mmactors.units import format_bytes
from mmactors.workload.operation.address import parse_size
from mmactors.workload.operation.grammar import (
    NAME_WORD,
    Kind,
    Written,
    choice,
    flags,
    integer,
    keyword,
    positional,
    size,
)


class SlabFlag(IntFlag):
    """SLAB_* (include/linux/slab.h)."""

    CONSISTENCY_CHECKS = 0x100
    RED_ZONE = 0x400
    POISON = 0x800
    HWCACHE_ALIGN = 0x2000
    CACHE_DMA = 0x4000
    CACHE_DMA32 = 0x8000
    STORE_USER = 0x10000
    RECLAIM_ACCOUNT = 0x20000
    TYPESAFE_BY_RCU = 0x80000
    MEM_SPREAD = 0x100000
    NOLEAKTRACE = 0x800000
    ACCOUNT = 0x4000000


SLAB_GFP_NAMES: Final = (
    *("KERNEL", "ATOMIC", "NOWAIT", "KERNEL_ACCOUNT", "RECLAIMABLE", "DMA", "THISNODE"),
)
"""GFP_* (include/linux/gfp_types.h); RECLAIMABLE: GFP_KERNEL | __GFP_RECLAIMABLE, and so on."""
MAY_NOT_SLEEP: Final = ("ATOMIC", "NOWAIT")
"""Of them: what an interrupt handler may say."""
_FLAGS: Final = flags(SlabFlag, {str(flag.name).lower(): flag for flag in SlabFlag})
_GFP: Final = choice(*SLAB_GFP_NAMES, symbol="GFP")
NODE: Final = integer(0, 1023, "NODE")
"""As many as there may be (MAX_NUMNODES)."""
_CPU: Final = integer(0, 8191, "CPU")
_UINT_MAX: Final = (1 << 32) - 1
_ALIGN_MAX: Final = 4096


def _read_align(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else -1
    if value < 0 or value > _ALIGN_MAX or value & (value - 1):
        raise ValueError(text)
    return value


_BYTE: Final = integer(0, 255, "BYTE")
_BYTES_MAX: Final = 4 << 20
_OFFSET_MAX: Final = (1 << 62) - 1


def _read_offset(text: str) -> int:
    value = -parse_size(text[1:]) if text[:1] == "-" else parse_size(text)
    if abs(value) > _OFFSET_MAX:
        raise ValueError(text)
    return value


def _write_offset(value: int) -> str:
    return f"-{format_bytes(-value)}" if value < 0 else format_bytes(value)


_OFFSET: Final = Kind(
    "OFFSET",
    "expected a number of bytes such as 0, 100, 4K, or before the object -8",
    _read_offset,
    _write_offset,
)
_ALIGN: Final = Kind("BYTES", f"expected 0 or a power of two up to {_ALIGN_MAX}", _read_align, str)


@frozen(kw_only=True)
class KmemCacheCreate(Written):
    """Make a cache of objects of a size, or share one that fits; 0, -EINVAL or -ENOMEM."""

    verb: ClassVar[str] = "kmem_cache_create"
    name: str = positional(NAME_WORD)
    length: int = keyword("size", size(1, _UINT_MAX))
    align: int = keyword("align", _ALIGN, 0)
    flags: SlabFlag = keyword("flags", _FLAGS, SlabFlag(0))


@frozen(kw_only=True)
class KmemCacheAlloc(Written):
    """Allocate an object of a cache, known as `name`; the result is its address, or -ENOMEM.

    With a node, as kmem_cache_alloc_node: it is of that one while it has memory, with THISNODE of
    no other.
    """

    verb: ClassVar[str] = "kmem_cache_alloc"
    name: str = positional(NAME_WORD)
    cache: str = keyword("cache", NAME_WORD)
    gfp: str = keyword("gfp", _GFP, "KERNEL")
    node: int | None = keyword("node", NODE, None)
    smp_call: int | None = keyword("smp_call", _CPU, None)


@frozen(kw_only=True)
class KmemCacheFree(Written):
    """Free an object, as one of a cache."""

    verb: ClassVar[str] = "kmem_cache_free"
    object: str = positional(NAME_WORD)
    cache: str = keyword("cache", NAME_WORD)
    smp_call: int | None = keyword("smp_call", _CPU, None)


@frozen(kw_only=True)
class KmemCacheShrink(Written):
    """Give back the slabs of a cache that have no object; 1: there are others."""

    verb: ClassVar[str] = "kmem_cache_shrink"
    cache: str = positional(NAME_WORD)


@frozen(kw_only=True)
class KmemCacheDestroy(Written):
    """Let go of a cache; -EBUSY: objects are left. The name means nothing any more."""

    verb: ClassVar[str] = "kmem_cache_destroy"
    cache: str = positional(NAME_WORD)


@frozen(kw_only=True)
class Kmalloc(Written):
    """Allocate bytes, known as `name`; the result is their address, or -ENOMEM.

    With a node, as kmalloc_node: they are of that one while it has memory, with THISNODE of no
    other.
    """

    verb: ClassVar[str] = "kmalloc"
    name: str = positional(NAME_WORD)
    length: int = keyword("size", size())
    gfp: str = keyword("gfp", _GFP, "KERNEL")
    node: int | None = keyword("node", NODE, None)
    smp_call: int | None = keyword("smp_call", _CPU, None)


@frozen(kw_only=True)
class Kzalloc(Written):
    """Allocate bytes of zeros; with a node, as kzalloc_node."""

    verb: ClassVar[str] = "kzalloc"
    name: str = positional(NAME_WORD)
    length: int = keyword("size", size())
    gfp: str = keyword("gfp", _GFP, "KERNEL")
    node: int | None = keyword("node", NODE, None)
    smp_call: int | None = keyword("smp_call", _CPU, None)


@frozen(kw_only=True)
class Krealloc(Written):
    """Let an object of kmalloc have another size; its name means the new one."""

    verb: ClassVar[str] = "krealloc"
    object: str = positional(NAME_WORD)
    length: int = keyword("size", size())
    gfp: str = keyword("gfp", _GFP, "KERNEL")
    smp_call: int | None = keyword("smp_call", _CPU, None)


@frozen(kw_only=True)
class Kfree(Written):
    """Free an object."""

    verb: ClassVar[str] = "kfree"
    object: str = positional(NAME_WORD)
    smp_call: int | None = keyword("smp_call", _CPU, None)


@frozen(kw_only=True)
class Poke(Written):
    """Write bytes from an offset of an object on, or beside it (memset); the result is 0."""

    verb: ClassVar[str] = "poke"
    object: str = positional(NAME_WORD)
    offset: int = keyword("offset", _OFFSET, 0)
    length: int = keyword("bytes", size(1, _BYTES_MAX), 1)
    value: int = keyword("value", _BYTE, 0xAA)


@frozen(kw_only=True)
class Peek(Written):
    """Read bytes from an offset of an object on; the result is the first four, the lowest first."""

    verb: ClassVar[str] = "peek"
    object: str = positional(NAME_WORD)
    offset: int = keyword("offset", _OFFSET, 0)
    length: int = keyword("bytes", size(1, _BYTES_MAX), 1)


SlabOperation = (
    KmemCacheCreate
    | KmemCacheAlloc
    | KmemCacheFree
    | KmemCacheShrink
    | KmemCacheDestroy
    | Kmalloc
    | Kzalloc
    | Krealloc
    | Kfree
    | Poke
    | Peek
)
