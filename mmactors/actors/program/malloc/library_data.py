"""What a process has of an allocator that is linked before libc: its data, in .data and .bss.

Sizes are those of Debian 12's files (libtcmalloc-minimal4 2.10-1, libjemalloc2 5.3.0-1, x86-64).
The main thread's variables lie in pages of their own, below its descriptor. Left out: libstdc++'s
data, the files' other parts, what the dynamic linker writes to them.
"""

from typing import Final

from mmactors.actors.program.malloc.libc_data import libc_data, map_libc_data
from mmactors.malloc.config import JEMALLOC, TCMALLOC
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
from mmactors.units import PAGE_SHIFT

_DATA_BYTES: Final = {TCMALLOC: 0x1B5000, JEMALLOC: 0x220000}
_TLS_BYTES: Final = 0x7000
_DESCRIPTOR: Final = 0x3180
"""Where in these pages struct pthread begins."""
_FLAGS: Final = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | VM_ACCOUNT


def library_data(mm: MmStruct, library: str) -> int:
    """Return where a library's data lies in an address space: below libc's."""
    return libc_data(mm) - _DATA_BYTES[library]


def main_thread_pointer(mm: MmStruct, library: str) -> int:
    """Return where the main thread's descriptor is."""
    return library_data(mm, library) - _TLS_BYTES + _DESCRIPTOR


def map_libraries(mm: MmStruct, library: str) -> None:
    """Give a process that begins the areas of libc's and a library's data, and a thread's."""
    map_libc_data(mm)
    if library not in _DATA_BYTES:
        return
    start = library_data(mm, library) - _TLS_BYTES
    end = libc_data(mm)
    mm.insert_vm_struct(
        Vma(vm_start=start, vm_end=end, vm_flags=_FLAGS, vm_pgoff=start >> PAGE_SHIFT)
    )
    mm.overcommit.vm_acct_memory((end - start) >> PAGE_SHIFT)
