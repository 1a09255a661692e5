"""What is compared of runs on several libraries: each figure's name, value and text."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from attrs import frozen

from mmactors.cli.heap.compared import CALLS
from mmactors.cli.heap.library_choice import LibraryChoice
from mmactors.observe.counters.heap import HEAP_CALLS
from mmactors.observe.heap_usage import (
    HeapLevels,
    HeapUsage,
    heap_usage,
    processes_with_heaps,
    sampled,
)
from mmactors.units import MIB, format_ns

if TYPE_CHECKING:
    from mmactors.cli.run import Report

Number = int | float
_NOTHING: Final = "-"


@frozen(kw_only=True)
class Run:
    """A run on one library, and what its heaps took."""

    choice: LibraryChoice
    report: "Report"

    @cached_property
    def usage(self) -> HeapUsage | None:
        """What heaps took; None: nobody came to call the library."""
        counters = self.report.outcome.summary.counters
        names = [each.name for each in self.report.scenario.instances()]
        called = processes_with_heaps(names, counters)
        return heap_usage(called, counters, self.report.outcome.series) if called else None

    @property
    def came_to(self) -> str:
        """`ok`, or what ended the run or does not hold, in words."""
        outcome = self.report.outcome
        deaths = [death for death in outcome.summary.deaths if death.killer is None]
        words = [f"{death.process} died {death.how}" for death in deaths[:1]]
        if outcome.verdict == "ok" or not words:
            words.insert(0, outcome.verdict)
        if outcome.failure is not None:
            words.append(str(outcome.failure).partition("\n")[0])
        return ": ".join(words)


@frozen(kw_only=True)
class Figure:
    """A row of the table for one trace."""

    name: str
    """In JSON."""
    title: str
    value: Callable[[Run], Number | None]
    text: Callable[[Number], str]
    if_any: bool = False
    """It is left out if it is 0 in all runs."""
    short: str | None = None
    """Its title in the table of several traces; None: it is not there."""

    def cell(self, run: Run) -> str:
        """Return the text of a run's value."""
        value = self.value(run)
        return _NOTHING if value is None else self.text(value)


def _level(read: Callable[[HeapLevels], Number]) -> Callable[[Run], Number | None]:
    def value(run: Run) -> Number | None:
        usage = run.usage
        return None if usage is None or usage.levels is None else read(usage.levels)

    return value


def _heap(read: Callable[[HeapUsage], Number]) -> Callable[[Run], Number | None]:
    def value(run: Run) -> Number | None:
        usage = run.usage
        return None if usage is None else read(usage)

    return value


def _asked(call: str) -> Callable[[Run], Number | None]:
    return _heap(lambda usage: usage.system_calls[call])


def _machine(*endings: str) -> Callable[[Run], Number | None]:
    """Return what adds up the machine's own counters that end so."""

    def value(run: Run) -> Number | None:
        counters = run.report.outcome.summary.counters
        return sum(
            number
            for name, number in counters.items()
            if name.endswith(endings) and not name.startswith(("cpu[", "process["))
        )

    return value


def _waits(*, of_programs: bool, in_ns: bool) -> Callable[[Run], Number | None]:
    def value(run: Run) -> Number | None:
        sides = [
            side
            for each in run.report.outcome.locks
            if each.is_of_programs == of_programs
            for side in (each.read, each.write)
        ]
        return sum(side.waittime_total_ns if in_ns else side.contentions for side in sides)

    return value


def _start_ns(run: Run) -> Number | None:
    """Return at which sample the library had done a call: by then it has begun its work."""
    usage, series = run.usage, run.report.outcome.series
    if usage is None or usage.levels is None or series is None:
        return None
    is_done = sampled(usage.processes, series, CALLS) > 0
    return series.times_ns[int(is_done.argmax())]


def _mib(number: Number) -> str:
    return f"{number / MIB:.2f}"


def _count(number: Number) -> str:
    return f"{number:,}"


def _percent(number: Number) -> str:
    return f"{number:.1%}"


def _ns(number: Number) -> str:
    return format_ns(int(number))


