"""Arguments of system calls on mappings, as a C library passes them (include/uapi/linux/mman.h)."""

from typing import Final

PROT_NONE: Final = 0
PROT_READ: Final = 1
PROT_WRITE: Final = 2

MAP_PRIVATE: Final = 0x02
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_NORESERVE: Final = 0x4000
MAP_HUGETLB: Final = 0x4_0000
MAP_HUGE_SHIFT: Final = 26

MREMAP_MAYMOVE: Final = 1

MADV_DONTNEED: Final = 4
MADV_FREE: Final = 8
MADV_HUGEPAGE: Final = 14
