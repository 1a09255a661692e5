"""Wiring: from a scenario to the actors of a machine, once, before anything runs."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from attrs import frozen

from mmactors.actors.alloc.zone import ZoneActor
from mmactors.actors.program.access_calls import AccessCalls
from mmactors.actors.program.area_calls import AreaCalls
from mmactors.actors.program.file_calls import FileCalls
from mmactors.actors.program.gup import GupCalls
from mmactors.actors.program.interpreter import Interpreter
from mmactors.actors.program.memory import MemoryActor
from mmactors.actors.program.module.percpu_calls import PercpuCalls
from mmactors.actors.program.module.percpu_ref_calls import PercpuRefCalls
from mmactors.actors.program.module.slab_calls import SlabCalls
from mmactors.actors.program.module.vmalloc_calls import VmallocCalls
from mmactors.actors.program.page_calls import PageCalls
from mmactors.actors.program.proc_calls import ProcCalls
from mmactors.actors.program.process import Process, ProcessTable
from mmactors.actors.program.thread import UserThread
from mmactors.actors.reclaim.slow_path import NothingToReclaim
from mmactors.actors.rmap.rmap_locks import locked_anon_vma_cache
from mmactors.actors.slab.make import make_slab, nr_list_heads
from mmactors.actors.slab.own_objects import OwnObjects
from mmactors.actors.slab.slab import SlabAllocator
from mmactors.actors.state.guarded import guard_allocator, shared, shared_pages
from mmactors.actors.state.inode import FileSystem
from mmactors.actors.state.kernel import INIT_MM_CTX_ID, Kernel
from mmactors.actors.state.page_lock import PageLocks
from mmactors.actors.state.page_table_lock import PageTableLocks
from mmactors.actors.tlb.switch import Switcher
from mmactors.actors.vmalloc.at_first_use import VmallocAtFirstUse
from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PG_RESERVED, PageColumns
from mmactors.engine.baton import Engine
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.lock.rcu import Rcu
from mmactors.engine.lock.rwsem import RwSem
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.engine.mailbox import Mailbox
from mmactors.engine.policy import make_policy
from mmactors.engine.probe import EngineProbe, EventSink
from mmactors.engine.schedule import Replay, Schedule
from mmactors.engine.timer import Timer
from mmactors.errors import Place, Problem, UserError
from mmactors.hw.hardware import Hardware
from mmactors.label import PAGE_TABLES, PAGES, VM_COMMITTED_AS
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.overcommit import Overcommit
from mmactors.mm.boot.boot import boot_memory, slab_arguments_of
from mmactors.mm.entries.tlb_state import TlbState
from mmactors.mm.fault.siginfo import OOPS
from mmactors.mm.lru.folio_batch import FolioBatches
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.gfp import GFP_KERNEL
from mmactors.mm.page_alloc.layout import MemoryLayout
from mmactors.mm.page_table.page_table import PageTable
from mmactors.mm.vmstat import NR_FREE_PAGES
from mmactors.observe.proc.of_machine import machine_texts
from mmactors.observe.proc.proc_files import ProcFiles
from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.faults.decider import FaultInjector
from mmactors.scenario.schema import Scenario

if TYPE_CHECKING:
    from mmactors.sanitize.sanitizer import Sanitizer

_SWAPPER_PG_DIR: Final = 0
"""The frame of the kernel's top table; boot never hands out the first 64 KiB."""


@frozen(kw_only=True, repr=False)
class Wired:
    """All parts of a machine."""

    kernel: Kernel
    layout: MemoryLayout
    arena: Arena
    switcher: Switcher
    interpreter: Interpreter
    table: ProcessTable
    zones: tuple[ZoneActor, ...]
    dram: MemoryActor
    sanitizer: "Sanitizer | None"

    @property
    def processes(self) -> tuple[Process, ...]:
        """All processes that ever were, children of programs too."""
        return tuple(self.table.processes)

    def texts(self) -> dict[str, str]:
        """Return the machine-wide files of /proc by name."""
        return machine_texts(self.kernel, self.layout, self.processes)

    def start_services(self) -> None:
        """Give each serving actor its coroutine."""
        engine = self.kernel.engine
        for zone in self.zones:
            engine.spawn(zone.mailbox.name, zone.serve())
        engine.spawn(self.dram.mailbox.name, self.dram.serve())
        self.kernel.rcu = Rcu(engine, self.kernel.cpus)


