"""Loads and stores of the kernel at its own addresses: through TLBs, until these have to forget."""

import pytest
from machines import drive, scenario_of

from mmactors.actors.tlb.tlb import flush_tlb_kernel_range
from mmactors.actors.vmalloc.access import KernelMemory
from mmactors.actors.vmalloc.mapping import vmap_pages_range, vunmap_range_noflush
from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.vmalloc.kernel_mapping import VMALLOC_START
from mmactors.units import PAGE_SIZE

FIRST = VMALLOC_START
SECOND = VMALLOC_START + PAGE_SIZE
IN_EACH_MODE = pytest.mark.parametrize("guard", [False, True])


def on_cpu_1(do, *, guard, nr_pages=2):
    """Map pages at the begin of the vmalloc area, and let CPU 1 `do(kernel, cpu, memory)`."""
    seen = []

    async def work(kernel, cpu):
        pfns = kernel.zero_pfn, *range(kernel.zero_pfn + 1, kernel.zero_pfn + nr_pages)
        assert await vmap_pages_range(kernel, cpu, FIRST, pfns)
        seen.append(await do(kernel, cpu, KernelMemory(kernel=kernel)))
        cpu.exit_thread()

    def before(kernel):
        kernel.cpus[1].spawn_thread("work", work(kernel, kernel.cpus[1]), at_ns=1_000_000)

    ran = drive(scenario_of(["mmap A 4K", "sleep 2"], cpus=2, guard=guard), before=before)
    return ran, seen[0]


@IN_EACH_MODE
def test_what_is_stored_is_loaded_also_across_pages(guard):
    """The first four bytes are told, the lowest first."""

    async def do(_kernel, cpu, memory):
        await memory.access(cpu, FIRST + 4092, 8, value=0x11)
        await memory.access(cpu, SECOND + 1, 1, value=0x22)
        return [
            await memory.access(cpu, FIRST + 4094, 4, value=None),
            await memory.access(cpu, SECOND, 2, value=None),
            await memory.access(cpu, SECOND + 8, 8, value=None),
        ]

    assert [0x22111111, 0x2211, 0] == on_cpu_1(do, guard=guard)[1]


@IN_EACH_MODE
def test_a_translation_that_a_cpu_knows_is_used_until_it_is_flushed(guard):
    """Clearing the entry is not enough: INVLPG takes a global entry, too."""

    async def do(kernel, cpu, memory):
        await memory.access(cpu, FIRST, 4, value=7)
        await vunmap_range_noflush(kernel, FIRST, SECOND)
        stale = await memory.access(cpu, FIRST, 1, value=None)
        await flush_tlb_kernel_range(kernel, cpu, start=FIRST, end=SECOND)
        with pytest.raises(KernelOopsError) as death:
            await memory.access(cpu, FIRST, 1, value=None)
        return stale, str(death.value).splitlines()

    ran, (stale, oops) = on_cpu_1(do, guard=guard)

    assert 7 == stale
    assert "BUG: unable to handle page fault for address: ffffc90000000000" == oops[0]
    assert "#PF: supervisor read access in kernel mode" == oops[1]
    assert "#PF: error_code(0x0000) - not-present page" == oops[2]
    assert [0xFFFFC90000000000] == [each["address"] for each in ran.events("page_fault_kernel")]
    assert 1 == ran.messages["interrupt CAL"]


@IN_EACH_MODE
def test_tables_of_the_kernel_stay_when_their_entries_are_cleared(guard):
    """What is mapped there next needs none; a range without tables is passed over."""

    async def do(kernel, cpu, _memory):
        tables = kernel.memory.nr_tables
        await vunmap_range_noflush(kernel, FIRST, FIRST + (1 << 45))
        assert await vmap_pages_range(kernel, cpu, FIRST, [kernel.zero_pfn])
        return kernel.memory.nr_tables - tables

    assert 0 == on_cpu_1(do, guard=guard)[1]


@IN_EACH_MODE
def test_pages_are_mapped_across_tables(guard):
    """600 pages have two PTE tables; the last one is there."""

    async def do(_kernel, cpu, memory):
        last = FIRST + 599 * PAGE_SIZE
        await memory.access(cpu, last, 1, value=9)
        with pytest.raises(KernelOopsError):
            await memory.access(cpu, last + PAGE_SIZE, 1, value=9)
        return await memory.access(cpu, last, 1, value=None)

    assert 9 == on_cpu_1(do, guard=guard, nr_pages=600)[1]
