"""From a page of anonymous memory to the entries that map it (mm/rmap.c, Linux 6.1).

Nothing keeps a page mapped while a walk looks for its anon_vma, so the anon_vma may be freed, and
be another's, before the walk has its lock. Under rcu_read_lock the object is at least an anon_vma
still. Once the walk has a lock of it, it asks again whether the page is mapped: if so, the anon_vma
is still the page's, and cannot be freed before the lock is let go.

Every look at shared state is a step of its own, as each is one load in the kernel.
"""

from collections.abc import Awaitable, Callable

from mmactors.actors.rmap.rmap_locks import lock_of, perform_rmap
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.label import Label, Mode, anon_vma_tree, areas, page
from mmactors.mm.area.anon_vma import AnonVma
from mmactors.mm.area.anon_vma_chain import free_anon_vma
from mmactors.mm.area.vma import Vma
from mmactors.mm.rmap.rmap import PAGE_MAPPING_ANON, anon_vma_number, vma_address

RmapOne = Callable[[Vma, int], Awaitable[None]]
"""Called with each area that may map the page, and the address there."""


async def rmap_walk_anon(kernel: Kernel, cpu: Cpu, pfn: int, rmap_one: RmapOne) -> None:
    """Call `rmap_one` for each area that may map a page, of which the caller has a reference."""
    anon_vma = await folio_lock_anon_vma_read(kernel, cpu, pfn)
    if anon_vma is None:
        return
    await _look_at(kernel, "begin rmap walk", anon_vma, Mode.WRITE)
    anon_vma.nr_walkers += 1
    for link in list(anon_vma.rb_root):
        vma = link.vma
        assert vma.vm_mm is not None, f"{vma} is in no address space"
        if kernel.engine.wants_step():
            touches = ((areas(vma.vm_mm.ctx_id), Mode.READ),)
            await kernel.engine.step(Label("vma_address", touches))
        address = vma_address(kernel.pages, pfn, vma)
        if address is not None:
            await rmap_one(vma, address)
    await _look_at(kernel, "end rmap walk", anon_vma, Mode.WRITE)
    anon_vma.nr_walkers -= 1
    await anon_vma_unlock_read(kernel, anon_vma)


async def folio_lock_anon_vma_read(kernel: Kernel, cpu: Cpu, pfn: int) -> AnonVma | None:
    """Return the anon_vma of a mapped page with its lock held for reading; None: there is none."""
    rcu = kernel.rcu
    await rcu.read_lock(cpu)
    await _look_at_page(kernel, "page->mapping", pfn)
    mapping = kernel.pages.mapping_view[pfn]
    if not mapping & PAGE_MAPPING_ANON or not await _is_mapped(kernel, pfn):
        await rcu.read_unlock(cpu)
        return None
    anon_vma = kernel.anon_vma_cache.objects[anon_vma_number(mapping)]
    await _look_at(kernel, "anon_vma->root", anon_vma)
    root = anon_vma.root
    lock = lock_of(root)
    if await lock.trylock_read():
        if not await _is_still_mapped(kernel, pfn, anon_vma):
            # Its root may be another by now: this lock is the one to let go.
            await lock.release_read()
            await rcu.read_unlock(cpu)
            return None
        await rcu.read_unlock(cpu)
        return anon_vma
    await _look_at(kernel, "get anon_vma", anon_vma, Mode.WRITE)
    if not anon_vma.refcount:
        await rcu.read_unlock(cpu)
        return None
    anon_vma.refcount += 1
    is_mapped = await _is_mapped(kernel, pfn)
    # Pinned, so that it may sleep.
    await rcu.read_unlock(cpu)
    if is_mapped:
        await lock_of(anon_vma.root).acquire_read()
    await _look_at(kernel, "put_anon_vma", anon_vma, Mode.WRITE)
    anon_vma.refcount -= 1
    if not anon_vma.refcount:
        if is_mapped:
            await anon_vma_unlock_read(kernel, anon_vma)
        await perform_rmap(kernel, None, free_anon_vma(anon_vma))
        return None
    return anon_vma if is_mapped else None


async def anon_vma_unlock_read(kernel: Kernel, anon_vma: AnonVma) -> None:
    """Let the lock of an anon_vma go: that of its root."""
    await _look_at(kernel, "anon_vma->root", anon_vma)
    await lock_of(anon_vma.root).release_read()


async def _is_mapped(kernel: Kernel, pfn: int) -> bool:
    await _look_at_page(kernel, "page_mapped", pfn)
    return kernel.pages.mapcount_view[pfn] > 0


async def _is_still_mapped(kernel: Kernel, pfn: int, anon_vma: AnonVma) -> bool:
    """Say whether the anon_vma that was locked is still the page's."""
    if kernel.engine.wants_step():
        number = anon_vma.number
        touches = ((page(pfn), Mode.READ), (anon_vma_tree(number), Mode.READ))
        await kernel.engine.step(Label(f"page_mapped of {pfn:#x}, anon_vma {number}", touches))
    is_mapped = kernel.pages.mapcount_view[pfn] > 0
    assert anon_vma.is_live or not is_mapped, (
        f"page {pfn:#x} is mapped, but anon_vma[{anon_vma.number}], to which it belongs, was freed"
    )
    return is_mapped or not kernel.rules.page_lock_anon_vma_rechecks_mapped


async def _look_at_page(kernel: Kernel, what: str, pfn: int) -> None:
    if kernel.engine.wants_step():
        await kernel.engine.step(Label(f"{what} of {pfn:#x}", ((page(pfn), Mode.READ),)))


async def _look_at(kernel: Kernel, what: str, anon_vma: AnonVma, mode: Mode = Mode.READ) -> None:
    if kernel.engine.wants_step():
        number = anon_vma.number
        await kernel.engine.step(Label(f"{what} {number}", ((anon_vma_tree(number), mode),)))
