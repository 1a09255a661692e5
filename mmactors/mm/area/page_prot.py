"""The protection of new entries of an area (mm/mmap.c, vma_set_page_prot; Linux 6.1)."""

from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.pgprot import vm_get_page_prot
from mmactors.mm.area.vm_flags import VM_SHARED
from mmactors.mm.area.vma import Vma


def vma_page_prot(vma: Vma) -> int:
    """Return the flags of a new entry of an area (vma_set_page_prot).

    Shared pages of a file whose file system wants to know of the first write begin without RW.
    """
    vm_flags = vma.vm_flags
    if isinstance(vma.vm_file, MappedFile) and vma.vm_file.wants_writenotify:
        vm_flags &= ~VM_SHARED
    return vm_get_page_prot(vm_flags)
