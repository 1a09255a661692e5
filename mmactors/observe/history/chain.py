"""The answers: what took long, what it waited for, and what those were doing who let it wait."""

import heapq
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from attrs import define, field, frozen

from mmactors.given_file import open_given
from mmactors.observe.history.read import LogHistory, read_history
from mmactors.observe.history.track import NONE, OPEN, Intervals, Kind, Track
from mmactors.observe.log_read import Damage, EventRecord, line_at

CHAIN_LENGTH: Final = 3
"""So far a chain is followed: who waited, for whom, and what for that one waited."""
NR_FOLLOWED: Final = 20
"""And that for so many waits of one call, those that took longest."""
WAITS: Final = frozenset({Kind.LOCK, Kind.ANSWERS})
"""What counts as waiting for somebody; the rest is only looked at within calls and faults."""


@frozen(kw_only=True)
class Doing:
    """A call or a fault that somebody was in."""

    seq: int
    """Number of the event that opened it: `mmactors logs RUN --span SEQ` shows it."""
    actor: str
    cpu: int | None
    pid: int | None
    tid: int | None
    began_ns: int
    ns: int | None
    """None: it had not ended."""
    call: str | None
    """The call as the program wrote it; None: a fault."""
    ret: int | None
    """Of a call that has returned, minus the errno if it failed."""
    address: int | None
    """Of a fault, as the next three."""
    error_code: int | None
    kind: str | None
    """What was done (docs/events.md, page_fault_end)."""
    pfn: int | None


@frozen(kw_only=True)
class Wait:
    """A wait of somebody, or a part of one."""

    seq: int
    """Number of the event that it began with, or of ipi_handled."""
    kind: str
    """lock, answers (of CPUs that it interrupted), asleep, cpu (others had it), interrupt."""
    actor: str
    cpu: int | None
    pid: int | None
    began_ns: int
    ns: int
    doing: Doing | None
    """What waited; None: no call and no fault, or it is not known."""
    lock: str | None = None
    lock_class: str | None = None
    flags: int | None = None
    """How a lock was wanted (contention_begin)."""
    cpus: tuple[int, ...] = ()
    """That were interrupted."""
    last_cpu: int | None = None
    """That answered last."""
    of: str | None = None
    """Who had the lock, whom the last CPU was running (None: it was idle), who woke it, who had the
    CPU, or who interrupted it; None: it is not known."""
    of_doing: Doing | None = None
    """What that one was doing when the wait began; of who woke it, when it did."""
    inside: "tuple[Wait, ...]" = ()
    """What that one waited for meanwhile, if it had the lock."""


@frozen(kw_only=True)
class Slow:
    """A call or a fault, and what its time went to."""

    doing: Doing
    ns: int
    waited_ns: int
    waits: tuple[Wait, ...]
    """In order, each ns once."""


