"""Flags of areas (include/linux/mm.h, Linux 6.1)."""

from typing import Final

from mmactors.units import PAGE_MASK, PAGE_SIZE, ULONG_MAX

VM_READ: Final = 0x0000_0001

VM_WRITE: Final = 0x0000_0002

VM_EXEC: Final = 0x0000_0004

VM_SHARED: Final = 0x0000_0008

VM_MAYREAD: Final = 0x0000_0010

VM_MAYWRITE: Final = 0x0000_0020

VM_MAYEXEC: Final = 0x0000_0040

VM_MAYSHARE: Final = 0x0000_0080

VM_GROWSDOWN: Final = 0x0000_0100

VM_PFNMAP: Final = 0x0000_0400

VM_LOCKED: Final = 0x0000_2000

VM_IO: Final = 0x0000_4000

VM_SEQ_READ: Final = 0x0000_8000

VM_RAND_READ: Final = 0x0001_0000

VM_DONTCOPY: Final = 0x0002_0000
"""A fork leaves the area out."""

VM_DONTEXPAND: Final = 0x0004_0000

VM_LOCKONFAULT: Final = 0x0008_0000
"""Pages of the locked area are locked when they are touched, not before."""

VM_ACCOUNT: Final = 0x0010_0000
"""Its pages count towards Committed_AS."""

VM_NORESERVE: Final = 0x0020_0000

VM_HUGETLB: Final = 0x0040_0000

VM_WIPEONFORK: Final = 0x0200_0000
"""A fork gives the child the area without its pages."""

VM_DONTDUMP: Final = 0x0400_0000

VM_MIXEDMAP: Final = 0x1000_0000

VM_HUGEPAGE: Final = 0x2000_0000

VM_NOHUGEPAGE: Final = 0x4000_0000

VM_MERGEABLE: Final = 0x8000_0000

VM_PKEY_SHIFT: Final = 32

ARCH_VM_PKEY_FLAGS: Final = 0xF << VM_PKEY_SHIFT
"""The protection key."""

VM_STACK: Final = VM_GROWSDOWN

VM_ACCESS_FLAGS: Final = VM_READ | VM_WRITE | VM_EXEC

VM_SPECIAL: Final = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP
"""Areas with one of these are never merged or expanded."""

VM_LOCKED_CLEAR_MASK: Final = ~(VM_LOCKED | VM_LOCKONFAULT)

VM_DATA_DEFAULT_FLAGS: Final = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC


def page_align(nr_bytes: int) -> int:
    """Round up to whole pages (PAGE_ALIGN): within the last page of 64 bits, that is 0."""
    return (nr_bytes + PAGE_SIZE - 1) & PAGE_MASK & ULONG_MAX
