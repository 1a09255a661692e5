"""What a run tells of heaps: live bytes, RSS, fragmentation, calls of library and kernel."""

from collections.abc import Mapping, Sequence

from mmactors.observe.counters.series import Series
from mmactors.observe.heap_usage import HeapUsage, heap_usage, processes_with_heaps
from mmactors.units import MIB


def heap_lines(
    processes: Sequence[str], counters: Mapping[str, int], series: Series | None
) -> list[str]:
    """Return two lines for the first process that has allocated, and how many others there are.

    What was so at most and on average is known from samples; without, what was so at last.
    """
    called = processes_with_heaps(processes, counters)
    if not called:
        return []
    usage = heap_usage(called[:1], counters, series)
    told = ", ".join(f"{count} {call}" for call, count in usage.system_calls.items() if count)
    more = f"; {len(called) - 1} more processes allocate" if len(called) > 1 else ""
    own = usage.counters
    done = f"{own['malloc_calls']} calls, {own['min_flt']} minor faults"
    return [
        f"  heap of {called[0]}: {done}, system calls: {told or 'none'}{more}",
        f"  {_sizes(usage)}",
    ]


def _sizes(usage: HeapUsage) -> str:
    own, levels = usage.counters, usage.levels
    if levels is None:
        live, usable, system = (
            mib(own[f"malloc_{which}_bytes"]) for which in ("live", "usable", "system")
        )
        return (
            f"RSS {mib(usage.maxrss_bytes)} at most; at last live {live}, "
            f"usable {usable}, from the kernel {system}"
        )
    return (
        f"RSS {mib(levels.rss.peak)} at most, {mib(levels.rss.mean)} on average; "
        f"live {mib(levels.live.peak)}, {mib(levels.live.mean)}; "
        f"fragmentation inside {levels.inside:.1%}, outside {levels.outside:.1%}"
    )


def mib(nr_bytes: float) -> str:
    """Return a size in MiB, to hundredths."""
    return f"{nr_bytes / MIB:.2f} MiB"