@define(eq=False)
class LogQuery:
    """Answers from a log; a context manager, because it reads lines again."""

    history: LogHistory
    _file: BinaryIO = field(repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def longest_waits(self, count: int, kinds: frozenset[Kind] = WAITS) -> list[Wait]:
        """Return the longest waits of some kinds, each with what was waited for."""
        chosen = _longest(self.history, count, kinds, lambda track: track.waits)
        return [self._wait(track, index, CHAIN_LENGTH) for track, index in chosen]

    def slowest(self, count: int, kind: Kind) -> list[Slow]:
        """Return the calls or the faults that took longest, each with what it waited for."""
        chosen = _longest(self.history, count, frozenset({kind}), lambda track: track.spans)
        return [self._slow(track, index) for track, index in chosen]

    def count(self, kind: Kind) -> tuple[int, int]:
        """Return how many calls or faults have ended, and how long they took in all, ns."""
        nr_ended, total_ns = 0, 0
        for track in self.history.tracks.values():
            for index in _ended(track.spans, frozenset({kind})):
                nr_ended += 1
                total_ns += track.spans.spent_ns(index)
        return nr_ended, total_ns

    def _slow(self, track: Track, index: int) -> Slow:
        spans = track.spans
        waits = self._waits(track, spans.began[index], spans.ended[index], CHAIN_LENGTH)
        return Slow(
            doing=self._doing(track, index),
            ns=spans.spent_ns(index),
            waited_ns=sum(wait.ns for wait in waits),
            waits=waits,
        )

    def _waits(self, track: Track, began_ns: int, ended_ns: int, depth: int) -> tuple[Wait, ...]:
        parts = list(track.waits_within(began_ns, ended_ns))
        longest = heapq.nlargest(NR_FOLLOWED, parts, key=lambda part: part[2] - part[1])
        followed = {index for index, _, _ in longest}
        return tuple(
            self._wait(track, index, depth if index in followed else 1, from_ns, to_ns)
            for index, from_ns, to_ns in parts
        )

    def _record(self, offset: int) -> EventRecord:
        return line_at(self._file, offset)[1]

    def _doing(self, track: Track, index: int) -> Doing:
        spans = track.spans
        first = self._record(spans.first[index])
        last = {} if spans.last[index] == OPEN else self._record(spans.last[index])
        is_call = spans.kind[index] == Kind.CALL
        return Doing(
            seq=first["seq"],
            actor=track.actor,
            cpu=first["cpu"],
            pid=first["pid"],
            tid=first["tid"],
            began_ns=spans.began[index],
            ns=spans.spent_ns(index) if last else None,
            call=first["call"] if is_call else None,
            ret=last.get("ret") if is_call else None,
            address=None if is_call else first["address"],
            error_code=None if is_call else first["error_code"],
            kind=None if is_call else last.get("kind"),
            pfn=None if is_call else last.get("pfn"),
        )

    def _doing_at(self, actor: str | None, t_ns: int) -> Doing | None:
        track = None if actor is None else self.history.tracks.get(actor)
        index = NONE if track is None else track.span_at(t_ns)
        return None if track is None or index == NONE else self._doing(track, index)

    def _wait(
        self,
        track: Track,
        index: int,
        depth: int,
        from_ns: int | None = None,
        to_ns: int | None = None,
    ) -> Wait:
        waits = track.waits
        began_ns = waits.began[index] if from_ns is None else from_ns
        ended_ns = waits.ended[index] if to_ns is None else to_ns
        first, last = self._record(waits.first[index]), self._record(waits.last[index])
        kind = Kind(waits.kind[index])
        span = waits.outer[index]
        of, of_ns = _of(kind, first, last, began_ns)
        other = None if of is None else self.history.tracks.get(of)
        return Wait(
            seq=first["seq"],
            kind=kind.name.lower(),
            actor=track.actor,
            cpu=first["cpu"],
            pid=first["pid"],
            began_ns=began_ns,
            ns=ended_ns - began_ns,
            doing=None if span == NONE else self._doing(track, span),
            lock=first["lock"] if kind is Kind.LOCK else None,
            lock_class=first["class"] if kind is Kind.LOCK else None,
            flags=first["flags"] if kind is Kind.LOCK else None,
            cpus=tuple(first["targets"]) if kind is Kind.ANSWERS else (),
            last_cpu=last["cpu"] if kind is Kind.ANSWERS else None,
            of=of,
            of_doing=self._doing_at(of, of_ns),
            inside=()
            if other is None or depth == 1 or kind is not Kind.LOCK
            else self._waits(other, began_ns, ended_ns, depth - 1),
        )


def open_query(path: Path, damage: Damage | None = None) -> LogQuery:
    """Read a log and return what answers; as `read_history`."""
    return LogQuery(read_history(path, damage), open_given(path))


def _of(kind: Kind, first: EventRecord, last: EventRecord, began_ns: int) -> tuple[str | None, int]:
    """Return who let one wait, and at what time that one's doing is of interest."""
    match kind:
        case Kind.LOCK:
            return first["holder"], began_ns
        case Kind.ANSWERS:
            return None if last["tid"] is None else last["actor"], began_ns
        case Kind.CPU:
            return first["next_comm"], began_ns
        case Kind.INTERRUPT:
            return first.get("for_actor"), began_ns
        case _:  # Whoever woke it; the CPU's own switch, if nobody did.
            return last["actor"] if last["event"] != "sched_switch" else None, last["t"]


def _ended(intervals: Intervals, kinds: frozenset[Kind]) -> Iterator[int]:
    return (
        index
        for index, kind in enumerate(intervals.kind)
        if kind in kinds and intervals.ended[index] != OPEN
    )


def _longest(
    history: LogHistory,
    count: int,
    kinds: frozenset[Kind],
    column: Callable[[Track], Intervals],
) -> list[tuple[Track, int]]:
    """Return what took longest; of what took as long, what began first."""
    candidates = (
        (-intervals.spent_ns(index), intervals.began[index], intervals.first[index], track, index)
        for track in history.tracks.values()
        for intervals in [column(track)]
        for index in _ended(intervals, kinds)
    )
    chosen = heapq.nsmallest(count, candidates, key=lambda each: each[:3])
    return [(track, index) for *_, track, index in chosen]