def make_engine(scenario: Scenario, schedule: Schedule | None) -> Engine:
    """Make the engine of a scenario; with `schedule` it will replay that interleaving."""
    policy = make_policy(scenario.engine)
    return Engine(scenario.engine, policy=policy if schedule is None else Replay(schedule, policy))


def wire(
    scenario: Scenario,
    *,
    engine: Engine,
    sink: EventSink | None,
    before_exit: Callable[[Process], None],
) -> Wired:
    """Make the machine of a scenario; its programs are ready to run on `engine`."""
    config = scenario.machine
    arena = Arena()
    layout = boot_memory(config.memory, config.cpus, scenario.kernel.slab)
    kernel = _make_kernel(scenario, layout, arena, engine, sink)
    slab = _wire_memory(kernel, arena, scenario)
    switcher = Switcher(kernel)
    _wire_cpus(kernel, switcher, config.cpus)
    _start_reaper(kernel, slab)
    zones = _wire_zones(kernel)
    kernel.dram = Mailbox(engine, "memory", hands_over=True)
    dram = MemoryActor(engine=engine, mailbox=kernel.dram, line_ns=kernel.costs.dram_line_ns)
    kernel.file_system = FileSystem(engine, kernel.locks)
    areas = AreaCalls(kernel=kernel)
    timer = Timer(engine)
    vmalloc = VmallocAtFirstUse(kernel=kernel, slab=slab, timer=timer)
    interpreter = Interpreter(
        kernel=kernel,
        percpu=PercpuCalls(kernel=kernel, vmalloc=vmalloc, layout=layout),
        percpu_refs=PercpuRefCalls(kernel=kernel, slab=slab),
        slab=SlabCalls(kernel=kernel, slab=slab, vmalloc=vmalloc),
        vmalloc=VmallocCalls(kernel=kernel, vmalloc=vmalloc),
        timer=timer,
        files=FileCalls(kernel=kernel),
        gup=GupCalls(kernel=kernel),
        pages=PageCalls(kernel=kernel),
        proc=ProcCalls(kernel=kernel, reader=ProcFiles(kernel, layout)),
        areas=areas,
        accesses=AccessCalls(kernel=kernel, areas=areas, line_bytes=config.hardware.l1i.line_bytes),
    )
    sanitizer = _attach_sanitizer(kernel, scenario.sanitize)
    table = _make_processes(scenario, kernel, interpreter, switcher, before_exit)
    kernel.kill_current = partial(_kill_current, engine, table)
    if not engine.is_exploring:
        _inject_faults(scenario, kernel, table)
    wired = Wired(
        kernel=kernel,
        layout=layout,
        arena=arena,
        switcher=switcher,
        interpreter=interpreter,
        table=table,
        zones=zones,
        dram=dram,
        sanitizer=sanitizer,
    )
    wired.start_services()
    for process in wired.processes:
        process.leader.start(0)
    memory, pages = kernel.memory, kernel.pages
    memory.view = shared(engine, memory.view, PAGE_TABLES)
    if engine.guard.on:
        guard_allocator(kernel)
    pages.mapcount_view = shared(engine, pages.mapcount_view, PAGES)
    return wired


def _kill_current(engine: Engine, table: ProcessTable) -> None:
    """Let the thread that runs die of what the kernel met on its behalf."""
    for process in table.processes:
        for thread in process.threads.values():
            if thread.actor is engine.current:
                thread.receive_signal(OOPS)


def _inject_faults(scenario: Scenario, kernel: Kernel, table: ProcessTable) -> None:
    """Let the faults happen that the scenario wants; without any, nobody is ever asked."""
    marked = [instance.makes_it_fail for instance in scenario.instances()]
    roots = {root for root, is_marked in zip(table.processes, marked, strict=True) if is_marked}
    injector = FaultInjector(
        scenario.faults,
        seed=scenario.engine.seed,
        engine=kernel.engine,
        probe=kernel.probe,
        make_it_fail=lambda: {each.pid for each in table.processes if each.family.root in roots},
    )
    if injector.wants:
        kernel.engine.decide_by(injector)