FIGURES: Final = (
    Figure(
        name="peak_live_bytes",
        title="live bytes, peak, MiB",
        short="live",
        value=_level(lambda levels: levels.live.peak),
        text=_mib,
    ),
    Figure(
        name="mean_live_bytes",
        title="live bytes, mean, MiB",
        value=_level(lambda levels: levels.live.mean),
        text=_mib,
    ),
    Figure(
        name="peak_rss_bytes",
        title="RSS, peak, MiB",
        short="RSS",
        value=_level(lambda levels: levels.rss.peak),
        text=_mib,
    ),
    Figure(
        name="mean_rss_bytes",
        title="RSS, mean, MiB",
        short="mean",
        value=_level(lambda levels: levels.rss.mean),
        text=_mib,
    ),
    Figure(
        name="system_peak_bytes",
        title="from the kernel, peak, MiB",
        value=_level(lambda levels: levels.system.peak),
        text=_mib,
    ),
    Figure(
        name="fragmentation_inside",
        title="fragmentation inside blocks",
        short="inside",
        value=_level(lambda levels: levels.inside),
        text=_percent,
    ),
    Figure(
        name="fragmentation_outside",
        title="fragmentation outside blocks",
        short="outside",
        value=_level(lambda levels: levels.outside),
        text=_percent,
    ),
    Figure(
        name="calls",
        title="calls of the library",
        value=_heap(lambda usage: usage.counters["malloc_calls"]),
        text=_count,
    ),
    Figure(
        name="system_calls",
        title="system calls",
        short="syscalls",
        value=_heap(lambda usage: sum(usage.system_calls.values())),
        text=_count,
    ),
    *(
        Figure(
            name=call,
            title=f"  {call}",
            value=_asked(call),
            text=_count,
            if_any=True,
        )
        for call in HEAP_CALLS
    ),
    Figure(
        name="minor_faults",
        title="minor faults",
        short="faults",
        value=_heap(lambda usage: usage.counters["min_flt"]),
        text=_count,
    ),
    Figure(
        name="pages_given_up",
        title="pages given up lazily",
        value=_machine("pglazyfree"),
        text=_count,
        if_any=True,
    ),
    Figure(
        name="tlb_misses",
        title="TLB misses",
        short="TLB",
        value=_machine("_tlb.misses"),
        text=_count,
    ),
    Figure(name="page_walks", title="page walks", value=_machine("_tlb.walks"), text=_count),
    Figure(name="l1_misses", title="L1 misses", value=_machine(".l1_misses"), text=_count),
    Figure(name="l2_misses", title="L2 misses", value=_machine(".l2_misses"), text=_count),
    Figure(
        name="llc_misses",
        title="LLC misses",
        short="LLC",
        value=_machine(".llc_misses"),
        text=_count,
    ),
    Figure(
        name="lock_waits",
        title="waits for the library's locks",
        short="waits",
        value=_waits(of_programs=True, in_ns=False),
        text=_count,
    ),
    Figure(
        name="lock_waits_ns",
        title="time waited for them",
        short="waited",
        value=_waits(of_programs=True, in_ns=True),
        text=_ns,
    ),
    Figure(
        name="kernel_lock_waits",
        title="waits for the kernel's locks",
        value=_waits(of_programs=False, in_ns=False),
        text=_count,
    ),
    Figure(
        name="kernel_lock_waits_ns",
        title="time waited for them",
        value=_waits(of_programs=False, in_ns=True),
        text=_ns,
    ),
    Figure(
        name="shootdowns",
        title="CPUs interrupted to flush",
        value=_machine("tlb_shootdowns"),
        text=_count,
        if_any=True,
    ),
    Figure(
        name="now_ns",
        title="virtual time",
        short="time",
        value=lambda run: run.report.outcome.summary.now_ns,
        text=_ns,
    ),
    Figure(
        name="start_ns",
        title="of it until the first call is done",
        short="start",
        value=_start_ns,
        text=_ns,
    ),
)
"""In the order of the table."""


def shown(runs: Sequence[Run]) -> list[Figure]:
    """Return the figures that say something about these runs."""
    return [
        figure for figure in FIGURES if not figure.if_any or any(figure.value(run) for run in runs)
    ]
