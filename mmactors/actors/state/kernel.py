"""The kernel as its paths see it: one object that holds what all CPUs share.

Everything here is wired once by scenario/wiring.py. `ask` edges, which must stay free of cycles:
a thread asks a zone actor, a thread asks the memory actor; nobody else asks.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.costs import KernelCosts
from mmactors.actors.state.inode import FileSystem
from mmactors.actors.state.objects import KernelObjects
from mmactors.actors.state.page_lock import PageLocks
from mmactors.actors.state.page_table_lock import PageTableLocks
from mmactors.actors.state.slow_path import SlowPath
from mmactors.actors.state.task_struct import SignalStruct
from mmactors.arch.frame_words import FrameWords
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PG_LOCKED, PageColumns
from mmactors.checks import AreaChecks, Checks, HeapChecks
from mmactors.engine.baton import Engine
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.lock_stat import LockClass, LockStatistics
from mmactors.engine.lock.rcu import Rcu
from mmactors.engine.lock.rwsem import RwSem
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.engine.mailbox import Mailbox
from mmactors.engine.probe import EngineProbe
from mmactors.hw.hardware import Hardware
from mmactors.label import Mode, areas
from mmactors.mm.area.anon_vma import AnonVmaCache
from mmactors.mm.area.mm_config import MmConfig
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.overcommit import Overcommit
from mmactors.mm.area.task import Task
from mmactors.mm.entries.tlb_state import TlbState
from mmactors.mm.fault.context import FaultContext
from mmactors.mm.lru.folio_batch import FolioBatches
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.percpu_ref.percpu_ref import PercpuRefs
from mmactors.mm.slab.allocator import ObjectAllocator
from mmactors.mm.vmalloc.kernel_mapping import clone_kernel_pgd
from mmactors.mm.vmstat import VmStat
from mmactors.rules import Rules

if TYPE_CHECKING:
    from mmactors.mm.percpu.percpu import Percpu
    from mmactors.mm.vmalloc.space import VmallocSpace

INIT_MM_CTX_ID: Final = 0
"""context.ctx_id of init_mm; processes count from 1."""


@define(eq=False)
class LateStore:
    """A CPU's bit that it has set in an mm_cpumask, and that others do not see yet."""

    cpu: int
    mm: MmStruct
    is_done: bool = False


@define(eq=False)
class ModulePages:
    """A block that a kernel module has allocated, or had."""

    pfn: int
    order: int
    is_held: bool = True


@define(eq=False)
class ModulePercpu:
    """A per-CPU area that a kernel module has, or had; NO_POINTER: there was no room."""

    pointer: int
    nr_bytes: int
    """What was asked for."""
    is_held: bool


