"""Where the time of CPUs and threads goes (kernel/sched/cputime.c, kernel/time/tick-sched.c, v6.1).

Theory of operation. Time is accounted when it changes whom it belongs to: at context switches, at
the begin and end of interrupts, and where a thread enters or leaves user mode, as a kernel with
CONFIG_VIRT_CPU_ACCOUNTING_GEN and CONFIG_IRQ_TIME_ACCOUNTING does it, and never by ticks. What a
thread has of a CPU is user time as far as it was told so; the rest is system time: faults, calls,
and the switch to it.

Left out: nice, softirq, steal and guest time. Invariant: user, system, idle, iowait and irq time of
a CPU add up to the time that has passed on it.
"""

from typing import Protocol

from attrs import define, field, frozen

from mmactors.engine.actor import Actor, Processor, ThreadTimes


@frozen(kw_only=True)
class Usage:
    """User and system time of threads, at one moment."""

    user_ns: int = 0
    system_ns: int = 0


@frozen(kw_only=True)
class CpuUsage(Usage):
    """Where the time of a CPU went, at one moment, as the columns of /proc/stat."""

    idle_ns: int = 0
    iowait_ns: int = 0
    irq_ns: int = 0


@define(eq=False, kw_only=True)
class CpuTimes:
    """Where the time of one CPU went, in ns; what threads had of it is what is in no column."""

    user_ns: int = 0
    idle_ns: int = 0
    iowait_ns: int = 0
    """Idle time that an interrupt ended while a thread of this CPU waited for a page's contents."""
    irq_ns: int = 0
    accounted_ns: int = 0
    """Up to when everything has been accounted."""
    user_mark_ns: int | None = field(default=None, init=False)
    """What threads had had when the running one entered user mode; None: it is in the kernel."""

    def thread_ns(self, now_ns: int) -> int:
        """Return what threads have had up to `now_ns`, nothing else having passed since."""
        return now_ns - self.idle_ns - self.iowait_ns - self.irq_ns

    def account_thread(self, thread: ThreadTimes, until_ns: int) -> None:
        """Account the time since the last change as the thread's."""
        if until_ns > self.accounted_ns:
            thread.ran_ns += until_ns - self.accounted_ns
            self.accounted_ns = until_ns

    def account_idle(self, until_ns: int, *, is_iowait: bool) -> None:
        """Account the time since the last change as idle."""
        if until_ns > self.accounted_ns:
            if is_iowait:
                self.iowait_ns += until_ns - self.accounted_ns
            else:
                self.idle_ns += until_ns - self.accounted_ns
            self.accounted_ns = until_ns

    def account_irq(self, until_ns: int) -> None:
        """Account the time since the last change as an interrupt's."""
        self.irq_ns += until_ns - self.accounted_ns
        self.accounted_ns = until_ns

    def enter_user(self, now_ns: int) -> None:
        """Let what follows be user time of the running thread, interrupts left out."""
        assert self.user_mark_ns is None, "the thread is in user mode already"
        self.user_mark_ns = self.thread_ns(now_ns)

    def leave_user(self, thread: ThreadTimes, now_ns: int) -> None:
        """Account the time since `enter_user`; system time follows."""
        assert self.user_mark_ns is not None, "the thread is not in user mode"
        user_ns = self.thread_ns(now_ns) - self.user_mark_ns
        self.user_ns += user_ns
        thread.user_ns += user_ns
        self.user_mark_ns = None

    def skip(self, passed_ns: int, *, user_ns: int) -> None:
        """Let time have passed, some of it in user mode, that threads were told of already."""
        self.accounted_ns += passed_ns
        self.user_ns += user_ns
        if self.user_mark_ns is not None:
            self.user_mark_ns += passed_ns

    def rest_user_ns(self, ran_ns: int) -> int:
        """Return the user time since `enter_user`, the last `ran_ns` of it not accounted yet."""
        if self.user_mark_ns is None:
            return 0
        return self.thread_ns(self.accounted_ns) + ran_ns - self.user_mark_ns


class Accounted(Processor, Protocol):
    """A CPU whose time is accounted (`Cpu`)."""

    times: CpuTimes

    def catch_up(self, now_ns: int) -> None:
        """Let what is computed on it be accounted as far as it is at `now_ns`."""


def cpu_usage(cpu: Accounted, now_ns: int) -> CpuUsage:
    """Return where a CPU's time went up to `now_ns`, or up to its own time if it runs ahead."""
    cpu.catch_up(now_ns)
    times = cpu.times
    rest_ns = _rest_ns(cpu, now_ns)
    irq_ns = rest_ns if cpu.contexts else 0
    idle_ns = rest_ns - irq_ns if cpu.current is cpu.idle else 0
    ran_ns = rest_ns - irq_ns - idle_ns
    user_ns = times.user_ns + times.rest_user_ns(ran_ns)
    return CpuUsage(
        user_ns=user_ns,
        system_ns=times.thread_ns(times.accounted_ns) + ran_ns - user_ns,
        idle_ns=times.idle_ns + (0 if cpu.nr_iowait else idle_ns),
        iowait_ns=times.iowait_ns + (idle_ns if cpu.nr_iowait else 0),
        irq_ns=times.irq_ns + irq_ns,
    )


def thread_usage(cpu: Accounted, thread: Actor, now_ns: int) -> Usage:
    """Return the times of a thread up to `now_ns`; `cpu` is the one it is, or was last, on."""
    cpu.catch_up(now_ns)
    ran_ns, user_ns = thread.times.ran_ns, thread.times.user_ns
    if cpu.current is thread:
        rest_ns = 0 if cpu.contexts else _rest_ns(cpu, now_ns)
        ran_ns += rest_ns
        user_ns += cpu.times.rest_user_ns(rest_ns)
    return Usage(user_ns=user_ns, system_ns=ran_ns - user_ns)


def _rest_ns(cpu: Accounted, now_ns: int) -> int:
    """Return the time up to `now_ns` that is not accounted yet.

    Whoever is on the CPU spends or spins until it can go on; what it does then is not known yet.
    """
    until_ns = now_ns
    if cpu.current is not cpu.idle and cpu.current.ready_at is not None:
        until_ns = min(now_ns, cpu.current.ready_at)
    return max(until_ns - cpu.times.accounted_ns, cpu.clock.now - cpu.times.accounted_ns, 0)
