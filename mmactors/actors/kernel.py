"""The kernel as its paths see it: one object that holds what all CPUs share.

Everything here is wired once by scenario/wiring.py. `ask` edges, which must stay free of cycles:
a thread asks a zone actor, a thread asks the memory actor; nobody else asks.
"""

from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from mmactors.actors.costs import KernelCosts
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import PageColumns
from mmactors.checks import Checks
from mmactors.engine.baton import Engine
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock_stat import LockClass, LockStatistics
from mmactors.engine.mailbox import Mailbox
from mmactors.engine.probe import EngineProbe
from mmactors.hw.hardware import Hardware
from mmactors.mm.anon_vma import AnonVmaCache
from mmactors.mm.mm_config import MmConfig
from mmactors.mm.mm_struct import MmStruct
from mmactors.mm.page_alloc import PageAllocator
from mmactors.mm.tlb_state import TlbState
from mmactors.mm.vmstat import VmStat
from mmactors.rules import Rules

if TYPE_CHECKING:
    from mmactors.actors.address_space import AddressSpace
    from mmactors.actors.inode import FileSystem
    from mmactors.engine.lock import Mutex

INIT_MM_CTX_ID: Final = 0
"""context.ctx_id of init_mm; processes count from 1."""


@define(eq=False, kw_only=True)
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
    anon_vma_cache: AnonVmaCache = field(init=False)
    rules: Rules
    locks: LockStatistics
    cpu_node: tuple[int, ...]
    """By CPU: its node."""
    checks: Checks | None = None
    """Who is told at what moments a law could be broken; None: nobody."""
    zone_mailboxes: list[Mailbox[Any]] = field(factory=list)
    """By the allocator's zone number: each mailbox is that zone's zone->lock."""
    dram: Mailbox[Any] = field(init=False)
    cpus: list[Cpu] = field(factory=list)
    init_mm: MmStruct
    """The kernel's own address space: what a CPU translates through that has no other."""
    tlb_states: list[TlbState] = field(factory=list)
    """By CPU."""
    zero_pfn: int = field(init=False)
    """The frame that read faults of anonymous memory map (empty_zero_page)."""
    spaces: "dict[int, AddressSpace]" = field(factory=dict)
    """All address spaces, by ctx_id."""
    file_system: "FileSystem" = field(init=False)
    page_locks: "dict[int, Mutex]" = field(factory=dict)
    """By PFN: locks of pages of files."""
    mmap_lock_class: LockClass = field(init=False)
    ptl_class: LockClass = field(init=False)
    anon_vma_class: LockClass = field(init=False)
    _last_ctx_id: int = INIT_MM_CTX_ID

    def new_ctx_id(self) -> int:
        """Return an id that no address space of this run had (init_new_context)."""
        self._last_ctx_id += 1
        return self._last_ctx_id

    def count_node(self, cpu: Cpu, item: int, delta: int) -> None:
        """Add to an item of the node that `cpu` belongs to."""
        self.vmstat.mod_node_page_state(cpu.index, self.cpu_node[cpu.index], item, delta)