@define(eq=False, kw_only=True, repr=False)
class Kernel:
    """What the kernel paths work on."""

    engine: Engine
    probe: EngineProbe
    costs: KernelCosts
    hardware: Hardware
    memory: PhysicalMemory
    pages: PageColumns
    allocator: PageAllocator
    vmstat: VmStat
    mm_config: MmConfig
    overcommit: Overcommit
    """What the machine has promised."""
    pku: bool
    """The CPUs have protection keys."""
    slab: ObjectAllocator[Any] = field(init=False)
    """All caches of objects."""
    objects: KernelObjects = field(init=False)
    """Those of the kernel's own objects."""
    percpu_refs: PercpuRefs = field(init=False)
    kill_current: Callable[[], None] = field(init=False)
    """Lets the thread that runs die at its next return to user mode, if it is a program's."""
    anon_vma_cache: AnonVmaCache = field(init=False)
    tables_by_rcu: bool
    fail_page_alloc: bool
    is_preemptible: bool
    """As KernelConfig has them."""
    rules: Rules
    locks: LockStatistics
    cpu_node: tuple[int, ...]
    """By CPU: its node."""
    zone_node: tuple[int, ...] = field(init=False)
    """By the allocator's zone number: its node."""
    checks: Checks | None = None
    """Who is told at what moments a law could be broken; None: nobody."""
    area_checks: AreaChecks | None = None
    """Who is told of the kernel's own mappings; None: nobody."""
    heap_checks: HeapChecks | None = None
    """Who is told of the heaps of programs; None: nobody."""
    zone_mailboxes: list[Mailbox[Any]] = field(factory=list)
    """By the allocator's zone number: each mailbox is that zone's zone->lock."""
    dram: Mailbox[Any] = field(init=False)
    cpus: list[Cpu] = field(factory=list)
    init_mm: MmStruct
    """The kernel's own address space: what a CPU translates through that has no other."""
    tlb_states: list[TlbState] = field(factory=list)
    """By CPU."""
    lru: list[FolioBatches] = field(factory=list)
    """By CPU: pages on their way to the LRU lists."""
    zero_pfn: int = field(init=False)
    """The frame that read faults of anonymous memory map (empty_zero_page)."""
    spaces: dict[int, AddressSpace] = field(factory=dict)
    """All address spaces, by ctx_id."""
    file_system: FileSystem = field(init=False)
    rcu: Rcu = field(init=False)
    fault_contexts: dict[int, FaultContext] = field(factory=dict)
    """By the number of a thread's actor: what its faults work with."""
    shared_pages: PageColumns = field(init=False)
    """`pages` as mechanisms see it that several actors drive: guarded in guard mode."""
    page_locks: PageLocks = field(init=False)
    slow_path: SlowPath = field(init=False)
    """Whom the allocator asks when zones are short."""
    mmap_lock_class: LockClass = field(init=False)
    ptls: PageTableLocks = field(init=False)
    anon_vma_class: LockClass = field(init=False)
    pgd_lock: Spinlock = field(init=False)
    """Guards which top tables there are, and their kernel halves."""
    init_mm_lock: Spinlock = field(init=False)
    """init_mm's page_table_lock."""
    mem_hotplug_lock: RwSem = field(init=False)
    """Held for writing while memory comes online or goes offline (mem_hotplug_begin)."""
    percpu: "Percpu | None" = None
    """Chunks of per-CPU memory; None: nobody has asked for any."""
    vmalloc_space: "VmallocSpace | None" = None
    """The kernel's own mappings; None: nobody has asked for any."""
    area_bytes: dict[int, tuple[int, bytes]] = field(factory=dict)
    """What was stored there: a page's generation then, and its bytes."""
    frame_words: FrameWords = field(init=False)
    """What operations on words have stored in programs' memory."""
    late_stores: list[LateStore] = field(factory=list)
    """Stores that no barrier ordered: each waited, or waits, in the store buffer of its CPU."""
    init_signal: SignalStruct = field(factory=partial(SignalStruct, None))
    """The process that forks programs, whose children are reaped as soon as they have ended."""
    module_pages: list[ModulePages] = field(factory=list)
    """All blocks that kernel modules have allocated; a module keeps them past the program's end."""
    module_percpu: "dict[tuple[int, str], ModulePercpu]" = field(factory=dict)
    """By program and name, the per-CPU area that its module was given last."""
    is_percpu_in_order: bool = True
    """No module has given back what it had given back: then chunks count wrongly, as in 6.1."""
    slab_pages: dict[int, int] = field(factory=dict)
    """All blocks that hold objects: the order of each by its first frame."""
    _last_ctx_id: int = INIT_MM_CTX_ID

    def __attrs_post_init__(self) -> None:
        self.zone_node = tuple(zone.node for zone in self.allocator.zones)
        self.frame_words = FrameWords(self.pages)
        engine = self.engine
        self.percpu_refs = PercpuRefs(
            len(self.cpu_node),
            rules=self.rules,
            share=engine.guard.column,
            wants_step=lambda: engine.is_exploring or engine.guard.on,
        )

    def new_ctx_id(self) -> int:
        """Return an id that no address space of this run had (init_new_context)."""
        self._last_ctx_id += 1
        return self._last_ctx_id

    def new_space(self, mm: MmStruct) -> AddressSpace:
        """Give a new address space its locks, and its top table the kernel's half."""
        clone_kernel_pgd(mm.page_table, self.init_mm.page_table)
        space = AddressSpace(mm, engine=self.engine, locks=self.locks, ptls=self.ptls)
        self.spaces[mm.ctx_id] = space
        mm.tree.call_rcu = partial(self._free_area_node, areas(mm.ctx_id))
        return space

    def _free_area_node(self, name: str, callback: Callable[[], None]) -> None:
        """Free a node of a tree of areas when no RCU reader can be in it any more."""

        def free() -> None:
            self.engine.touch(name, Mode.WRITE)
            callback()

        self.rcu.call(free)

    def fault_context(self, cpu: Cpu) -> FaultContext:
        """Return what faults of the thread on `cpu` work with."""
        return self.fault_contexts[cpu.current.index]

    def new_fault_context(self, cpu: Cpu, task: Task) -> FaultContext:
        """Return what faults of `task` work with while it runs on `cpu`."""
        index = cpu.index
        zone_view = self.pages.zone_view
        return FaultContext(
            pages=self.shared_pages,
            zero_pfn=self.zero_pfn,
            count_event=self.vmstat.event_counter(index),
            count_page=self.vmstat.page_counter(index, zone_view, self.zone_node),
            count_page_in_zone=self.vmstat.zone_page_counter(index, zone_view),
            is_page_locked=self.is_page_locked,
            checks=self.checks,
            frame_words=self.frame_words,
            lru=self.lru[index],
            task=task,
        )

    def refuse_page(self, cpu: Cpu) -> None:
        """Note that the thread on `cpu` was refused a page, or an object, though there are some."""
        context = self.fault_contexts.get(cpu.current.index)
        if context is not None:
            context.was_refused = True

    def is_page_locked(self, pfn: int) -> bool:
        """Say whether somebody has the page locked (PageLocked)."""
        return self.pages.flags_view[pfn] & PG_LOCKED != 0

    def count_event(self, cpu: Cpu, item: int, delta: int = 1) -> None:
        """Count an event on `cpu`."""
        self.vmstat.events[cpu.index][item] += delta

    def count_page(self, cpu: Cpu, pfn: int, item: int, delta: int) -> None:
        """Add to an item of the node of a page, on `cpu`."""
        node = self.zone_node[self.pages.zone_view[pfn] - 1]
        self.vmstat.mod_node_page_state(cpu.index, node, item, delta)
