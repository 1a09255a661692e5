"""The areas that a thread found last (mm/vmacache.c, Linux 4.18).

Linux 6.1 has none: the maple tree is fast enough (7964cf8caa4d, v6.1). It is here for a bug that it
had. Each thread keeps four areas, by page number; they are good as long as the thread's sequence
number is that of the address space, which grows whenever an area goes. In 4.18 the number has 32
bits. When it comes back to 0, all threads have to forget what they have, or an area of the last
round might look good; a thread that is alone was thought to have nothing to fear. But its number
stays that of the last round until it looks something up again, and it may get company before.

Left out: the look-ups of system calls; only faults use it.

Invariants: an area in a cache whose sequence number is the address space's is in the tree.
"""

from typing import Final

from attrs import define, field

from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vma import Vma
from mmactors.units import PAGE_SHIFT

VMACACHE_SIZE: Final = 4


@define(eq=False)
class VmaCache:
    """What one thread found last (struct vmacache)."""

    seqnum: int = 0
    vmas: list[Vma | None] = field(factory=lambda: [None] * VMACACHE_SIZE)

    def flush(self) -> None:
        """Forget all areas."""
        self.vmas[:] = [None] * VMACACHE_SIZE


def new_vmacache(mm: MmStruct) -> VmaCache | None:
    """Return the empty cache of a new thread; None: the kernel has no such caches."""
    if not mm.config.vmacache_seqnum_bits:
        return None
    cache = VmaCache(mm.vmacache_seqnum)
    mm.vmacaches.append(cache)
    return cache


def find_vma(mm: MmStruct, cache: VmaCache, address: int) -> Vma | None:
    """Return the first area that ends after `address`, from the thread's cache if it is there."""
    vma = vmacache_find(mm, cache, address)
    if vma is None:
        vma = mm.tree.find_vma(address)
        if vma is not None:
            cache.vmas[_slot(address)] = vma
    return vma


def vmacache_find(mm: MmStruct, cache: VmaCache, address: int) -> Vma | None:
    """Return the cached area that holds `address`; None: there is none, or the cache is stale."""
    if cache.seqnum != mm.vmacache_seqnum:
        cache.seqnum = mm.vmacache_seqnum
        cache.flush()
        return None
    slot = _slot(address)
    for offset in range(VMACACHE_SIZE):
        vma = cache.vmas[(slot + offset) % VMACACHE_SIZE]
        if vma is not None and vma.vm_start <= address < vma.vm_end:
            assert not vma.is_freed, (
                f"the vmacache of a thread, at sequence number {cache.seqnum}, has the area at "
                f"{vma.vm_start:#x}, which was freed"
            )
            return vma
    return None


def vmacache_invalidate(mm: MmStruct) -> None:
    """Let no thread use what it has found: an area goes."""
    bits = mm.config.vmacache_seqnum_bits
    if not bits:
        return
    mm.vmacache_seqnum += 1
    if not mm.rules.vmacache_seqnum_never_wraps and mm.vmacache_seqnum >> bits:
        mm.vmacache_seqnum = 0
        _vmacache_flush_all(mm)


def _vmacache_flush_all(mm: MmStruct) -> None:
    if mm.mm_users == 1:
        return
    for cache in mm.vmacaches:
        cache.flush()


def _slot(address: int) -> int:
    return (address >> PAGE_SHIFT) % VMACACHE_SIZE
