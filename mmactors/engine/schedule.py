"""A schedule: which actor got the baton, and for what, in order. It is data: printed and replayed.

Entries are (actor name, label), never positions in a list of candidates, so that a schedule can be
read, and so that a program that changed is noticed at the first entry that does not fit.

It has two text forms: that of a whole schedule, and one that grows by lines while the run goes on.
"""

import hashlib
import zlib
from array import array
from base64 import b64decode, b64encode, b85decode, b85encode
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import define, field, frozen

from mmactors.engine.actor import NEVER, Actor
from mmactors.engine.policy import Fifo
from mmactors.limits import SCHEDULE_ENTRIES_MAX, SCHEDULE_NAMES_MAX
from mmactors.plain_text import cut

SEPARATOR: Final = ": "
"""Stands between the name and the label of an entry; names never contain it."""
_MAGIC: Final = "mmactors schedule 1"
_GROWING: Final = "mmactors growing schedule 1"
_NAME: Final = "n "
_ENTRIES: Final = "e "
_COMPLETE: Final = "complete"
_PARTIAL: Final = "partial"
_NR_HEAD: Final = 4
_NR_DIGITS_MAX: Final = 9
_NR_GROWING_HEAD: Final = 2
_LINE: Final = 100


class ScheduleMismatch(Exception):  # noqa: N818 - it is what happened, not a kind of error
    """A recorded schedule does not fit the program that it is replayed against."""


