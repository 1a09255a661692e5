"""Samples of counters in virtual time: what `record: {sample: ...}` of a scenario takes.

A sample at time t holds what had happened before t: everybody who could go on earlier has done so,
nobody who goes on at t or later. A CPU may run ahead of the others by up to the quantum, and one
that runs alone by some microseconds more (engine/baton.py); what it has done then is in the sample
though it is later. With a quantum of 0 and several CPUs at work a sample is exact to one step.

Taking samples is looking: between two of them the machine goes on as if it had not been paused.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from attrs import field, frozen

SAMPLES_MAX: Final = 100_000
NUMBERS_MAX: Final = 10_000_000
"""Of all samples together: 80 MB."""
COLUMNS_MAX: Final = 10_000
SERIES_SCHEMA: Final = "mmactors.series"
SERIES_VERSION: Final = "1.0"


@frozen(kw_only=True)
class Series:
    """Samples of counters: `series["pgfault"]` is one of them, a number for each of `times_ns`."""

    sample_ns: int
    """Between two samples; the last one was taken at the end of the run, whenever that was."""
    names: tuple[str, ...]
    units: tuple[str, ...]
    times_ns: tuple[int, ...]
    is_whole: bool
    """False: there were too many samples, and the later ones are missing."""
    _numbers: "array[int]" = field(repr=False)
    """Sample by sample."""

    def __getitem__(self, name: str) -> tuple[int, ...]:
        """Return the samples of one counter; raise KeyError if it was not sampled."""
        if name not in self.names:
            raise KeyError(name)
        return tuple(self._numbers[self.names.index(name) :: len(self.names)])

    def __len__(self) -> int:
        """Return how many samples there are."""
        return len(self.times_ns)

    def lines(self) -> Iterator[str]:
        """Yield the lines of series.jsonl: a head, then a line a sample."""
        head: dict[str, Any] = {
            "schema": SERIES_SCHEMA,
            "version": SERIES_VERSION,
            "sample_ns": self.sample_ns,
            "is_whole": self.is_whole,
            "names": self.names,
            "units": self.units,
        }
        yield orjson.dumps(head).decode()
        width = len(self.names)
        for row, time_ns in enumerate(self.times_ns):
            values = self._numbers[row * width : (row + 1) * width].tolist()
            yield orjson.dumps({"t": time_ns, "values": values}).decode()


class Sampler:
    """Takes samples; who moves the machine asks when the next one is due."""

    def __init__(
        self,
        sample_ns: int,
        units: Mapping[str, str],
        read: Callable[[int], Sequence[int]],
    ) -> None:
        """Sample the counters that `units` names; `read` returns them as they are at a time."""
        self.next_ns = 0
        """When the next sample is due."""
        self.is_whole = True
        self._sample_ns: Final = sample_ns
        self._units: Final = units
        self._read: Final = read
        self._times_ns: Final[array[int]] = array("q")
        self._numbers: Final[array[int]] = array("q")

    @property
    def is_full(self) -> bool:
        """Whether no further sample has room."""
        is_room = len(self._numbers) + len(self._units) <= NUMBERS_MAX
        return not is_room or len(self._times_ns) >= SAMPLES_MAX

    def take(self) -> None:
        """Take the sample that is due."""
        self._add(self.next_ns)
        self.next_ns += self._sample_ns

    def finish(self, now_ns: int) -> None:
        """Take the last sample, at the end of the run: that which is due then, if one was."""
        if self._times_ns and self._times_ns[-1] >= now_ns:
            self._times_ns.pop()
            del self._numbers[-len(self._units) :]
        self._add(now_ns)

    def series(self) -> Series:
        """Return the samples so far."""
        return Series(
            sample_ns=self._sample_ns,
            names=tuple(self._units),
            units=tuple(self._units.values()),
            times_ns=tuple(self._times_ns),
            is_whole=self.is_whole,
            numbers=self._numbers[:],
        )

    def _add(self, time_ns: int) -> None:
        self._times_ns.append(time_ns)
        self._numbers.extend(self._read(time_ns))
