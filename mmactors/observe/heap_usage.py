"""What heaps took of a machine: read off a run's counters and their samples, whatever the library.

Means are over virtual time, of samples that are as far apart; a heap that is gone holds nothing.
Fragmentation inside is what blocks are larger than was asked for, as a share of them; outside what
the library has from the kernel, and is not in such blocks, as a share of that. Both are of means.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.observe.counters.heap import HEAP_CALLS
from mmactors.observe.counters.series import Series
from mmactors.units import PAGE_SIZE

_RSS: Final = "anon_pages"
_SAMPLED: Final = (_RSS, "malloc_live_bytes", "malloc_usable_bytes", "malloc_system_bytes")

Numbers = NDArray[np.int64]


@frozen
class Level:
    """Bytes over the time of a run."""

    peak: int
    mean: float


@frozen(kw_only=True)
class HeapLevels:
    """What samples say."""

    rss: Level
    """Anonymous pages, of whatever the process has; the peak is that of all resident ones."""
    live: Level
    usable: Level
    system: Level

    @property
    def inside(self) -> float:
        """Fragmentation inside of blocks, from 0 to 1."""
        return _share(self.usable.mean - self.live.mean, self.usable.mean)

    @property
    def outside(self) -> float:
        """Fragmentation outside of blocks, from 0 to 1."""
        return _share(self.system.mean - self.usable.mean, self.system.mean)


@frozen(kw_only=True)
class HeapUsage:
    """Processes that have allocated, all together."""

    processes: tuple[str, ...]
    counters: Mapping[str, int]
    """Those of processes, added up, as they were at the end."""
    maxrss_bytes: int
    """The greatest peak of resident pages that one of them had."""
    levels: HeapLevels | None
    """None: the run has no samples of them."""

    @property
    def system_calls(self) -> dict[str, int]:
        """How often the library made each call."""
        return {call: self.counters[f"malloc_{call}"] for call in HEAP_CALLS}


def processes_with_heaps(names: Sequence[str], counters: Mapping[str, int]) -> tuple[str, ...]:
    """Return which of these processes have called their library, in the order given."""
    return tuple(name for name in names if counters.get(f"process[{name}].malloc_calls"))


def heap_usage(
    processes: Sequence[str], counters: Mapping[str, int], series: Series | None
) -> HeapUsage:
    """Return what the heaps of these processes took, all of which have called their library."""
    sums: dict[str, int] = {}
    peaks = [0]
    for process in processes:
        head = f"process[{process}]."
        own = {name.removeprefix(head): n for name, n in counters.items() if name.startswith(head)}
        sums = {name: sums.get(name, 0) + number for name, number in own.items()}
        peaks.append(own["maxrss"] * PAGE_SIZE)
    return HeapUsage(
        processes=tuple(processes),
        counters=sums,
        maxrss_bytes=max(peaks),
        levels=_levels(processes, series, max(peaks)),
    )


def sampled(processes: Sequence[str], series: Series, name: str) -> Numbers:
    """Return the samples of a counter of processes, added up; raise KeyError if there are none."""
    numbers = np.zeros(len(series), np.int64)
    for process in processes:
        numbers += np.array(series[f"process[{process}].{name}"], np.int64)
    return numbers


def sampled_rss(processes: Sequence[str], series: Series) -> Numbers:
    """Return the samples of anonymous pages that are resident, in bytes."""
    return sampled(processes, series, _RSS) * PAGE_SIZE


def _levels(processes: Sequence[str], series: Series | None, maxrss: int) -> HeapLevels | None:
    wanted = {f"process[{process}].{name}" for process in processes for name in _SAMPLED}
    if series is None or not len(series) or not wanted <= set(series.names):
        return None
    rss, *sizes = (sampled(processes, series, name) for name in _SAMPLED)
    live, usable, system = (Level(int(each.max()), float(each.mean())) for each in sizes)
    pages = rss * PAGE_SIZE
    return HeapLevels(
        rss=Level(max(maxrss, int(pages.max())), float(pages.mean())),
        live=live,
        usable=usable,
        system=system,
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
