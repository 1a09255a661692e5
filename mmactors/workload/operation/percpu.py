"""Operations on per-CPU memory, as a kernel module does them (include/linux/percpu.h, v6.1).

These are ours; they are named after the kernel's functions that they call. An area is known by a
name to the program that made it; the name means the area that it was bound to last, also when that
was given back: what is done with it then is the module's mistake.
"""

from typing import ClassVar, Final

from attrs import frozen

from mmactors.workload.operation.grammar import (
    NAME_WORD,
    SIZE,
    Written,
    choice,
    integer,
    keyword,
    positional,
    size,
)

PERCPU_GFP_NAMES: Final = ("KERNEL", "ATOMIC", "NOWAIT", "NOWARN")
"""GFP_* (include/linux/gfp_types.h); NOWARN: GFP_KERNEL | __GFP_NOWARN."""
_GFP: Final = choice(*PERCPU_GFP_NAMES, symbol="GFP")
_CPU: Final = integer(0, 8191, "CPU")
_BYTE: Final = integer(0, 255, "BYTE")
_BYTES_MAX: Final = 1 << 20
_ALIGN: Final = integer(0, 1 << 20, "BYTES")


@frozen(kw_only=True)
class AllocPercpu(Written):
    """Let each CPU have an area, all zero, known as `name`; the result is its per-CPU pointer.

    Or -ENOMEM: it was refused, or there is no room, no memory. Who may not wait (ATOMIC, NOWAIT)
    gets what is there already.
    """

    verb: ClassVar[str] = "alloc_percpu"
    name: str = positional(NAME_WORD)
    length: int = keyword("size", SIZE)
    align: int = keyword("align", _ALIGN, 8)
    gfp: str = keyword("gfp", _GFP, "KERNEL")


@frozen(kw_only=True)
class AllocReservedPercpu(Written):
    """Do the same in the 8 KiB that are set aside for modules' own variables."""

    verb: ClassVar[str] = "alloc_reserved_percpu"
    name: str = positional(NAME_WORD)
    length: int = keyword("size", SIZE)
    align: int = keyword("align", _ALIGN, 8)


@frozen(kw_only=True)
class FreePercpu(Written):
    """Give an area back."""

    verb: ClassVar[str] = "free_percpu"
    percpu: str = positional(NAME_WORD)


@frozen(kw_only=True)
class PerCpuWrite(Written):
    """Write bytes to a CPU's copy of an area, through the TLB of the CPU that does it (memset)."""

    verb: ClassVar[str] = "per_cpu_write"
    percpu: str = positional(NAME_WORD)
    of: int = keyword("of", _CPU)
    offset: int = keyword("offset", size(0, _BYTES_MAX), 0)
    length: int = keyword("bytes", size(1, _BYTES_MAX), 1)
    value: int = keyword("value", _BYTE, 0xAA)


@frozen(kw_only=True)
class PerCpuRead(Written):
    """Read bytes of a CPU's copy of an area; the result is the first four, the lowest first."""

    verb: ClassVar[str] = "per_cpu_read"
    percpu: str = positional(NAME_WORD)
    of: int = keyword("of", _CPU)
    offset: int = keyword("offset", size(0, _BYTES_MAX), 0)
    length: int = keyword("bytes", size(1, _BYTES_MAX), 1)


PercpuOperation = AllocPercpu | AllocReservedPercpu | FreePercpu | PerCpuWrite | PerCpuRead
