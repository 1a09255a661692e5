"""Reading a log into tracks and totals, once and in the order of its numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import define, field

from mmactors.observe.history.totals import Totals
from mmactors.observe.history.track import Kind, Track
from mmactors.observe.log_read import Damage, EventRecord, read_with_offsets

IN_FAULTS: Final = "page faults"
IN_NO_CALL: Final = "no call"
_NOT_BACK: Final = 0x10 | 0x20
"""EXIT_DEAD and EXIT_ZOMBIE: who leaves its CPU so does not come back."""


@define(eq=False)
class _Answers:
    """An interrupt of other CPUs that not all of them have answered."""

    track: Track
    index: int
    call: str
    missing: set[int]
    cpus: list[int]
    t_ns: int = 0
    offset: int = 0


@define(eq=False)
class LogHistory:
    """All calls, faults and waits of a log."""

    tracks: dict[str, Track] = field(factory=dict)
    """By actor, in the order in which they first did something."""
    totals: Totals = field(factory=Totals)
    events_seen: set[str] = field(factory=set)
    is_filtered: bool = False
    """Numbers are missing: the log leaves events out."""
    _locks: dict[int, tuple[Track, int, EventRecord]] = field(factory=dict)
    """Waits for locks by the number of their beginning."""
    _answers: dict[int, _Answers] = field(factory=dict)
    _off_cpu: dict[int, tuple[Track, int]] = field(factory=dict)
    """By tid."""
    _wakings: dict[int, int] = field(factory=dict)
    """Where in the log a thread was woken that does not run yet, by tid."""
    _handlers: dict[str, Callable[[EventRecord, int], None]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._handlers = {
            "sys_enter": self._open_call,
            "page_fault_user": self._open_fault,
            "page_fault_kernel": self._open_fault,
            "sys_exit": self._close,
            "page_fault_end": self._close,
            "sched_process_exit": self._exit,
            "contention_begin": self._begin_lock,
            "contention_end": self._end_lock,
            "ipi_send": self._send,
            "ipi_handled": self._handled,
            "sched_switch": self._switch,
            "sched_waking": self._wake,
            "sched_wakeup_new": self._wake,
        }

    def take(self, record: EventRecord, offset: int) -> None:
        """Take the next line of the log; `offset`: where in the file it is."""
        event = record["event"]
        handler = self._handlers.get(event)
        if handler is not None:
            self.events_seen.add(event)
            handler(record, offset)

    def finish(self) -> None:
        """Take the end of the log: what still waits has not ended."""
        self.totals.unended = len(self._locks) + len(self._answers)

    def _track(self, actor: str) -> Track:
        track = self.tracks.get(actor)
        if track is None:
            track = self.tracks[actor] = Track(actor)
        return track

    def _open_call(self, record: EventRecord, offset: int) -> None:
        self._open(Kind.CALL, record["call"], record, offset)

    def _open_fault(self, record: EventRecord, offset: int) -> None:
        self._open(Kind.FAULT, IN_FAULTS, record, offset)

    def _open(self, kind: Kind, call: str, record: EventRecord, offset: int) -> None:
        track = self._track(record["actor"])
        index = track.spans.begin(kind, record["t"], offset, track.in_span())
        track.stack.append((record["seq"], index, call))

    def _close(self, record: EventRecord, offset: int) -> None:
        track = self._track(record["actor"])
        opener = record.get("span")
        if any(seq == opener for seq, _, _ in track.stack):  # Else its beginning is left out.
            while track.stack[-1][0] != opener:
                track.stack.pop()
            self._end_innermost(track, record["t"], offset)

    def _exit(self, record: EventRecord, offset: int) -> None:
        """End what a thread never returns from."""
        track = self._track(record["actor"])
        while track.stack:
            self._end_innermost(track, record["t"], offset)

    def _end_innermost(self, track: Track, t_ns: int, offset: int) -> None:
        track.spans.end(track.stack.pop()[1], t_ns, offset)

    def _begin_lock(self, record: EventRecord, offset: int) -> None:
        track = self._track(record["actor"])
        index = track.waits.begin(Kind.LOCK, record["t"], offset, track.in_span())
        self._locks[record["seq"]] = track, index, record

    def _end_lock(self, record: EventRecord, offset: int) -> None:
        begun = self._locks.pop(record.get("cause", 0), None)
        if begun is not None:
            track, index, first = begun
            # Who slept goes on later, when it has a CPU; the sleep is a wait of its own.
            ended_ns = min(first["t"] + record["wait_ns"], record["t"])
            track.waits.end(index, max(first["t"], ended_ns), offset)
            self.totals.add_lock(first["class"], track.actor, first["holder"], record["wait_ns"])

    def _send(self, record: EventRecord, offset: int) -> None:
        if record["targets"]:
            track = self._track(record["actor"])
            index = track.waits.begin(Kind.ANSWERS, record["t"], offset, track.in_span())
            call = track.stack[-1][2] if track.stack else IN_NO_CALL
            targets = record["targets"]
            self._answers[record["id"]] = _Answers(track, index, call, set(targets), targets)

    def _handled(self, record: EventRecord, offset: int) -> None:
        track = self._track(record["actor"])
        t_ns = record["t"]
        # The interrupted was in something, and its handler's events are not its own.
        began_ns = max(0, t_ns - max(0, record["ns"]))
        index = track.waits.begin(Kind.INTERRUPT, began_ns, offset, track.in_span())
        track.waits.end(index, t_ns, offset)
        answers = self._answers.get(record["id"])
        if answers is None:
            return
        answers.missing.discard(record["cpu"])
        if t_ns >= answers.t_ns:
            answers.t_ns, answers.offset = t_ns, offset
        if not answers.missing:
            del self._answers[record["id"]]
            waits = answers.track.waits
            waits.end(answers.index, answers.t_ns, answers.offset)
            ns = waits.spent_ns(answers.index)
            self.totals.add_answers(answers.track.actor, answers.call, answers.cpus, ns)

    def _switch(self, record: EventRecord, offset: int) -> None:
        before, then, state = record["prev_pid"], record["next_pid"], record["prev_state"]
        back = self._off_cpu.pop(then, None)
        woken = self._wakings.pop(then, offset)
        if back is not None:
            track, index = back
            track.waits.end(index, record["t"], woken)
        if before and not state & _NOT_BACK:
            track = self._track(record["actor"])
            is_asleep = state & (_STATE_PREEMPTED - 1) != 0
            kind = Kind.ASLEEP if is_asleep else Kind.CPU
            index = track.waits.begin(kind, record["t"], offset, track.in_span())
            self._off_cpu[before] = track, index

    def _wake(self, record: EventRecord, offset: int) -> None:
        self._wakings[record["task_pid"]] = offset


_STATE_PREEMPTED: Final = 0x100


def read_history(path: Path, damage: Damage | None = None) -> LogHistory:
    """Read a whole log; lines that are no events are noted in `damage`. Raises UserError."""
    history = LogHistory()
    number = 0
    for offset, _, record in read_with_offsets(path, damage=damage):
        if record["seq"] != number + 1:
            history.is_filtered = True
        number = record["seq"]
        history.take(record, offset)
    history.finish()
    return history