def _attach_sanitizer(kernel: Kernel, config: SanitizeConfig) -> "Sanitizer | None":
    if not config.is_on:
        return None
    # A machine that nobody checks does without the checkers' modules, and their compiled functions.
    from mmactors.sanitize.sanitizer import attach  # noqa: PLC0415

    return attach(kernel, config)


def _make_kernel(
    scenario: Scenario,
    layout: MemoryLayout,
    arena: Arena,
    engine: Engine,
    sink: EventSink | None,
) -> Kernel:
    """Make the kernel object on the memory that boot has found."""
    config = scenario.machine
    pages = PageColumns(
        arena,
        layout.nr_frames,
        nr_list_heads=PageAllocator.nr_list_heads(nr_zones=len(layout.zones), nr_cpus=config.cpus)
        + nr_list_heads(scenario.kernel.slab, nr_nodes=config.memory.nr_nodes),
    )
    rules = scenario.kernel.rules
    allocator = PageAllocator.of_layout(layout, config.cpus, arena, pages, rules)
    memory = PhysicalMemory(layout.nr_frames)
    init_mm = MmStruct(
        config=scenario.kernel.vm,
        page_table=PageTable(
            memory,
            pgd_pfn=_SWAPPER_PG_DIR,
            levels=config.hardware.levels,
            wants_step=engine.wants_step,
        ),
        ctx_id=INIT_MM_CTX_ID,
    )
    locks = LockStatistics()
    return Kernel(
        engine=engine,
        probe=EngineProbe(engine, sink),
        costs=scenario.kernel.costs,
        hardware=Hardware(
            config.hardware,
            nr_cpus=config.cpus,
            memory=memory,
            arena=arena,
            generation=pages.generation,
        ),
        memory=memory,
        pages=pages,
        allocator=allocator,
        vmstat=allocator.vmstat,
        mm_config=scenario.kernel.vm,
        overcommit=Overcommit(
            totalram_pages=sum(zone.managed_pages for zone in layout.zones),
            nr_cpus=config.cpus,
            policy=scenario.kernel.overcommit.after_boot(_free_pages(allocator)),
            smp_processor_id=lambda: engine.cpu_index,
            touch=partial(engine.touch, VM_COMMITTED_AS),
        ),
        pku=config.pku,
        tables_by_rcu=scenario.kernel.tables_by_rcu,
        fail_page_alloc=scenario.kernel.fail_page_alloc,
        is_preemptible=scenario.kernel.preempt == "full",
        rules=rules,
        locks=locks,
        cpu_node=layout.cpu_node,
        init_mm=init_mm,
        tlb_states=[TlbState(init_mm, has_pcid=config.hardware.pcid) for _ in range(config.cpus)],
    )


def _wire_memory(kernel: Kernel, arena: Arena, scenario: Scenario) -> SlabAllocator:
    """Give the kernel its locks and who answers the allocator, and what boot allocates itself.

    Return the allocator of objects. /proc/lock_stat shows classes of locks in this order.
    """
    engine, locks, pages = kernel.engine, kernel.locks, kernel.pages
    kernel.page_locks = PageLocks(engine, pages)
    kernel.slow_path = NothingToReclaim(kernel.probe)
    kernel.mmap_lock_class = locks.of("&mm->mmap_lock")
    kernel.ptls = PageTableLocks(engine, locks.of("ptlock_ptr(page)"))
    kernel.pgd_lock = Spinlock(engine, locks.of("pgd_lock"), name="pgd_lock")
    kernel.init_mm_lock = Spinlock(
        engine, locks.of("init_mm.page_table_lock"), name="init_mm.page_table_lock"
    )
    kernel.mem_hotplug_lock = RwSem(engine, locks.of("mem_hotplug_lock"), name="mem_hotplug_lock")
    kernel.anon_vma_class = locks.of("&anon_vma->rwsem")
    arguments, nr_possible = slab_arguments_of(scenario.machine.memory, scenario.machine.cpus)
    slab = make_slab(
        kernel,
        arena,
        scenario.kernel.slab,
        arguments,
        nr_possible_cpus=nr_possible,
        seed=scenario.engine.seed,
    )
    kernel.slab = slab.allocator
    kernel.objects = OwnObjects(kernel, slab)
    kernel.anon_vma_cache = locked_anon_vma_cache(kernel)
    kernel.zero_pfn = _boot_alloc(kernel)
    pages.flags_view[kernel.zero_pfn] |= PG_RESERVED
    kernel.shared_pages = shared_pages(engine, pages)
    kernel.lru = _folio_batches(kernel)
    return slab


