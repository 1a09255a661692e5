"""What locks cost, by class of lock, as /proc/lock_stat counts it (kernel/locking/lockdep.c, v6.1).

A lock class is all locks of one declaration (`&mm->mmap_lock`). A contention is an acquisition that
had to wait; a bounce is an acquisition (or a contention) on another CPU than the last acquisition
of the same lock. An acquisition counts when the lock is released, because its hold time is counted
with it.

Left out: contention points (the callers' addresses).
"""

from typing import Final

from attrs import define, field, frozen

from mmactors.engine.actor import Processor


@define(eq=False)
class LockTime:
    """Number, smallest, largest and sum of times (struct lock_time)."""

    nr: int = 0
    min_ns: int = 0
    max_ns: int = 0
    total_ns: int = 0

    def add(self, ns: int) -> None:
        """Count one time."""
        if ns < self.min_ns or not self.nr:
            self.min_ns = ns
        if ns > self.max_ns:  # noqa: PLR1730 - faster than max()
            self.max_ns = ns
        self.nr += 1
        self.total_ns += ns


@define(eq=False)
class LockSide:
    """What was counted of one class in one mode."""

    wait: LockTime = field(factory=LockTime)
    hold: LockTime = field(factory=LockTime)
    con_bounces: int = 0
    acq_bounces: int = 0


@define(eq=False)
class LockClass:
    """All locks of one declaration."""

    name: str
    """As the kernel prints it: `&mm->mmap_lock`, `ptlock_ptr(page)`."""
    write: LockSide = field(factory=LockSide)
    """Exclusive use; the only one of a spinlock or a mutex."""
    read: LockSide = field(factory=LockSide)
    """Shared use."""
    downgrades: int = 0
    """Exclusive uses that became shared ones; each is a hold of both modes."""
    trylocks_failed: int = 0
    is_of_programs: bool = False
    """In memory of programs; the kernel's lock_stat would not know it."""
    may_nest: bool = False
    """Who holds one may wait for another, in an order that is not the class's business."""
    _last_cpu: Processor | None = field(default=None, init=False)

    def account(self, *, cpu: Processor | None, waited_ns: int, held_ns: int) -> None:
        """Count one exclusive acquisition that is over; it was contended if it waited.

        For locks whose queue is somebody else's, a mailbox that is a lock. All of them in one class
        share the CPU that bounces are told from.
        """
        side = self.write
        is_bounce = self._last_cpu is not None and self._last_cpu is not cpu
        if waited_ns > 0:
            side.con_bounces += is_bounce
            side.wait.add(waited_ns)
        side.acq_bounces += is_bounce
        side.hold.add(held_ns)
        self._last_cpu = cpu


@frozen(kw_only=True)
class LockSideStatistics:
    """The columns of /proc/lock_stat; times in ns."""

    con_bounces: int
    contentions: int
    waittime_min_ns: int
    waittime_max_ns: int
    waittime_total_ns: int
    waittime_avg_ns: int
    acq_bounces: int
    acquisitions: int
    holdtime_min_ns: int
    holdtime_max_ns: int
    holdtime_total_ns: int
    holdtime_avg_ns: int


@frozen(kw_only=True)
class LockClassStatistics:
    """One class of /proc/lock_stat."""

    name: str
    is_of_programs: bool
    write: LockSideStatistics
    read: LockSideStatistics


class LockStatistics:
    """All lock classes of one machine."""

    def __init__(self) -> None:
        self._classes: Final[dict[str, LockClass]] = {}

    def of(self, name: str) -> LockClass:
        """Return the class of this name; the first call makes it."""
        lock_class = self._classes.get(name)
        if lock_class is None:
            lock_class = self._classes[name] = LockClass(name)
        return lock_class

    def statistics(self) -> tuple[LockClassStatistics, ...]:
        """Return what was counted, in the order in which the classes were made."""
        return tuple(
            LockClassStatistics(
                name=lock_class.name,
                is_of_programs=lock_class.is_of_programs,
                write=_side(lock_class.write),
                read=_side(lock_class.read),
            )
            for lock_class in self._classes.values()
        )


def _side(side: LockSide) -> LockSideStatistics:
    wait = side.wait
    hold = side.hold
    return LockSideStatistics(
        con_bounces=side.con_bounces,
        contentions=wait.nr,
        waittime_min_ns=wait.min_ns,
        waittime_max_ns=wait.max_ns,
        waittime_total_ns=wait.total_ns,
        waittime_avg_ns=wait.total_ns // wait.nr if wait.nr else 0,
        acq_bounces=side.acq_bounces,
        acquisitions=hold.nr,
        holdtime_min_ns=hold.min_ns,
        holdtime_max_ns=hold.max_ns,
        holdtime_total_ns=hold.total_ns,
        holdtime_avg_ns=hold.total_ns // hold.nr if hold.nr else 0,
    )
