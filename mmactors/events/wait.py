"""Who waits for whom: locks, and interrupts of other CPUs (6.1); and what checkers find."""

from typing import ClassVar, Final

from attrs import define

LCB_F_SPIN: Final = 1
LCB_F_READ: Final = 2
LCB_F_WRITE: Final = 4
LCB_F_MUTEX: Final = 32
"""How a lock is waited for (include/trace/events/lock.h)."""


@define(kw_only=True)
class ContentionBegin:
    """A lock is held by another; the wait begins (kernel/locking/).

    Wherever /proc/lock_stat counts a contention; the kernel's tracepoint leaves out who waits
    first for a spinlock (the pending bit).
    """

    name: ClassVar[str] = "contention_begin"
    subsystem: ClassVar[str] = "lock"

    lock: str
    """Which lock; the kernel's tracepoint has its address."""
    class_: str
    """All locks of its declaration, as /proc/lock_stat names them; ours."""
    holder: str | None
    """Who has it, of readers the last who came; ours."""
    flags: int
    """1 spins, 2 to read, 4 to write, 32 a mutex."""


@define(kw_only=True)
class ContentionEnd:
    """The wait for a lock is over; `cause` is its contention_begin (kernel/locking/)."""

    name: ClassVar[str] = "contention_end"
    subsystem: ClassVar[str] = "lock"

    lock: str
    ret: int
    """0: it has the lock; minus the errno: it gave up."""
    wait_ns: int
    """As /proc/lock_stat adds it up: until the lock was its own. Who slept goes on later. Ours."""


@define(kw_only=True)
class IpiSend:
    """A CPU asks others to run a function, by interrupt (kernel/smp.c; no tracepoint on x86)."""

    name: ClassVar[str] = "ipi_send"
    subsystem: ClassVar[str] = "mmactors"

    id: int
    """The same in the ipi_handled of each target; from 1."""
    vector: str
    """The row of /proc/interrupts."""
    targets: tuple[int, ...]
    """Numbers of the CPUs that are interrupted; none: no CPU needed to be."""


@define(kw_only=True)
class IpiHandled:
    """A CPU has run the function; it happens to whom it interrupted (no tracepoint on x86)."""

    name: ClassVar[str] = "ipi_handled"
    subsystem: ClassVar[str] = "mmactors"

    id: int
    """As in ipi_send, which is the `cause`."""
    vector: str
    ns: int
    """How long that took."""


@define(kw_only=True)
class ErrorReportEnd:
    """A sanitizer found a broken law (include/trace/events/error_report.h)."""

    name: ClassVar[str] = "error_report_end"
    subsystem: ClassVar[str] = "error_report"

    error_detector: str
    """Which law, such as `stale translation`; the kernel's tracepoint has `kasan` or `kfence`."""
    finding: str
    """What happened, in one line; the kernel's tracepoint has an address instead."""