@frozen(kw_only=True)
class Schedule:
    """A recorded schedule."""

    fingerprint: str
    """Digest of the scenario and the program it was recorded from."""
    names: tuple[str, ...]
    """`actor: label` of each kind of entry."""
    entries: "array[int]"
    """Indices into `names`, one for each time the baton was given."""
    is_complete: bool = True
    """Whether the run was over then; a replay of one that was not stops where it stopped."""
    is_closed: bool = True
    """Whether who wrote it came to say how far it goes; who was killed did not."""

    def must_fit(self, fingerprint: str) -> None:
        """Raise ScheduleMismatch unless the schedule was recorded from this very program."""
        if fingerprint != self.fingerprint:
            raise ScheduleMismatch(
                f"the schedule was recorded from {self.fingerprint}, this is {fingerprint}: "
                "replay it with the scenario and the version it was recorded with"
            )

    def __iter__(self) -> Iterator[str]:
        return (self.names[entry] for entry in self.entries)

    def __str__(self) -> str:
        """Return the text form: a head for people, then the entries, compressed."""
        packed = b85encode(zlib.compress(self.entries.tobytes(), 9)).decode()
        extent = _COMPLETE if self.is_complete else _PARTIAL
        lines = [_MAGIC, self.fingerprint, extent, str(len(self.names)), *self.names]
        lines += [packed[at : at + _LINE] for at in range(0, len(packed), _LINE)]
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Return the schedule of a text form; raise ValueError if it is none."""
        lines = text.split("\n")
        last = lines.pop()
        if lines[:1] == [_GROWING]:
            return cls._parse_growing(lines)  # A last line without an end was not written whole.
        if last:
            lines.append(last)
        if len(lines) < _NR_HEAD or lines[0] != _MAGIC:
            raise ValueError(f"the text does not begin with {_MAGIC!r}")
        if lines[2] not in (_COMPLETE, _PARTIAL):
            raise ValueError(f"the third line is neither {_COMPLETE!r} nor {_PARTIAL!r}")
        nr_names = _count(lines[3])
        entries = array("I")
        _unpack(b85decode("".join(lines[_NR_HEAD + nr_names :])), entries)
        return cls(
            fingerprint=lines[1],
            names=_names(lines[_NR_HEAD : _NR_HEAD + nr_names], entries),
            entries=entries,
            is_complete=lines[2] == _COMPLETE,
        )

    @classmethod
    def _parse_growing(cls, lines: list[str]) -> "Schedule":
        if len(lines) < _NR_GROWING_HEAD:
            raise ValueError("the text ends in its head")
        names, entries = [], array("I")
        for number, line in enumerate(lines[_NR_GROWING_HEAD:], start=_NR_GROWING_HEAD + 1):
            if line.startswith(_NAME):
                names.append(line.removeprefix(_NAME))
                if len(names) > SCHEDULE_NAMES_MAX:
                    raise ValueError(f"it has more than {SCHEDULE_NAMES_MAX:,} names")
            elif line.startswith(_ENTRIES):
                _unpack(b64decode(line.removeprefix(_ENTRIES), validate=True), entries)
            else:
                raise ValueError(f"line {number} has neither a name nor entries")
        return cls(
            fingerprint=lines[1],
            names=_names(names, entries),
            entries=entries,
            is_complete=False,
            is_closed=False,
        )


def _unpack(packed: bytes, entries: "array[int]") -> None:
    """Append packed entries; raise ValueError if they are damaged, or too many."""
    stream = zlib.decompressobj()
    rest = (SCHEDULE_ENTRIES_MAX - len(entries)) * entries.itemsize
    try:
        data = stream.decompress(packed, max(rest, 1))
    except zlib.error as error:
        raise ValueError(f"the entries are damaged: {error}") from error
    if stream.unconsumed_tail:
        raise ValueError(f"it has more than {SCHEDULE_ENTRIES_MAX:,} entries")
    if not stream.eof or stream.unused_data:
        raise ValueError("the entries are damaged: their end is missing, or more follows it")
    entries.frombytes(data)


def _names(names: Sequence[str], entries: "array[int]") -> tuple[str, ...]:
    if entries and max(entries) >= len(names):
        raise ValueError("an entry names no actor")
    if not all(SEPARATOR in name for name in names):
        raise ValueError("a line names no actor and its label")
    return tuple(names)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > _NR_DIGITS_MAX:
        raise ValueError(f"{cut(text, 40)!r} is no number of names")
    if int(text) > SCHEDULE_NAMES_MAX:
        raise ValueError(f"it has more than {SCHEDULE_NAMES_MAX:,} names")
    return int(text)


@define(eq=False)
class Recorder:
    """Takes down who got the baton, and for what."""

    entries: "array[int]" = field(factory=lambda: array("I"))
    _names: list[str] = field(factory=list)

    def new_entry(self, actor: Actor) -> int:
        """Return the number under which `actor` with its present label goes from now on."""
        entry = actor.entry_of_label[actor.label] = len(self._names)
        self._names.append(f"{actor.name}{SEPARATOR}{actor.label}")
        return entry

    def last(self, nr_entries: int) -> list[str]:
        """Return the last entries, as text."""
        return [self._names[entry] for entry in self.entries[-nr_entries:]]

    def since(self, nr_entries: int, nr_names: int) -> tuple["array[int]", list[str]]:
        """Return the entries and the names after so many; no entry is without its name."""
        return self.entries[nr_entries:], self._names[nr_names:]

    def schedule(self, fingerprint: str, *, is_complete: bool = True) -> Schedule:
        """Return what was taken down so far; Engine.schedule knows whether that is all."""
        return Schedule(
            fingerprint=fingerprint,
            names=tuple(self._names),
            entries=array("I", self.entries),
            is_complete=is_complete,
        )


@define(eq=False)
class GrowingText:
    """The text form of a schedule that goes on, in pieces of complete lines."""

    fingerprint: str
    recorder: Recorder | None = None
    """Who takes it down; None: nobody yet."""
    _nr_entries: int = 0
    _nr_names: int = 0

    @property
    def head(self) -> str:
        """Return the lines that it begins with."""
        return f"{_GROWING}\n{self.fingerprint}\n"

    def more(self) -> str:
        """Return the lines for what came since the last call"""
        if self.recorder is None:
            return ""
        entries, names = self.recorder.since(self._nr_entries, self._nr_names)
        self._nr_entries += len(entries)
        self._nr_names += len(names)
        lines = [_NAME + name for name in names]
        if entries:
            lines.append(_ENTRIES + b64encode(zlib.compress(entries.tobytes(), 1)).decode())
        return "".join(f"{line}\n" for line in lines)


class Replay:
    """A policy that gives the baton to whom a schedule says, and refuses what does not fit.

    The base policy answers everything else, so it must be made of the same seed and options.
    """

    def __init__(self, schedule: Schedule, base: Fifo) -> None:
        self.draws_costs = base.draws_costs
        self.next_ns: int = base.next_ns
        self.quantum_ns: int = base.quantum_ns
        self.is_over = False
        self.tie = base.tie
        self.cost_ns = base.cost_ns
        self._base: Final = base
        self._names: Final = [tuple(name.split(SEPARATOR, 1)) for name in schedule.names]
        self._entries: Final = schedule.entries
        self._is_complete: Final = schedule.is_complete
        self._at = 0
        self._ready: Final[dict[str, Actor]] = {}

    def push(self, actor: Actor, time_ns: int) -> None:
        """Put an actor into the ready set, or move its entry there."""
        self._ready[actor.name] = actor
        self._base.push(actor, time_ns)
        self.next_ns = self._base.next_ns

    def pop(self, until_ns: int) -> Actor | None:
        """Take the actor that the schedule names."""
        base = self._base
        base.trim()
        self.next_ns = base.next_ns
        if base.next_ns == NEVER:
            return None
        if self._at == len(self._entries):
            if not self._is_complete:
                self.is_over = True
                return None
            raise ScheduleMismatch(
                f"the schedule ends after {self._at} entries, but the program goes on"
            )
        name, label = self._names[self._entries[self._at]]
        actor = self._ready.get(name)
        if actor is None or actor.ready_at is None or actor.label != label:
            can = sorted(
                f"{other.name}{SEPARATOR}{other.label}"
                for other in self._ready.values()
                if other.ready_at is not None
            )
            raise ScheduleMismatch(
                f"entry {self._at} is {name}{SEPARATOR}{label}, "
                f"but only these can run: {', '.join(can)}"
            )
        if actor.ready_at > until_ns:
            return None
        self._at += 1
        actor.ready_order = 0  # Its entry in the base's ready set is void.
        base.trim()
        base.draw_quantum()
        self.next_ns = base.next_ns
        self.quantum_ns = base.quantum_ns
        return actor


def fingerprint_of(*texts: str) -> str:
    """Return the digest under which a schedule is filed."""
    digest = hashlib.blake2b(digest_size=12)
    for text in texts:
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text.encode())
    return digest.hexdigest()
