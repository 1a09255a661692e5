"""What each actor did and saw: the name of a state.

What an actor is about to do is a function of the results of its steps so far; a program counter
would miss its locals. Equal names mean equal states, exactly: a history is the number, in a table,
of the history before it, the step, and what the step looked at.

What shared objects hold follows from the histories. Each write knows what it found; so the writes
of one object form a path from its first value, and where the path ends depends on which writes
there were, not on their order (adds commute). This needs every write to be declared: what a step
wrote without declaring it, a message or who runs on a CPU, becomes a part of all names from then
on.

Unless a test reads the clock, time is a part of no name: states that differ by their clocks alone
are one, so that no value may hold a time. On a machine, who takes a step may have looked ahead, at
page tables, to tell what it will touch (it looks again at its turn): there pending steps are a part
of names.

An object that nobody can name, or that has no value to be named by, ends that: states can then not
be told apart, and every one is taken for new.
"""

from collections.abc import Hashable, Iterator
from itertools import islice
from typing import Final

from mmactors.engine.actor import Keyed
from mmactors.explore.engine.generations import Generations
from mmactors.explore.engine.search_actor import Entry, Look, Saw, SearchActor, Trail
from mmactors.explore.engine.step import Step, Touches
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.engine.view import CpuView, find_in, is_cpu
from mmactors.explore.execution.standing import standing
from mmactors.label import Mode

GENERATION: Final = 1 << 18
"""So many entries are made before those are forgotten that were not used meanwhile."""

_OBSERVED: Final = Step("observed", ())


