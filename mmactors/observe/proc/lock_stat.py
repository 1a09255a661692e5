"""The text of /proc/lock_stat (kernel/locking/lockdep_proc.c, Linux 6.1, version 0.4).

Left out: the warning line that lockdep was switched off, versions and subclasses of lock classes
(a name may carry its `#2` or `/1` itself).
"""

from collections.abc import Iterable
from typing import Final

from attrs import frozen

NSEC_PER_USEC: Final = 1000
LOCKSTAT_POINTS: Final = 4
_NAME_WIDTH: Final = 40
_LINE_WIDTH: Final = _NAME_WIDTH + 1 + 12 * (14 + 1)
_NAME_LIMIT: Final = 37
_COLUMNS: Final = (
    "con-bounces",
    "contentions",
    "waittime-min",
    "waittime-max",
    "waittime-total",
    "waittime-avg",
    "acq-bounces",
    "acquisitions",
    "holdtime-min",
    "holdtime-max",
    "holdtime-total",
    "holdtime-avg",
)


@frozen(kw_only=True)
class LockTime:
    """Times of one kind, in nanoseconds (struct lock_time)."""

    nr: int = 0
    min_ns: int = 0
    max_ns: int = 0
    total_ns: int = 0


@frozen(kw_only=True)
class LockSide:
    """Readers or writers of a lock class; a spinlock or mutex has writers only."""

    wait: LockTime = LockTime()
    hold: LockTime = LockTime()
    contended_bounces: int = 0
    """Contentions on another CPU than the one that had the lock last."""
    acquired_bounces: int = 0
    """Acquisitions on another CPU than the one that had the lock last."""


@frozen(kw_only=True)
class LockPoint:
    """A place in the kernel where somebody waited, or held the lock meanwhile."""

    symbol: str
    """As `%pS` prints it: `handle_mm_fault+0x1f0/0x2d0`."""
    address: int
    count: int


@frozen(kw_only=True)
class LockClassStats:
    """One line or two, and the places."""

    name: str
    write: LockSide = LockSide()
    read: LockSide = LockSide()
    contention_points: tuple[LockPoint, ...] = ()
    """Where CPUs waited."""
    contending_points: tuple[LockPoint, ...] = ()
    """Where the holder took the lock."""


def lock_stat(classes: Iterable[LockClassStats]) -> str:
    """Return the text of /proc/lock_stat, most contentions first."""
    parts = [
        "lock_stat version 0.4\n",
        "-" * _LINE_WIDTH + "\n",
        " ".join(["class name".rjust(_NAME_WIDTH), *(name.rjust(14) for name in _COLUMNS)]) + "\n",
        "-" * _LINE_WIDTH + "\n",
        "\n",
    ]
    # Stable: classes of as many contentions stay in the order given.
    by_contentions = sorted(
        classes, key=lambda one: one.read.wait.nr + one.write.wait.nr, reverse=True
    )
    for one in by_contentions:
        parts += _class_lines(one)
    return "".join(parts)


def _class_lines(one: LockClassStats) -> Iterable[str]:
    name = one.name[:_NAME_LIMIT]
    if one.write.hold.nr:
        label = f"{name:>38}-W:" if one.read.hold.nr else f"{name:>40}:"
        yield label + _side(one.write)
    if one.read.hold.nr:
        yield f"{name:>38}-R:" + _side(one.read)
    if not one.read.wait.nr + one.write.wait.nr:
        return
    width = len(name) + (2 if one.read.hold.nr else 0)
    rule = " " * (_NAME_WIDTH - width) + "-" * width + "\n"
    for points in (one.contention_points, one.contending_points):
        for number, point in enumerate(points[:LOCKSTAT_POINTS]):
            if number == 0:
                yield rule
            address = f"[<{point.address:016x}>]"
            yield f"{name:>40} {point.count:14} {address:>29} {point.symbol}\n"
    if one.contending_points:
        yield "\n" + "." * _LINE_WIDTH + "\n\n"


def _side(side: LockSide) -> str:
    return (
        f"{side.contended_bounces:14} {_times(side.wait)}"
        f" {side.acquired_bounces:14} {_times(side.hold)}\n"
    )


def _times(time: LockTime) -> str:
    average_ns = time.total_ns // time.nr if time.nr else 0
    times = (time.min_ns, time.max_ns, time.total_ns, average_ns)
    return f"{time.nr:14}" + "".join(f" {_microseconds(ns):>14}" for ns in times)


def _microseconds(ns: int) -> str:
    """Return microseconds, rounded to hundredths as the kernel rounds."""
    whole, rest = divmod(ns + 5, NSEC_PER_USEC)
    return f"{whole}.{rest // 10:02}"
