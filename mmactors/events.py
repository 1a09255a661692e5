"""Events: what happened, as facts with numbers, named after the kernel's tracepoints (v6.1).

An event class holds the tracepoint's own fields under the tracepoint's own names. Who, where and
when (sequence number, virtual time, actor, cpu, pid) is added by the probe that takes it. A class
whose kernel has no tracepoint says so in its docstring. docs/events.md is generated from this file.

Adding a field is a minor change of SCHEMA_VERSION, renaming or removing one a major change.
"""

from typing import Any, ClassVar, Final, Protocol

from attrs import define, fields

SCHEMA: Final = "mmactors.events"
SCHEMA_VERSION: Final = (1, 0)


class Event(Protocol):
    """What every event class has."""

    name: ClassVar[str]
    """The tracepoint's name."""
    subsystem: ClassVar[str]
    """The tracepoint's group, as in /sys/kernel/tracing/events."""


class Probe(Protocol):
    """Takes events. Callers ask `on` first, so that an event nobody takes is never made."""

    on: bool

    def emit(self, event: Event) -> None:
        """Record that `event` happened now, to the actor that runs now."""


class NullProbe:
    """Takes nothing."""

    on: bool = False

    def emit(self, event: Event) -> None:
        """Do nothing; nobody should have made the event."""
        raise AssertionError(f"{event.name} was made although nobody listens")


def event_fields(event_class: type[Any]) -> tuple[str, ...]:
    """Return the names of the fields of an event class, in order."""
    return tuple(attribute.name for attribute in fields(event_class))


@define(kw_only=True)
class PageFaultUser:
    """A user access trapped (arch/x86/mm/fault.c)."""

    name: ClassVar[str] = "page_fault_user"
    subsystem: ClassVar[str] = "exceptions"

    address: int
    """Virtual byte address."""
    error_code: int
    """Bits of arch/x86/include/asm/trap_pf.h: 1 protection, 2 write, 4 user, 16 instruction."""


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
    """A page was given back as one of a list (mm/page_alloc.c)."""

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

    address: int
    """The place found, or minus the errno."""
    length: int
    """Bytes."""
    flags: int


@define(kw_only=True)
class TlbFlush:
    """A CPU's TLB was flushed (arch/x86/mm/tlb.c)."""

    name: ClassVar[str] = "tlb_flush"
    subsystem: ClassVar[str] = "tlb"

    reason: int
    """0 task switch, 1 remote shootdown, 2 local shootdown, 3 local mm shootdown, 4 remote send."""
    pages: int
    """-1: the whole TLB."""


@define(kw_only=True)
class SchedSwitch:
    """A CPU went from one thread to another (kernel/sched/core.c)."""

    name: ClassVar[str] = "sched_switch"
    subsystem: ClassVar[str] = "sched"

    prev_comm: str
    next_comm: str


@define(kw_only=True)
class SchedProcessExit:
    """A process ended (kernel/exit.c)."""

    name: ClassVar[str] = "sched_process_exit"
    subsystem: ClassVar[str] = "sched"

    comm: str


@define(kw_only=True)
class SignalGenerate:
    """A thread was sent a signal (kernel/signal.c)."""

    name: ClassVar[str] = "signal_generate"
    subsystem: ClassVar[str] = "signal"

    sig: int
    code: int
    """si_code."""
    address: int
    """si_addr; the kernel's tracepoint leaves it out."""


@define(kw_only=True)
class ErrorReportEnd:
    """A sanitizer found a broken law (include/trace/events/error_report.h)."""

    name: ClassVar[str] = "error_report_end"
    subsystem: ClassVar[str] = "error_report"

    error_detector: str
    """Which law, such as `stale translation`; the kernel's tracepoint has `kasan` or `kfence`."""
    finding: str
    """What happened, in one line; the kernel's tracepoint has an address instead."""


@define(kw_only=True)
class SysExit:
    """A system call returned (kernel/entry/common.c)."""

    name: ClassVar[str] = "sys_exit"
    subsystem: ClassVar[str] = "raw_syscalls"

    call: str
    """The call as the program wrote it; the kernel's tracepoint has the number instead."""
    ret: int
    """Result, or minus the errno."""