def _make_processes(
    scenario: Scenario,
    kernel: Kernel,
    interpreter: Interpreter,
    switcher: Switcher,
    before_exit: Callable[[Process], None],
) -> ProcessTable:
    table = ProcessTable()
    for instance in scenario.instances():
        process = Process(
            kernel=kernel,
            table=table,
            pid=table.new_pid(),
            comm=instance.name,
            closing=interpreter,
            switcher=switcher,
            before_exit=before_exit,
            catches_signals=instance.catches_signals,
        )
        process.malloc = instance.malloc
        process.leader = UserThread(
            process=process,
            interpreter=interpreter,
            name=instance.name,
            cpu=kernel.cpus[instance.cpu],
            program=instance.program,
            is_leader=True,
        )
        table.processes.append(process)
    return table


def _folio_batches(kernel: Kernel) -> list[FolioBatches]:
    engine = kernel.engine
    zone_node = np.array([zone.node for zone in kernel.allocator.zones], np.int64)
    return [
        FolioBatches(
            pages=kernel.pages,
            vmstat=kernel.vmstat,
            zone_node=zone_node,
            cpu=cpu,
            touch=engine.touch if engine.is_exploring else None,
        )
        for cpu in range(len(kernel.cpu_node))
    ]


def _wire_cpus(kernel: Kernel, switcher: Switcher, nr_cpus: int) -> None:
    for index in range(nr_cpus):
        kernel.cpus.append(
            Cpu(
                kernel.engine,
                index,
                switch_ns=kernel.costs.context_switch_ns,
                slice_ns=kernel.costs.slice_ns,
                on_switch=switcher.on_switch,
                on_run=switcher.on_run,
            )
        )


def _start_reaper(kernel: Kernel, slab: SlabAllocator) -> None:
    """Let SLAB's CPUs give back now and then what they do not use."""
    if slab.allocator.kind == "slab" and not kernel.engine.is_exploring:
        from mmactors.actors.slab.reaper import Reaper  # noqa: PLC0415
        from mmactors.mm.slab.slab.slab import Slab  # noqa: PLC0415

        assert isinstance(slab.allocator, Slab), f"{slab.allocator.kind} is not SLAB"
        Reaper(kernel, slab, slab.allocator).start()


def _wire_zones(kernel: Kernel) -> tuple[ZoneActor, ...]:
    engine = kernel.engine
    actors = []
    zone_lock_class = kernel.locks.of("&zone->lock")
    for zone in kernel.allocator.zones:
        name = f"zone {zone.node} {zone.name}"
        mailbox: Mailbox[Any] = Mailbox(engine, name, lock_class=zone_lock_class)
        kernel.zone_mailboxes.append(mailbox)
        zone.trace_events = kernel.probe.on
        actors.append(
            ZoneActor(
                engine=engine,
                mailbox=mailbox,
                zone=zone,
                costs=kernel.costs,
                lock_class=zone_lock_class,
                probe=kernel.probe,
            )
        )
    return tuple(actors)


def _boot_alloc(kernel: Kernel) -> int:
    """Allocate a page before there are actors; raise UserError if the watermarks forbid it."""
    allocator = kernel.allocator
    pfn = allocator.perform(allocator.alloc_pages(0, 0, GFP_KERNEL))
    if pfn is None:
        raise UserError(
            Problem(
                place=Place("machine.memory"),
                found="no page is above the watermarks after boot",
                legal="expected one page at least, for the zero page",
                advice="raise size, or lower min_free_kbytes",
            )
        )
    return pfn


def _free_pages(allocator: PageAllocator) -> int:
    vmstat = allocator.vmstat
    return sum(vmstat.zone_page_state(zone.number, NR_FREE_PAGES) for zone in allocator.zones)
