"""Changing entries that stay: mprotect, MADV_FREE, MADV_COLD (mm/mprotect.c, mm/madvise.c, 6.1).

The entries of one table at a time, under its lock; what reclaim deferred is flushed before. Then
all CPUs forget from the first to the last page that one of them may know otherwise
(tlb_finish_mmu). The caller holds mmap_lock.
"""

from collections.abc import Callable

from mmactors.actors.entries.mmu_gather import tlb_finish_mmu
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.tlb.tlb import flush_tlb_batched_pending
from mmactors.arch.pte import SPECIAL, pte_pfn
from mmactors.engine.cpu import Cpu
from mmactors.label import Label, Mode, Touch, page, pte
from mmactors.mm.entries.change_protection import Changed
from mmactors.mm.entries.mmu_gather import MmuGather
from mmactors.mm.page_table.entry import is_present
from mmactors.mm.page_table.leaf_entries import LeafRange


async def finish_changes(kernel: Kernel, cpu: Cpu, gather: MmuGather) -> None:
    """Make all CPUs forget what was changed."""
    await tlb_finish_mmu(kernel, cpu, gather)
    if kernel.checks is not None:
        kernel.checks.revoke_completed(gather.mm)


async def gather_changes(
    kernel: Kernel,
    cpu: Cpu,
    space: AddressSpace,
    gather: MmuGather,
    *,
    start: int,
    end: int,
    text: str,
    change: Callable[[LeafRange], Changed],
) -> None:
    """Let `change` work on the tables of `[start, end)`; the flush is owed to `gather`."""
    engine = kernel.engine
    table = space.mm.page_table
    if engine.wants_step():
        for step in table.find_tables_step(start, end):
            await kernel.engine.step(step)
    for leaves in list(table.leaf_ranges(start, end)):
        async with space.pte_lockptr(leaves.index):
            await flush_tlb_batched_pending(kernel, cpu, space.mm)
            if engine.wants_step():
                await kernel.engine.step(Label(text, entry_touches(kernel, leaves)))
            changed = change(leaves)
            if kernel.checks is not None:
                kernel.checks.revoke(space.mm, leaves.address, leaves.end)
            if changed.nr_changed:
                await engine.spend(kernel.costs.change_pte_ns * changed.nr_changed)
        if changed.first is not None:
            gather.flush_pte_range(changed.first, changed.end)


def entry_touches(kernel: Kernel, leaves: LeafRange, mode: Mode = Mode.WRITE) -> tuple[Touch, ...]:
    """Return the entries of a table, touched as `mode` says, and the pages that they map."""
    words = kernel.memory.words[leaves.index : leaves.index + leaves.count].tolist()
    touches: list[Touch] = [
        (pte(index), mode) for index in range(leaves.index, leaves.index + leaves.count)
    ]
    touches += [
        (page(pte_pfn(entry)), Mode.WRITE)
        for entry in words
        if is_present(entry) and not entry & SPECIAL
    ]
    return tuple(touches)
