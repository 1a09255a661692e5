"""What a process has of its C library before main() begins: the data in which main_arena lies.

Two pages of libc.so.6 (glibc 2.36-9+deb12u of Debian 12, x86-64), at the upper end of where mmap
looks for room. The dynamic linker has written to both, as it set pointers in them. Left out: the
library's other parts, its pages in the page cache, what it has in .bss and as variables of threads.
"""

from typing import Final

import numpy as np
from attrs import frozen

from mmactors.arch.trace import SIZE_SHIFT, STORE, Trace
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import (
    VM_ACCOUNT,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_READ,
    VM_WRITE,
)
from mmactors.mm.area.vma import Vma
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

NAME: Final = "/usr/lib/x86_64-linux-gnu/libc.so.6"
_NR_PAGES: Final = 2
_FILE_PAGE: Final = 0x1D3
"""Where in the file the data begins, in pages."""
_MAIN_ARENA: Final = 0xC60
"""Its place in the data: measured, as all that is said here of this library."""
_LIST_LOCK: Final = 0x18A0
"""Where list_lock and free_list_lock are: in .bss, which begins at 0x1880."""
_FLAGS: Final = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | VM_ACCOUNT
_POINTER_BYTES: Final = 8


@frozen(eq=False)
class LibraryFile:
    """Stands for the library's file (vm_file): pages that are written are the process's own."""

    path: str


def libc_data(mm: MmStruct) -> int:
    """Return where the library's data lies in an address space."""
    return mm.mmap_base - _NR_PAGES * PAGE_SIZE


def main_arena(mm: MmStruct) -> int:
    """Return where main_arena lies in an address space."""
    return libc_data(mm) + _MAIN_ARENA


def list_lock(mm: MmStruct) -> int:
    """Return where the lock of the list of arenas lies; free_list_lock lies behind it."""
    return libc_data(mm) + _LIST_LOCK


def map_libc_data(mm: MmStruct) -> None:
    """Give a process that begins the area of the library's data."""
    start = libc_data(mm)
    mm.insert_vm_struct(
        Vma(
            vm_start=start,
            vm_end=start + _NR_PAGES * PAGE_SIZE,
            vm_flags=_FLAGS,
            vm_pgoff=_FILE_PAGE,
            vm_file=LibraryFile(NAME),
            name=NAME,
        )
    )
    mm.overcommit.vm_acct_memory(_NR_PAGES)


def relocation(mm: MmStruct) -> Trace:
    """Return the stores of the dynamic linker, one for each page (elf_dynamic_do_Rela)."""
    pages = np.arange(_NR_PAGES, dtype=np.int64) << PAGE_SHIFT
    meta = np.full(_NR_PAGES, STORE | _POINTER_BYTES << SIZE_SHIFT, np.int64)
    return Trace(address=libc_data(mm) + pages, meta=meta)
