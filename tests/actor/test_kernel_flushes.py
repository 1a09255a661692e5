"""Flushes that reclaim and the kernel's own mappings need, and those mappings."""

from machines import drive, scenario_of

from mmactors.actors.tlb.switch_mm import (
    TLB_LOCAL_SHOOTDOWN,
    TLB_REMOTE_SEND_IPI,
    TLB_REMOTE_SHOOTDOWN,
)
from mmactors.actors.tlb.tlb import TlbBatch, flush_tlb_all, flush_tlb_kernel_range
from mmactors.arch.pte import GLOBAL, PRESENT, pte_pfn
from mmactors.hw import translate
from mmactors.hw.layout import READ
from mmactors.mm.entries.tlb_state import TLB_FLUSH_ALL
from mmactors.mm.vmalloc.kernel_mapping import VMALLOC_START, pgd_index
from mmactors.units import PAGE_SIZE

SPINNING = [
    "mmap A 64K",
    "touch A write",
    "thread T1 cpu=1",
    "thread T2 cpu=2",
    "T1: touch A read",
    "T2: touch A read",
    "T1& spin",
    "sleep 2",
    "stop T1",
]
"""CPU 0 and CPU 2 are lazy when 1 ms has passed, CPU 1 runs."""


def flushing(flush, *, program=None, cpus=4):
    """Run a program; on CPU 3, whose TLB has nothing, `flush(kernel, cpu)` runs after 1 ms."""

    def before(kernel):
        cpu = kernel.cpus[3]
        cpu.spawn_thread("reclaim", flush(kernel, cpu), at_ns=1_000_000)

    return drive(scenario_of(program or SPINNING, cpus=cpus, quantum_ns=0), before=before)


def known(kernel, cpu, address):
    """Return whether a CPU's TLB knows an address in the address space that it has loaded."""
    state = kernel.tlb_states[cpu]
    return bool(kernel.hardware.translations(cpu, state.pcid_of(state.loaded_asid), address))


def fill_global(kernel, cpu, address):
    """Let a CPU read a kernel address."""
    hardware = kernel.hardware
    state, words, born = hardware._state, hardware._memory, hardware._generation
    row = hardware._rows[cpu]
    return translate.translate(state, words, born, False, row, address, READ, 0, 0, False) >= 0


def test_a_batch_flushes_all_its_address_spaces_on_cpus_that_run_them():
    """Lazy CPUs see by tlb_gen what they missed; nobody else is told."""
    seen = []

    async def flush(kernel, cpu):
        (space,) = kernel.spaces.values()
        batch = TlbBatch()
        await batch.add_mm(kernel, space.mm, is_dirty=False)
        await batch.flush(kernel, cpu)
        start = min(vma.vm_start for vma in space.mm.tree)
        seen.append([known(kernel, other, start) for other in (0, 1, 2)])
        assert 0 == batch.cpumask

    ran = flushing(flush)
    reasons = [
        (event["cpu"], event["reason"], event["pages"])
        for event in ran.events("tlb_flush")
        if event["actor"] == "reclaim" or event["reason"] == TLB_REMOTE_SHOOTDOWN
    ]

    assert [[True, False, True]] == seen
    assert [(3, TLB_REMOTE_SEND_IPI, TLB_FLUSH_ALL), (1, TLB_REMOTE_SHOOTDOWN, TLB_FLUSH_ALL)] == (
        reasons[:2]
    )


def test_a_batch_of_the_own_address_space_is_flushed_here():
    """No other CPU has it: no interrupt, and the reason says that it was no single one."""

    async def flush(kernel, cpu):
        (space,) = kernel.spaces.values()
        batch = TlbBatch()
        await batch.add_mm(kernel, space.mm, is_dirty=False)
        batch.cpumask = 1 << cpu.index
        kernel.tlb_states[cpu.index].loaded_mm = space.mm
        await batch.flush(kernel, cpu)
        kernel.tlb_states[cpu.index].loaded_mm = kernel.init_mm

    ran = flushing(flush)

    assert TLB_LOCAL_SHOOTDOWN in [event["reason"] for event in ran.events("tlb_flush")]


def test_flushing_all_reaches_lazy_cpus_and_global_entries():
    """Whatever a CPU has loaded, it forgets everything."""
    seen = []

    async def flush(kernel, cpu):
        (space,) = kernel.spaces.values()
        start = min(vma.vm_start for vma in space.mm.tree)
        await flush_tlb_all(kernel, cpu)
        seen.append([known(kernel, other, start) for other in range(4)])

    ran = flushing(flush)

    assert [[False] * 4] == seen
    assert 3 == ran.messages["interrupt CAL"]


def test_a_kernel_range_is_forgotten_by_every_cpu():
    """Its entries are global: they survive loads of CR3, not INVLPG."""
    seen = []
    program = [*SPINNING[:-2], "vmalloc 8K", *SPINNING[-2:]]

    async def flush(kernel, cpu):
        pages = (VMALLOC_START, VMALLOC_START + PAGE_SIZE)
        assert all(fill_global(kernel, other, page) for other in (0, 1, 2) for page in pages)
        before = [known(kernel, other, VMALLOC_START) for other in (0, 1, 2)]
        end = VMALLOC_START + PAGE_SIZE
        await flush_tlb_kernel_range(kernel, cpu, start=VMALLOC_START, end=end)
        after = [[known(kernel, other, page) for page in pages] for other in (0, 1, 2)]
        seen.append((before, after))

    flushing(flush, program=program)

    assert [([True] * 3, [[False, True]] * 3)] == seen


def test_a_kernel_mapping_is_seen_by_all_address_spaces():
    """Those that are there get the new top-level entry, those that come are born with it."""
    first = ["vmalloc 4K", "sleep 2", "mmap A 4K", "touch A write"]
    second = ["sleep 1", "mmap B 4K", "fork C", "C: touch B write", "vmalloc 4K", "sleep 2"]
    entries = []

    async def look(kernel, _cpu):
        init = kernel.init_mm.page_table
        tables = (init, *(space.mm.page_table for space in kernel.spaces.values()))
        entries.extend(kernel.memory.words[pgd_index(table, VMALLOC_START)] for table in tables)
        with kernel.engine.guard.suspended():
            level, leaf = init.walk(VMALLOC_START)
        assert level == 1
        assert kernel.memory.words[leaf] & (PRESENT | GLOBAL) == PRESENT | GLOBAL

    def before(kernel):
        kernel.cpus[2].spawn_thread("look", look(kernel, None), at_ns=1_500_000)

    drive(scenario_of(first, second, cpus=3, quantum_ns=0), before=before)

    assert 4 == len(entries), "init_mm, two processes, a child"
    assert 1 == len(set(entries))
    assert pte_pfn(int(entries[0]))
