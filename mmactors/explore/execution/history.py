"""What each actor did and saw: the name of a state.

What an actor is about to do is a function of the results of its steps so far; a program counter
would miss its locals. Equal names mean equal states, exactly: a history is the number, in a table,
of the history before it, the step, and what the step looked at.

What shared objects hold follows from the histories. Each write knows what it found; so the writes
of one object form a path from its first value, and where the path ends depends on which writes
there were, not on their order (adds commute). This needs every write to be declared: what a step
wrote without declaring it, a message or who runs on a CPU, becomes a part of all names from then
on.

An object that nobody can name, or that has no value to be named by, ends that: states can then not
be told apart, and every one is taken for new.
"""

from collections.abc import Hashable
from typing import Final

from mmactors.engine.baton import Keyed
from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step, Touches
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.engine.view import CpuView, is_cpu
from mmactors.label import Mode

MAX_SPINS: Final = 2
"""After so many looks in a row that showed the same, an actor waits for a change."""

_OBSERVED: Final = Step("observed", ())
Entry = tuple[int, Step, Hashable]
"""The history before, the step, what it saw."""


class Histories:
    """The histories of one search."""

    def __init__(self, engine: SearchEngine) -> None:
        self._engine: Final = engine
        self._objects: dict[str, Keyed] = engine.objects
        self._named: list[Keyed] = []
        self._loose: Final[dict[str, Keyed | None]] = {}
        """What steps have written without declaring it, in any schedule so far."""
        self._party: Final = engine.party
        self._numbers: Final[dict[Entry, int]] = {}

    def begin(self) -> None:
        """Take note of the objects that there are now: the world has just been built."""
        self._objects = self._engine.objects
        self._named = list(self._objects.values())
        for name in self._loose:
            self._loose[name] = None

    def key(self) -> Hashable:
        """Return the name of the state."""
        histories = tuple([actor.history for actor in self._party])
        return (histories, self._loose_values()) if self._loose else histories

    def values(self) -> Hashable:
        """Return what the objects hold that the world began with, or that nobody declared."""
        return tuple([thing.key() for thing in self._named]), self._loose_values()

    def _loose_values(self) -> Hashable:
        loose = self._loose
        for name, thing in loose.items():
            if thing is None:
                loose[name] = self.find(name)
        return tuple([None if thing is None else thing.key() for thing in loose.values()])

    def present(self) -> list[int]:
        """Return each actor's history."""
        return [actor.history for actor in self._party]

    def entries(self) -> dict[int, Entry]:
        """Return what each history consists of."""
        return {number: entry for entry, number in self._numbers.items()}

    def note(self, actor: SearchActor, step: Step) -> bool:
        """Note that `actor` takes `step` now; return whether what it sees can be named."""
        objects = self._objects
        looks = step.looks
        seen: Hashable = None
        try:
            if len(looks) == 1:
                seen = objects[looks[0]].key()
            elif looks:
                seen = tuple([objects[name].key() for name in looks])
            entry = (actor.history, step, seen)
            number = self._numbers.get(entry)
        except (KeyError, TypeError):
            return self._find_columns(looks) and self.note(actor, step)
        if number is None:
            number = self._numbers[entry] = len(self._numbers) + 1
        actor.history = number
        if step.is_look:
            saw = (step, seen)
            if actor.saw == saw:
                actor.spins += 1
            else:
                actor.spins = 0
                actor.saw = saw
        elif actor.saw is not None:
            actor.spins = 0
            actor.saw = None
        return True

    def add(self, actor: SearchActor, value: Hashable) -> None:
        """Add what the step that `actor` took last showed besides the values of its objects."""
        entry = (actor.history, _OBSERVED, value)
        actor.history = self._numbers.setdefault(entry, len(self._numbers) + 1)

    def note_more(self, actor: SearchActor, step: Step, extra: Touches) -> bool:
        """Note that the step touched more than it declared; return whether that can be named."""
        seen = []
        for name, mode in extra:
            if mode is Mode.ADD:
                continue
            thing = self._loose.get(name)
            if thing is None:
                thing = self.find(name)
                if thing is None:
                    return False
                if mode is Mode.WRITE:
                    self._loose[name] = thing
            seen.append((name, thing.key()))
        entry = (actor.history, step, tuple(seen))
        try:
            number = self._numbers.get(entry)
        except TypeError:
            return False
        if number is None:
            number = self._numbers[entry] = len(self._numbers) + 1
        actor.history = number
        return True

    def sees_nothing_new(self, actor: SearchActor) -> bool:
        """Return whether looking again would show a spinning actor what it saw last."""
        if actor.saw is None or actor.pending is not actor.saw[0]:
            return False
        looks = actor.pending.looks
        objects = self._objects
        if len(looks) == 1:
            return bool(objects[looks[0]].key() == actor.saw[1])
        return tuple([objects[name].key() for name in looks]) == actor.saw[1]

    def _find_columns(self, looks: tuple[str, ...]) -> bool:
        """Let elements of a known object go under that object; return whether any was missing.

        False also when an object is unknown, or its state has no hash: it cannot be named.
        """
        objects = self._objects
        missing = [name for name in looks if name not in objects]
        for name in missing:
            found = self.find(name)
            if found is None:
                return False
            objects[name] = found
        return bool(missing)

    def find(self, name: str) -> Keyed | None:
        """Return the object, or the column that it is an element of; None: nobody knows it."""
        objects = self._objects
        if is_cpu(name) and name not in objects:
            cpus = (actor.cpu for actor in self._party if actor.cpu is not None)
            return next((CpuView(cpu) for cpu in cpus if cpu.name == name), None)
        for known in (name, name.partition("[")[0]):
            try:
                return objects[known]
            except KeyError:
                continue
        return None


class GuardedHistories(Histories):
    """In guard mode: to name what a step finds is no access of the step's."""

    def key(self) -> Hashable:
        """Return the name of the state."""
        with self._engine.guard.suspended():
            return super().key()

    def values(self) -> Hashable:
        """Return what the objects hold that the world began with, or that nobody declared."""
        with self._engine.guard.suspended():
            return super().values()

    def note(self, actor: SearchActor, step: Step) -> bool:
        """Note that `actor` takes `step` now; return whether what it sees can be named."""
        with self._engine.guard.suspended():
            return super().note(actor, step)

    def note_more(self, actor: SearchActor, step: Step, extra: Touches) -> bool:
        """Note that the step touched more than it declared; return whether that can be named."""
        with self._engine.guard.suspended():
            return super().note_more(actor, step, extra)

    def sees_nothing_new(self, actor: SearchActor) -> bool:
        """Return whether looking again would show a spinning actor what it saw last."""
        with self._engine.guard.suspended():
            return super().sees_nothing_new(actor)
