"""What an address space has when a program begins (fs/exec.c, setup_arg_pages; Linux 6.1).

A stack of 132 KiB at the top, of which nothing is present, and where the heap will begin. There is
no randomisation. Left out: the program's own segments, its arguments, vvar and vdso.
"""

from typing import Final

from mmactors.mm.area.mm_struct import DEFAULT_MAP_WINDOW, MmStruct
from mmactors.mm.area.vm_flags import VM_ACCOUNT, VM_DATA_DEFAULT_FLAGS, VM_GROWSDOWN
from mmactors.mm.area.vma import Vma
from mmactors.units import KIB, PAGE_SHIFT, PAGE_SIZE

_STACK_BYTES: Final = 132 * KIB
"""128 KiB more than the page of the arguments."""
_HEAP: Final = 0x5555_5555_9000
"""ELF_ET_DYN_BASE, and five pages of a small program."""


def begin_program(mm: MmStruct) -> None:
    """Give an empty address space a stack, and a place for the heap."""
    start = DEFAULT_MAP_WINDOW - _STACK_BYTES
    mm.insert_vm_struct(
        Vma(
            vm_start=start,
            vm_end=DEFAULT_MAP_WINDOW,
            vm_flags=VM_DATA_DEFAULT_FLAGS | VM_GROWSDOWN | VM_ACCOUNT,
            vm_pgoff=start >> PAGE_SHIFT,
        )
    )
    mm.overcommit.vm_acct_memory(_STACK_BYTES >> PAGE_SHIFT)
    mm.start_stack = DEFAULT_MAP_WINDOW - PAGE_SIZE
    mm.start_brk = mm.brk = _HEAP
