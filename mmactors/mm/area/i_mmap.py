"""Which areas map a file: address_space.i_mmap (include/linux/fs.h, mm/mmap.c; Linux 6.1).

Generators that ask for i_mmap_rwsem: `LockMapping` and `UnlockMapping`, answered with None. Left
out: the order of the interval tree; hugetlb; the count of writable mappings.

Invariant: with i_mmap_rwsem held, `mapping.i_mmap` has exactly the areas that map the file.
"""

from collections.abc import Generator

from attrs import frozen

from mmactors.mm.area.mapped_file import MappedFile, Mapping
from mmactors.mm.area.vma import Vma


@frozen(kw_only=True)
class LockMapping:
    """Take i_mmap_rwsem; what follows reads or changes i_mmap and the limits of areas in it."""

    mapping: Mapping
    is_write: bool = True


@frozen(kw_only=True)
class UnlockMapping:
    """Let i_mmap_rwsem go."""

    mapping: Mapping


IMmapRequest = LockMapping | UnlockMapping
IMmapSteps = Generator[IMmapRequest, int | None, None]


def mapping_of(vma: Vma) -> Mapping | None:
    """Return the pages of the file that an area maps, None: it maps none."""
    file = vma.vm_file
    return file.mapping if isinstance(file, MappedFile) else None


def link_file_vma(vma: Vma) -> IMmapSteps:
    """Let rmap walks find an area by its file (vma_link_file)."""
    mapping = mapping_of(vma)
    if mapping is not None:
        yield LockMapping(mapping=mapping)
        mapping.i_mmap[vma] = None
        yield UnlockMapping(mapping=mapping)


def unlink_file_vma(vma: Vma) -> IMmapSteps:
    """Let no rmap walk find the area any more."""
    mapping = mapping_of(vma)
    if mapping is not None:
        yield LockMapping(mapping=mapping)
        del mapping.i_mmap[vma]
        yield UnlockMapping(mapping=mapping)
