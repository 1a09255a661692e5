"""What a run tells of heaps: live bytes, RSS, fragmentation, calls of library and kernel."""

from collections.abc import Mapping, Sequence
from typing import Final

from mmactors.observe.counters.series import Series
from mmactors.units import MIB, PAGE_SIZE

_CALLS: Final = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect")


def heap_lines(
    processes: Sequence[str], counters: Mapping[str, int], series: Series | None
) -> list[str]:
    """Return two lines for the first process that has allocated, and how many others there are.

    What was so at most and on average is known from samples; without, what was so at last.
    """
    called = [each for each in processes if counters.get(f"process[{each}].malloc_calls")]
    if not called:
        return []
    head = f"process[{called[0]}]."
    own = {name.removeprefix(head): n for name, n in counters.items() if name.startswith(head)}
    asked = {call: own[f"malloc_{call}"] for call in _CALLS}
    told = ", ".join(f"{count} {call}" for call, count in asked.items() if count)
    more = f"; {len(called) - 1} more processes allocate" if len(called) > 1 else ""
    done = f"{own['malloc_calls']} calls, {own['min_flt']} minor faults"
    return [
        f"  heap of {called[0]}: {done}, system calls: {told or 'none'}{more}",
        f"  {_sizes(head, own, series)}",
    ]


def _sizes(head: str, own: Mapping[str, int], series: Series | None) -> str:
    live, usable, system = (f"malloc_{which}_bytes" for which in ("live", "usable", "system"))
    sampled = [f"{head}{name}" for name in ("anon_rss", live, usable, system)]
    if series is None or not set(sampled) <= set(series.names):
        return (
            f"RSS {_mib(own['maxrss'] * PAGE_SIZE)} at most; at last live {_mib(own[live])}, "
            f"usable {_mib(own[usable])}, from the kernel {_mib(own[system])}"
        )
    rss, *sizes = (series[name] for name in sampled)
    pages = [page * PAGE_SIZE for page in rss]
    words = [f"RSS {_mib(max(pages))} at most, {_mib(_mean(pages))} on average"]
    words.append(f"live {_mib(max(sizes[0]))}, {_mib(_mean(sizes[0]))}")
    inside = _share(sum(sizes[1]) - sum(sizes[0]), sum(sizes[1]))
    outside = _share(sum(sizes[2]) - sum(sizes[1]), sum(sizes[2]))
    words.append(f"fragmentation inside {inside}, outside {outside}")
    return "; ".join(words)


def _mean(numbers: Sequence[int]) -> float:
    return sum(numbers) / len(numbers)


def _mib(nr_bytes: float) -> str:
    return f"{nr_bytes / MIB:.2f} MiB"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "0%"
