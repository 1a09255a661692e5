"""An address space: areas, page tables, and the counters of both (struct mm_struct, Linux 6.1).

Resource limits and capabilities stand here, too, although Linux keeps them with the process: its
threads share both. Left out: arguments and environment, ioctx, MMU notifiers. Locks are not here:
who calls holds mmap_lock, and the page-table locks where the callee says so. The split rss counters
of threads are the caller's too; it adds their sums with `add_mm_counter`.

Invariants: total_vm is the sum of the areas' pages; each rss counter is the number of entries of
its kind in the page tables once the threads' caches are added; exec_vm + stack_vm + data_vm is at
most total_vm.
"""

import errno
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen

from mmactors.arch.memory import Words
from mmactors.arch.pte import TABLE_SHIFT
from mmactors.mm.area.anon_vma import AnonVmaCache
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_config import MmConfig
from mmactors.mm.area.overcommit import Overcommit
from mmactors.mm.area.pkeys import ARCH_DEFAULT_PKEY, Pkeys
from mmactors.mm.area.rlimit import Rlimits
from mmactors.mm.area.vm_flags import VM_EXEC, VM_LOCKED, VM_SHARED, VM_STACK, VM_WRITE, page_align
from mmactors.mm.area.vma import TreeSnapshot, Vma, VmaTree
from mmactors.mm.page_table.page_table import PageTable, PageTableSnapshot
from mmactors.mm.slab.object_cache import ObjectCaches
from mmactors.rules import Rules
from mmactors.units import MIB, PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmactors.mm.area.vmacache import VmaCache

MM_FILEPAGES: Final = 0
MM_ANONPAGES: Final = 1
MM_SWAPENTS: Final = 2
MM_SHMEMPAGES: Final = 3
NR_MM_COUNTERS: Final = 4

MM_CPUMASK: Final = 0
TLB_GEN: Final = 1
TLB_FLUSH_PENDING: Final = 2
"""What makes flushes right; several CPUs touch each."""

DEFAULT_MAP_WINDOW: Final = (1 << 47) - PAGE_SIZE
"""Without a hint above it, no mapping is placed beyond, also where there are 57-bit addresses."""


@frozen
class MmSnapshot:
    """All state of an address space."""

    tree: TreeSnapshot
    page_table: PageTableSnapshot
    rss: tuple[int, ...]
    scalars: dict[str, Any]


