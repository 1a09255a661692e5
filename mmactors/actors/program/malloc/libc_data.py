"""What a process has of its C library before main() begins: the data in which main_arena lies.

Of libc.so.6 (glibc 2.36-9+deb12u14 of Debian 12, x86-64) two pages of .data and, behind them, 13
anonymous ones of .bss, at the upper end of where mmap looks for room. All numbers are those of its
symbols and sections. The dynamic linker has written to the pages of .data, as it set pointers in
them, and libc to the page of .bss in which its locks lie, as it drew tcache_key. Left out: the
library's other parts, its pages in the page cache, its variables of threads.
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
_DATA_PAGES: Final = 2
_BSS_PAGES: Final = 13
_NR_PAGES: Final = _DATA_PAGES + _BSS_PAGES
_FILE_PAGE: Final = 0x1D3
"""Where in the file the data begins, in pages."""
_MAIN_ARENA: Final = 0xC60
_TCACHE_KEY: Final = 0x7478
_LIST_LOCK: Final = 0x748C
"""Places in the data."""
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
    """Return where the lock of the list of arenas lies; free_list_lock lies 12 bytes behind it."""
    return libc_data(mm) + _LIST_LOCK


def map_libc_data(mm: MmStruct) -> None:
    """Give a process that begins the areas of the library's data."""
    start = libc_data(mm)
    bss = start + _DATA_PAGES * PAGE_SIZE
    mm.insert_vm_struct(
        Vma(
            vm_start=start,
            vm_end=bss,
            vm_flags=_FLAGS,
            vm_pgoff=_FILE_PAGE,
            vm_file=LibraryFile(NAME),
            name=NAME,
        )
    )
    mm.insert_vm_struct(
        Vma(
            vm_start=bss,
            vm_end=start + _NR_PAGES * PAGE_SIZE,
            vm_flags=_FLAGS,
            vm_pgoff=bss >> PAGE_SHIFT,
        )
    )
    mm.overcommit.vm_acct_memory(_NR_PAGES)


def first_stores(mm: MmStruct) -> Trace:
    """Return the stores before main(), one for each page that is written.

    They are the dynamic linker's (elf_dynamic_do_Rela) and that of tcache_key.
    """
    pages = np.arange(_DATA_PAGES, dtype=np.int64) << PAGE_SHIFT
    places = np.append(pages, _TCACHE_KEY)
    meta = np.full(len(places), STORE | _POINTER_BYTES << SIZE_SHIFT, np.int64)
    return Trace(address=libc_data(mm) + places, meta=meta)
