"""What the flags of an area allow, as flags of page-table entries (mm/mmap.c, Linux 6.1, x86-64).

Left out: encryption bits, write-combining.
"""

from functools import cache

from mmactors.arch.pte import ACCESSED, DIRTY, NX, PRESENT, PROTNONE, RW, SPECIAL, USER, make_pte
from mmactors.mm.area.pkeys import arch_vma_access_permitted, pte_pkey_flags
from mmactors.mm.area.vm_flags import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE


def vm_get_page_prot(vm_flags: int) -> int:
    """Return the flags of a new entry of an area, before it is made writable (protection_map).

    Private areas never get RW here: the write fault adds it, so that copy-on-write works.
    """
    pkey = pte_pkey_flags(vm_flags)
    if not vm_flags & (VM_READ | VM_WRITE | VM_EXEC):
        return PROTNONE | ACCESSED | pkey
    prot = PRESENT | USER | ACCESSED | pkey
    if not vm_flags & VM_EXEC:
        prot |= NX
    if vm_flags & VM_SHARED and vm_flags & VM_WRITE:
        prot |= RW
    return prot


def anonymous_pte(pfn: int, vm_flags: int) -> int:
    """Return the entry of a new anonymous page (do_anonymous_page): dirty and writable at once."""
    return make_pte(pfn, _anonymous_prot(vm_flags))


@cache
def _anonymous_prot(vm_flags: int) -> int:
    prot = vm_get_page_prot(vm_flags)
    return prot | DIRTY | RW if vm_flags & VM_WRITE else prot


def zero_page_pte(zero_pfn: int, vm_flags: int) -> int:
    """Return the entry that a read fault puts where nothing was written yet: never writable."""
    return make_pte(zero_pfn, vm_get_page_prot(vm_flags) | SPECIAL)


def access_error(
    vm_flags: int, *, is_write: bool, is_protection: bool, is_fetch: bool = False
) -> bool:
    """Say whether a fault in an area is a signal (arch/x86/mm/fault.c, access_error).

    `is_protection`: the entry was present. Where the key of the area forbids the access, no entry
    is made that would only fault again. An instruction fetch from an area without VM_EXEC is
    refused only then; the first time its page is mapped, and the fetch faults again.
    """
    if not arch_vma_access_permitted(vm_flags, is_fetch=is_fetch):
        return True
    if is_write:
        return not vm_flags & VM_WRITE
    if is_protection:
        return True
    return not vm_flags & (VM_READ | VM_WRITE | VM_EXEC)