@define(eq=False, kw_only=True)
class MmStruct:
    """One address space. All sizes are 4 KiB pages unless named otherwise."""

    config: MmConfig
    page_table: PageTable
    tree: VmaTree = field(init=False)
    mmap_base: int = DEFAULT_MAP_WINDOW - 128 * MIB
    """Where the search for free room begins, downwards: 128 MiB is the least room for the stack."""
    mmap_legacy_base: int = page_align(DEFAULT_MAP_WINDOW // 3)
    """Where the search upwards begins, when there is no room below mmap_base."""
    cap_sys_rawio: bool = True
    """The process may map below mmap_min_addr."""
    cap_ipc_lock: bool = True
    """The process may lock more than RLIMIT_MEMLOCK."""
    cap_sys_admin: bool = True
    """The process may use the memory that is reserved for an administrator."""
    pkeys: Pkeys | None = None
    """Its protection keys; None: the CPUs have none."""
    rlimits: Rlimits = field(factory=Rlimits)
    overcommit: Overcommit = field(factory=Overcommit)
    """Shared by all address spaces of a machine."""
    anon_vma_cache: AnonVmaCache = field(factory=AnonVmaCache)
    """Shared by all address spaces of a machine, too."""
    rules: Rules = field(factory=Rules)

    start_data: int = 0
    end_data: int = 0
    """Byte addresses of the initialised data, which RLIMIT_DATA counts with the heap."""
    start_brk: int = 0
    brk: int = 0
    """Byte addresses of the heap; the end need not be page-aligned."""
    start_stack: int = 0
    """Byte address inside the stack's area; /proc/pid/maps labels that area."""

    total_vm: int = 0
    exec_vm: int = 0
    stack_vm: int = 0
    data_vm: int = 0
    locked_vm: int = 0
    hiwater_vm: int = 0
    hiwater_rss: int = 0
    def_flags: int = 0
    """Flags that every new area gets: VM_LOCKED after mlockall(MCL_FUTURE)."""
    rss: list[int] = field(factory=lambda: [0] * NR_MM_COUNTERS)
    """By MM_FILEPAGES...: what was added so far."""

    has_pinned: bool = False
    """It ever pinned pages for a device (MMF_HAS_PINNED)."""
    tlb_flush_batched: int = 0
    """How often reclaim deferred a flush since somebody last made up for all of them."""
    vmacache_seqnum: int = 0
    """Grows whenever an area goes, if threads have caches of areas; see mm/area/vmacache.py."""
    vmacaches: "list[VmaCache]" = field(factory=list)
    """Those of its threads."""
    thing: int = 0
    """Address of the object; 0: it is none of a cache's, as init_mm."""
    mm_users: int = 1
    """Threads that use the address space."""
    mm_count: int = 1
    """Holders of the structure: all users together are one, each lazy CPU is another."""
    ctx_id: int = 0
    """context.ctx_id: unique over all address spaces of a run."""
    flushing: Words = field(factory=lambda: [0, 1, 0])
    """By MM_CPUMASK, TLB_GEN, TLB_FLUSH_PENDING. Guard mode replaces it."""

    @property
    def mm_cpumask(self) -> int:
        """Bit by CPU: it may hold translations of this address space."""
        return self.flushing[MM_CPUMASK]

    @mm_cpumask.setter
    def mm_cpumask(self, mask: int) -> None:
        self.flushing[MM_CPUMASK] = mask

    @property
    def tlb_gen(self) -> int:
        """context.tlb_gen: raised by every flush."""
        return self.flushing[TLB_GEN]

    @tlb_gen.setter
    def tlb_gen(self, generation: int) -> None:
        self.flushing[TLB_GEN] = generation

    @property
    def tlb_flush_pending(self) -> int:
        """How many threads changed entries, or are about to, and have not flushed yet."""
        return self.flushing[TLB_FLUSH_PENDING]

    @tlb_flush_pending.setter
    def tlb_flush_pending(self, nr_threads: int) -> None:
        self.flushing[TLB_FLUSH_PENDING] = nr_threads

    def __attrs_post_init__(self) -> None:
        self.tree = VmaTree(self)

    @property
    def caches(self) -> ObjectCaches:
        """The caches of what the kernel makes."""
        return self.anon_vma_cache.caches

    @property
    def task_size(self) -> int:
        """End of user addresses (TASK_SIZE_MAX): 47 bits with 4 levels of tables, 56 with 5."""
        return (1 << (PAGE_SHIFT + TABLE_SHIFT * self.page_table.levels - 1)) - PAGE_SIZE

    @property
    def map_count(self) -> int:
        """How many areas there are."""
        return len(self.tree)

    @property
    def pgtables_bytes(self) -> int:
        """The size of all page tables but the top one: VmPTE (mm_pgtables_bytes)."""
        return self.page_table.nr_tables * PAGE_SIZE

    @property
    def stack_guard_gap_bytes(self) -> int:
        """The room below an area that grows down."""
        return self.config.stack_guard_gap_pages * PAGE_SIZE

    def find_vma(self, address: int) -> Vma | None:
        """Return the first area that ends after `address`."""
        return self.tree.find_vma(address)

    def execute_only_pkey(self) -> int:
        """Return the key of memory that may be executed only, taken when it is first wanted.

        0, the key of all other memory: there is none for it.
        """
        if self.pkeys is None:
            return ARCH_DEFAULT_PKEY
        self.pkeys = self.pkeys.with_execute_only()
        return self.pkeys.execute_only or ARCH_DEFAULT_PKEY

    def add_mm_counter(self, member: int, value: int) -> None:
        """Add pages to an rss counter."""
        self.rss[member] += value

    def get_mm_rss(self) -> int:
        """Return the resident pages: file, anonymous and shared memory."""
        return self.rss[MM_FILEPAGES] + self.rss[MM_ANONPAGES] + self.rss[MM_SHMEMPAGES]

    def update_hiwater_rss(self) -> None:
        """Keep the highest rss; called before pages are unmapped."""
        self.hiwater_rss = max(self.hiwater_rss, self.get_mm_rss())

    def update_hiwater_vm(self) -> None:
        """Keep the highest total_vm; called before areas are removed."""
        self.hiwater_vm = max(self.hiwater_vm, self.total_vm)

    def vm_stat_account(self, vm_flags: int, nr_pages: int) -> None:
        """Count pages of an area that came, or went if negative."""
        self.total_vm += nr_pages
        if vm_flags & (VM_EXEC | VM_WRITE | VM_STACK) == VM_EXEC:
            self.exec_vm += nr_pages
        elif vm_flags & VM_STACK == VM_STACK:
            self.stack_vm += nr_pages
        elif vm_flags & (VM_WRITE | VM_SHARED | VM_STACK) == VM_WRITE:
            self.data_vm += nr_pages

    def may_expand_vm(self, vm_flags: int, nr_pages: int) -> bool:
        """Say whether an area of `nr_pages` pages keeps within RLIMIT_AS and RLIMIT_DATA."""
        limits = self.rlimits
        if self.total_vm + nr_pages > limits.address_space >> PAGE_SHIFT:
            return False
        is_data = vm_flags & (VM_WRITE | VM_SHARED | VM_STACK) == VM_WRITE
        return not is_data or self.data_vm + nr_pages <= limits.data >> PAGE_SHIFT

    def mlock_future_check(self, vm_flags: int, nr_bytes: int) -> int:
        """Return 0, or -EAGAIN if an area of these flags would pass RLIMIT_MEMLOCK."""
        if not vm_flags & VM_LOCKED or self.cap_ipc_lock:
            return 0
        locked = (nr_bytes >> PAGE_SHIFT) + self.locked_vm
        return -errno.EAGAIN if locked > self.rlimits.memlock >> PAGE_SHIFT else 0

    def can_do_mlock(self) -> bool:
        """Say whether the process may lock anything."""
        return self.cap_ipc_lock or self.rlimits.memlock != 0

    def vm_enough_memory(self, nr_pages: int) -> int:
        """Promise pages to this address space; return 0 or -ENOMEM."""
        return self.overcommit.vm_enough_memory(
            nr_pages, total_vm=self.total_vm, is_admin=self.cap_sys_admin
        )

    def vma_name(self, vma: Vma) -> str | None:
        """Return what /proc/pid/maps calls an area (show_map_vma): a path, [heap], [stack], ..."""
        if vma.name is not None:
            file = vma.vm_file
            is_unlinked = isinstance(file, MappedFile) and file.mapping.is_unlinked
            return f"{vma.name} (deleted)" if is_unlinked else vma.name
        if vma.vm_start <= self.brk and vma.vm_end >= self.start_brk:
            return "[heap]"
        return "[stack]" if vma.vm_start <= self.start_stack <= vma.vm_end else None

    def insert_vm_struct(self, vma: Vma) -> None:
        """Add an area that loading a program makes: segments, stack, vdso."""
        self.tree.insert(vma)
        if isinstance(vma.vm_file, MappedFile):
            vma.vm_file.mapping.i_mmap[vma] = None
        self.vm_stat_account(vma.vm_flags, vma.nr_pages)

    def snapshot(self) -> MmSnapshot:
        """Return all state; the words of the tables are PhysicalMemory's to keep.

        So are the anon_vmas their cache's: what is kept here is how areas are linked to them.
        """
        return MmSnapshot(
            self.tree.snapshot(),
            self.page_table.snapshot(),
            tuple(self.rss),
            {name: getattr(self, name) for name in _SCALARS},
        )

    def restore(self, snapshot: MmSnapshot) -> None:
        """Put back what `snapshot` returned."""
        self.tree.restore(snapshot.tree)
        self.page_table.restore(snapshot.page_table)
        self.rss[:] = snapshot.rss
        for name, value in snapshot.scalars.items():
            setattr(self, name, value)

    def key(self) -> tuple[Any, ...]:
        """Return a value that is equal when all state is equal; anon_vmas count by first use."""
        numbers: dict[int, int] = {}
        areas = tuple(
            (
                vma.vm_start,
                vma.vm_end,
                vma.vm_flags,
                vma.vm_pgoff,
                tuple(
                    numbers.setdefault(id(link.anon_vma), len(numbers))
                    for link in vma.anon_vma_chain
                ),
                numbers.setdefault(id(vma.anon_vma), len(numbers)) if vma.anon_vma else None,
            )
            for vma in self.tree
        )
        scalars = tuple(getattr(self, name) for name in _SCALARS)
        return areas, self.page_table.snapshot(), tuple(self.rss), scalars


_SCALARS: Final = (
    "mmap_base",
    "pkeys",
    "rlimits",
    "config",
    "start_data",
    "end_data",
    "start_brk",
    "brk",
    "start_stack",
    "total_vm",
    "exec_vm",
    "stack_vm",
    "data_vm",
    "locked_vm",
    "hiwater_vm",
    "hiwater_rss",
    "def_flags",
    "vmacache_seqnum",
    "mm_users",
    "mm_count",
    "mm_cpumask",
    "ctx_id",
    "tlb_gen",
    "tlb_flush_pending",
    "tlb_flush_batched",
)
