"""What happens to memory: faults, pages, areas, translations (6.1)."""

from typing import ClassVar

from attrs import define


@define(kw_only=True)
class PageFaultUser:
    """A user access trapped (arch/x86/mm/fault.c). It opens a span."""

    name: ClassVar[str] = "page_fault_user"
    subsystem: ClassVar[str] = "exceptions"

    address: int
    """Virtual byte address."""
    ip: int | None
    """Of the instruction; null: programs that are no recorded ones have no instructions."""
    error_code: int
    """Bits of arch/x86/include/asm/trap_pf.h: 1 protection, 2 write, 4 user, 16 instruction."""


@define(kw_only=True)
class PageFaultKernel:
    """An access of the kernel to a program's memory trapped (arch/x86/mm/fault.c); opens a span."""

    name: ClassVar[str] = "page_fault_kernel"
    subsystem: ClassVar[str] = "exceptions"

    address: int
    """Virtual byte address."""
    ip: int | None
    """Null: the kernel's code has no addresses here."""
    error_code: int
    """As of page_fault_user, without bit 4."""


@define(kw_only=True)
class PageFaultEnd:
    """A fault is over; closes its span (no tracepoint)."""

    name: ClassVar[str] = "page_fault_end"
    subsystem: ClassVar[str] = "mmactors"

    address: int
    """As in the opening event."""
    kind: str
    """What was done: `anon` a new page of zeros, `zero` the zero page, `file` a page of a file or
    of shared memory, `shared` one to be written, `cow` a private copy, `reuse` a page of its own
    made writable, `mkwrite` a shared one, `special` a page of the kernel's, `swap` waited for a
    page on its way, `spurious` nothing any more, `bad_area` no access is allowed here, `failed`
    otherwise, `fixup` the kernel went on without."""
    ns: int
    """Since the opening event."""
    ret: int
    """VM_FAULT_ bits of handle_mm_fault (include/linux/mm_types.h): 1 out of memory, 2 SIGBUS,
    4 major, 8 write."""
    sig: int | None
    """The signal that it earned."""
    pfn: int | None
    """The page that is mapped now; null: none, or it is not known."""


@define(kw_only=True)
class MmPageAlloc:
    """Pages were handed out, or could not be (mm/page_alloc.c)."""

    name: ClassVar[str] = "mm_page_alloc"
    subsystem: ClassVar[str] = "kmem"

    pfn: int | None
    """None: the allocation failed."""
    order: int
    gfp_flags: int
    migratetype: int


@define(kw_only=True)
class MmPageFree:
    """Pages were given back to the allocator (mm/page_alloc.c)."""

    name: ClassVar[str] = "mm_page_free"
    subsystem: ClassVar[str] = "kmem"

    pfn: int
    order: int


@define(kw_only=True)
class MmPageFreeBatched:
    """A page given back as one of a list was put on a CPU's list (mm/page_alloc.c)."""

    name: ClassVar[str] = "mm_page_free_batched"
    subsystem: ClassVar[str] = "kmem"

    pfn: int


@define(kw_only=True)
class MmPageAllocZoneLocked:
    """A block left the buddy lists under zone->lock (mm/page_alloc.c)."""

    name: ClassVar[str] = "mm_page_alloc_zone_locked"
    subsystem: ClassVar[str] = "kmem"

    pfn: int
    order: int
    migratetype: int
    percpu_refill: bool


@define(kw_only=True)
class MmPagePcpuDrain:
    """A page left a per-CPU list for the buddy lists (mm/page_alloc.c)."""

    name: ClassVar[str] = "mm_page_pcpu_drain"
    subsystem: ClassVar[str] = "kmem"

    pfn: int
    order: int
    migratetype: int


@define(kw_only=True)
class MmPageAllocExtfrag:
    """A block was taken from the lists of another migratetype (mm/page_alloc.c)."""

    name: ClassVar[str] = "mm_page_alloc_extfrag"
    subsystem: ClassVar[str] = "kmem"

    pfn: int
    alloc_order: int
    fallback_order: int
    alloc_migratetype: int
    fallback_migratetype: int
    change_ownership: bool


@define(kw_only=True)
class MmVmscanWakeupKswapd:
    """An allocation found too few free pages and wakes kswapd (mm/vmscan.c)."""

    name: ClassVar[str] = "mm_vmscan_wakeup_kswapd"
    subsystem: ClassVar[str] = "vmscan"

    nid: int
    zid: int
    """Highest zone index of the request."""
    order: int
    gfp_flags: int


@define(kw_only=True)
class VmUnmappedArea:
    """A place for a new mapping was searched (mm/mmap.c)."""

    name: ClassVar[str] = "vm_unmapped_area"
    subsystem: ClassVar[str] = "mmap"

    addr: int
    """The place found; 0: none was."""
    err: int
    """Minus the errno, if none was."""
    total_vm: int
    """Pages that are mapped."""
    flags: int
    """1: the search is downwards."""
    length: int
    """Bytes, as the rest."""
    low_limit: int
    high_limit: int
    align_mask: int
    align_offset: int


@define(kw_only=True)
class TlbFlush:
    """A CPU's TLB was flushed (arch/x86/mm/tlb.c)."""

    name: ClassVar[str] = "tlb_flush"
    subsystem: ClassVar[str] = "tlb"

    reason: int
    """0 task switch, 1 remote shootdown, 2 local shootdown, 3 local mm shootdown, 4 remote send."""
    pages: int
    """-1: the whole TLB."""
