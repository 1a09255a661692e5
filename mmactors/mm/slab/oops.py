"""What the kernel says when it cannot go on: wild pointers, BUG(), circles without end (v6.1).

Each raises KernelOopsError. Left out: registers and stack traces, which nothing simulated has.
"""

from typing import Final, NoReturn

from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.slab.slab_common import PAGE_OFFSET
from mmactors.mm.slab.slab_memory import SlabMemory
from mmactors.units import PAGE_SIZE

VMEMMAP: Final = 0xFFFFEA0000000000
"""Where the array of struct pages begins (nokaslr)."""
STRUCT_PAGE_SIZE: Final = 64
_WORD_MASK: Final = (1 << 64) - 1
_SIGN_BITS: Final = 0x1FFFF << 47


def pointer(address: int) -> str:
    """Return a physical address as the direct map's, in hexadecimal; 0 is NULL."""
    return f"{(PAGE_OFFSET + address) & _WORD_MASK if address else 0:016x}"


def oops(memory: SlabMemory, *lines: str) -> NoReturn:
    """Let the kernel die, for whom it works."""
    memory.taints += "D"
    raise KernelOopsError(*lines)


def bug(file: str, line: int) -> tuple[str, ...]:
    """Return what a BUG() says."""
    return (f"kernel BUG at {file}:{line}!", "invalid opcode: 0000 [#1] PREEMPT SMP NOPTI")


def wild_pointer(address: int) -> tuple[str, ...]:
    """Return what reading at a physical address says that no memory has."""
    seen = (PAGE_OFFSET + address) & _WORD_MASK
    if seen < PAGE_SIZE:
        return (f"BUG: kernel NULL pointer dereference, address: {seen:016x}",)
    if (seen & _SIGN_BITS) in (0, _SIGN_BITS):
        return (f"BUG: unable to handle page fault for address: {seen:016x}",)
    what = f"general protection fault, probably for non-canonical address {seen:#x}"
    return (f"{what}: 0000 [#1] PREEMPT SMP NOPTI",)


def lockup(memory: SlabMemory, cpu: int) -> NoReturn:
    """Raise what the watchdog says of a CPU that goes round in a circle for ever."""
    oops(memory, f"watchdog: BUG: soft lockup - CPU#{cpu} stuck for 26s!")
