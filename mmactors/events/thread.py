"""What threads do: system calls, switches, wake-ups, ends, signals (6.1).

The kernel's field `pid`, the thread that an event is about, is `task_pid` here: `pid` of a line is
the process that it happened to.
"""

from typing import ClassVar

from attrs import define

DEFAULT_PRIO = 120
"""The priority of a thread that nobody made nicer or less nice (include/linux/sched/prio.h)."""


@define(kw_only=True)
class SysEnter:
    """A system call began (kernel/entry/common.c). It opens a span.

    So do operations that the simulator does for a program in one go, though no one call of the
    kernel does that; they have no number. The end of a process by itself is `exit_group`, which
    never returns.
    """

    name: ClassVar[str] = "sys_enter"
    subsystem: ClassVar[str] = "raw_syscalls"

    call: str
    """The call as the program wrote it; the kernel's tracepoint has the number only."""
    nr: int | None
    """Number on x86-64, `id` of the kernel's tracepoint; null: it is no one call, or not
    with the result that the call has."""
    args: tuple[int, ...]
    """The six arguments; empty: not known, as a buffer's address of a program without one."""


@define(kw_only=True)
class SysExit:
    """A system call returned (kernel/entry/common.c). It closes its span."""

    name: ClassVar[str] = "sys_exit"
    subsystem: ClassVar[str] = "raw_syscalls"

    call: str
    """As in sys_enter."""
    nr: int | None
    """As in sys_enter."""
    ret: int
    """Result, or minus the errno."""


@define(kw_only=True)
class LibcMessage:
    """The C library wrote a text: before it aborts (__libc_message), or as it was asked to.

    Not a tracepoint of the kernel's.
    """

    name: ClassVar[str] = "libc_message"
    subsystem: ClassVar[str] = "mmactors"

    msg: str


@define(kw_only=True)
class SchedSwitch:
    """A CPU goes from one thread to another (kernel/sched/core.c); it happens to the first."""

    name: ClassVar[str] = "sched_switch"
    subsystem: ClassVar[str] = "sched"

    prev_comm: str
    """Names of threads are whole; the kernel's have 15 characters."""
    prev_pid: int
    """The thread's number (`tid`); 0: the idle thread."""
    prev_prio: int
    prev_state: int
    """0 it could run on, 1 interruptible sleep, 2 uninterruptible, 16 dead, 32 a zombie."""
    next_comm: str
    next_pid: int
    next_prio: int


@define(kw_only=True)
class SchedWaking:
    """A thread is woken, by the one that this happens to (kernel/sched/core.c)."""

    name: ClassVar[str] = "sched_waking"
    subsystem: ClassVar[str] = "sched"

    comm: str
    task_pid: int
    prio: int
    target_cpu: int


@define(kw_only=True)
class SchedWakeupNew:
    """A new thread is put on a run queue for the first time (kernel/sched/core.c)."""

    name: ClassVar[str] = "sched_wakeup_new"
    subsystem: ClassVar[str] = "sched"

    comm: str
    task_pid: int
    prio: int
    target_cpu: int


@define(kw_only=True)
class SchedMigrateTask:
    """A thread goes to another CPU (kernel/sched/core.c)."""

    name: ClassVar[str] = "sched_migrate_task"
    subsystem: ClassVar[str] = "sched"

    comm: str
    task_pid: int
    prio: int
    orig_cpu: int
    dest_cpu: int


@define(kw_only=True)
class SchedProcessFork:
    """A thread has made another, of its own process or of a new one (kernel/fork.c)."""

    name: ClassVar[str] = "sched_process_fork"
    subsystem: ClassVar[str] = "sched"

    parent_comm: str
    parent_pid: int
    child_comm: str
    child_pid: int


@define(kw_only=True)
class SchedProcessExit:
    """A thread has given its address space back and ends (kernel/exit.c)."""

    name: ClassVar[str] = "sched_process_exit"
    subsystem: ClassVar[str] = "sched"

    comm: str
    task_pid: int
    prio: int


@define(kw_only=True)
class SignalGenerate:
    """A thread is sent a signal (kernel/signal.c)."""

    name: ClassVar[str] = "signal_generate"
    subsystem: ClassVar[str] = "signal"

    sig: int
    errno: int
    """si_errno."""
    code: int
    """si_code."""
    comm: str
    """Who is sent it."""
    task_pid: int
    group: int
    """1: it is the process that is sent it."""
    result: int
    """0 delivered, 1 ignored, 2 pending already."""
    address: int
    """si_addr; the kernel's tracepoint leaves it out."""
