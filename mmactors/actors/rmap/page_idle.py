"""Marking pages idle (mm/page_idle.c and fs/proc/task_mmu.c, Linux 6.1).

A tool reads the frames of a range from pagemap, and writes their bits to the bitmap of idle pages.
For each page an rmap walk then clears the accessed bits of all entries that map it, without a
flush; a page that was accessed counts as young. Left out: that only pages on an LRU list are
looked at, huge pages, pages of files.
"""

from mmactors.actors.alloc.page_alloc import put_and_free_page
from mmactors.actors.rmap.rmap_walk import rmap_walk_anon
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.page import PG_IDLE, PG_YOUNG
from mmactors.arch.pte import ACCESSED, PRESENT, SPECIAL, pte_pfn
from mmactors.engine.cpu import Cpu
from mmactors.label import PAGE_TABLES, Label, Mode, page, pte
from mmactors.mm.area.vma import Vma
from mmactors.mm.page_cache.page_cache import get_page
from mmactors.units import PAGE_MASK


async def mark_idle(kernel: Kernel, cpu: Cpu, space: AddressSpace, start: int, end: int) -> int:
    """Mark the present pages of `[start, end)` idle; return how many were marked."""
    nr_marked = 0
    for pfn in await pagemap(kernel, space, start, end):
        nr_marked += await page_idle_bitmap_write(kernel, cpu, pfn)
    return nr_marked


async def pagemap(kernel: Kernel, space: AddressSpace, start: int, end: int) -> list[int]:
    """Return the frames that are present in a range (/proc/pid/pagemap)."""
    async with space.mmap_lock.read():
        if kernel.engine.wants_step():
            await kernel.engine.step(Label("read pagemap", ((PAGE_TABLES, Mode.READ),)))
        last = min(end, space.mm.task_size)
        entries = space.mm.page_table.read_range(start & PAGE_MASK, last).entries.tolist()
    return [pte_pfn(entry) for entry in entries if entry & PRESENT and not entry & SPECIAL]


async def page_idle_bitmap_write(kernel: Kernel, cpu: Cpu, pfn: int) -> bool:
    """Mark one page idle; return False if it is free."""
    pages = kernel.pages
    label = Label(f"get page {pfn:#x}", ((page(pfn), Mode.WRITE),))
    if kernel.engine.wants_step():
        await kernel.engine.step(label)
    if not pages.refcount_view[pfn]:
        return False
    get_page(pages, pfn)

    async def clear_young(vma: Vma, address: int) -> None:
        await _clear_young(kernel, vma, address, pfn)

    await rmap_walk_anon(kernel, cpu, pfn, clear_young)
    if kernel.engine.wants_step():
        await kernel.engine.step(Label(f"mark page {pfn:#x} idle", label.touches))
    pages.flags_view[pfn] |= PG_IDLE
    await put_and_free_page(kernel, cpu, pfn)
    return True


async def _clear_young(kernel: Kernel, vma: Vma, address: int, pfn: int) -> None:
    """Clear the accessed bit of the entry at `address` if it maps the page."""
    mm = vma.vm_mm
    assert mm is not None, f"{vma} is in no address space"
    if kernel.engine.wants_step():
        await kernel.engine.step(Label("find table", ((PAGE_TABLES, Mode.READ),)))
    index = mm.page_table.pte_offset(address)
    if index is None:
        return
    pages, view = kernel.pages, kernel.memory.view
    async with kernel.spaces[mm.ctx_id].pte_lockptr(index):
        if kernel.engine.wants_step():
            touches = ((pte(index), Mode.WRITE), (page(pfn), Mode.WRITE))
            await kernel.engine.step(Label("test and clear young", touches))
        entry = view[index]
        if entry & PRESENT and pte_pfn(entry) == pfn and entry & ACCESSED:
            view[index] = entry & ~ACCESSED
            pages.flags_view[pfn] = pages.flags_view[pfn] & ~PG_IDLE | PG_YOUNG