class Histories:
    """The histories of one search."""

    def __init__(self, engine: SearchEngine) -> None:
        self._engine: Final = engine
        self._objects: dict[str, Keyed] = engine.objects
        self._looks_ahead = False
        """Whose objects are found when they are asked for declares what it found out before."""
        self._has_more = False
        """Names of states are more than the histories."""
        self._nr_named = 0
        """So many objects there were when the world had been built; they are the first."""
        self._loose: Final[dict[str, Keyed | None]] = {}
        """What steps have written without declaring it, in any schedule so far."""
        self._party: Final = engine.party
        self._numbers: Final = Generations[Entry, int](GENERATION)
        self.is_naming = True
        """Somebody asks for the names of states, not only whether actors see what they saw."""
        self._last = 0

    def begin(self) -> None:
        """Take note of the objects that there are now: the world has just been built."""
        self._objects = self._engine.objects
        self._looks_ahead = type(self._objects) is not dict
        self._has_more = self._looks_ahead or bool(self._loose)
        self._nr_named = len(self._objects)
        for name in self._loose:
            self._loose[name] = None

    def key(self) -> Hashable:
        """Return the name of the state."""
        histories = tuple([actor.history for actor in self._party])
        if not self._has_more:
            return histories
        pending = tuple([actor.pending for actor in self._party]) if self._looks_ahead else ()
        return histories, pending, self._loose_values()

    def values(self) -> Hashable:
        """Return what the objects hold that the world began with, or that nobody declared."""
        named = islice(self._objects.values(), self._nr_named)
        return tuple([thing.key() for thing in named]), self._loose_values()

    def _loose_values(self) -> Hashable:
        loose = self._loose
        for name, thing in loose.items():
            if thing is None:
                loose[name] = self.find(name)
        return tuple([None if thing is None else thing.key() for thing in loose.values()])

    def value_of(self, name: str) -> Hashable:
        """Return what an object holds; None also if that cannot be named."""
        thing = self.find(name)
        try:
            return None if thing is None else thing.key()
        except TypeError:
            return None

    def present(self) -> list[int]:
        """Return each actor's history."""
        return [actor.history for actor in self._party]

    def entries(self) -> dict[int, Entry]:
        """Return what each history consists of that is remembered."""
        known = {**self._numbers.older, **self._numbers}
        return {number: entry for entry, number in known.items()}

    def note(self, actor: SearchActor, step: Step) -> bool:
        """Note that `actor` takes `step` now; return whether what it sees can be named."""
        only_look = step.only_look
        seen: Hashable = None
        try:
            if only_look is not None:
                seen = self._objects[only_look].key()
            elif step.looks:
                objects = self._objects
                seen = tuple([objects[name].key() for name in step.looks])
            if self.is_naming:
                entry = (actor.history, step, seen)
                number = self._numbers.get(entry)
                actor.history = self._number(entry) if number is None else number
            else:
                hash(seen)
        except (KeyError, TypeError):
            return self._find_columns(step.looks) and self.note(actor, step)
        if step.may_look:
            before = actor.saw
            if actor.trail is not None:
                actor.trail = self._follow(actor, (step, seen))
            elif before is not None:
                saw: Saw | None = before
                while saw is not None and saw[0] is not step:
                    saw = saw[2]
                if saw is None:
                    actor.saw = (step, seen, before)
                elif saw[1] == seen:
                    actor.trail = self._follow(actor, (step, seen))
                else:
                    actor.saw = (step, seen, None)  # It sees something else than before.
            elif not step.is_local:
                actor.saw = (step, seen, None)
        elif step.runs_out:
            self._run_out(actor, step)
        elif actor.saw is not None:
            actor.acted()
        return True

    def _run_out(self, actor: SearchActor, step: Step) -> None:
        """Note that the time of `actor` is out: is all as it was when it was out before?

        If nobody else took a step, no object changed, and the actor stands where it stood, then all
        that can come now could come then, and was explored from there. So it goes on only when
        something has changed that this step does not.
        """
        actor.acted()
        others = tuple([other.history for other in self._party if other is not actor])
        now = others, self.values(), tuple(self._engine.allowed.items()), standing(actor.coro)
        if now[-1] is not None and actor.ran_out.get(step) == now:
            named = islice(self._objects, self._nr_named)
            rest = Step(
                "look", tuple((name, Mode.READ) for name in named if name not in step.looks)
            )
            seen = [self._objects[name].key() for name in rest.looks]
            actor.trail = Trail(looks=((rest, seen[0] if len(seen) == 1 else tuple(seen)),))
            actor.spins = True
        actor.ran_out = {**actor.ran_out, step: now}

    def _follow(self, actor: SearchActor, look: Look) -> Trail:
        """Return the trail of an actor that looks once more: does it see what it saw?"""
        trail = actor.trail
        if trail is None:
            trail = Trail(looks=tuple(_looks_of(actor))[::-1])
        if look not in trail.looks:
            actor.spins = False
            if any(step is look[0] for step, _ in trail.looks):
                return Trail(looks=(look,))  # It sees something else than before.
            return Trail((*trail.looks, look), trail.mark, trail.stood, trail.nr_rounds)
        if trail.mark is None:
            # What it looked at before it came here the first time is no part of the round.
            since = trail.looks[trail.looks.index(look) :]
            return Trail(since, look, standing(actor.coro), 1)
        return self._come_round(actor, trail) if look == trail.mark else trail

    def _come_round(self, actor: SearchActor, trail: Trail) -> Trail:
        """Note that `actor` looks at its mark once more: does it stand where it stood?

        To find that out takes long, so it is done for the rounds 1 and 2, 2 and 3, 4 and 5, 8 and 9
        and so on: who counts its attempts pays for few of them.
        """
        nr_rounds = trail.nr_rounds
        now = None
        is_compared = nr_rounds & (nr_rounds - 1) == 0
        if is_compared or (nr_rounds + 1) & nr_rounds == 0:
            now = standing(actor.coro)
        actor.spins = is_compared and now is not None and now == trail.stood
        return Trail(trail.looks, trail.mark, now, nr_rounds + 1)

    def _number(self, entry: Entry) -> int:
        """Return the number of an entry that this generation has not seen."""
        number = self._numbers.renew(entry, self._last + 1)
        if number is None:
            number = self._last = self._last + 1
        return number

    def add(self, actor: SearchActor, value: Hashable) -> None:
        """Add what the step that `actor` took last showed besides the values of its objects."""
        entry = (actor.history, _OBSERVED, value)
        number = self._numbers.get(entry)
        actor.history = self._number(entry) if number is None else number

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
                    self._has_more = True
            seen.append((name, thing.key()))
        entry = (actor.history, step, tuple(seen))
        try:
            number = self._numbers.get(entry)
        except TypeError:
            return False
        actor.history = self._number(entry) if number is None else number
        return True

    def sees_nothing_new(self, actor: SearchActor) -> bool:
        """Return whether looking again would show a spinning actor what it saw last."""
        trail = actor.trail
        if trail is None:
            return False
        engine = self._engine
        running, engine.running = engine.running, actor  # Own stores are seen, late as they are.
        shows = all(self._shows(step.looks, seen) for step, seen in trail.looks)
        engine.running = running
        return shows

    def _shows(self, looks: tuple[str, ...], seen: Hashable) -> bool:
        """Return whether a look would show `seen` now."""
        objects = self._objects
        if len(looks) == 1:
            return bool(objects[looks[0]].key() == seen)
        return not looks or tuple([objects[name].key() for name in looks]) == seen

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
        return find_in(objects, name)


def _looks_of(actor: SearchActor) -> Iterator[Look]:
    """Return what an actor has seen of each step that it looked by, the latest first."""
    saw = actor.saw
    while saw is not None:
        step, seen, saw = saw
        yield step, seen


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

    def value_of(self, name: str) -> Hashable:
        """Return what an object holds; None also if that cannot be named."""
        with self._engine.guard.suspended():
            return super().value_of(name)

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
