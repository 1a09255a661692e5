"""Which steps, and what of what they saw, may have to do with what broke.

A step matters if its order to a step of somebody else may matter (they do not commute), if it
touches what a law or the failing check looks at, or if what raised is the code of its own actor.
What is left is the local business of one actor. It is hidden only where reports are short; nothing
is left out of schedules.

A CPU is its own business, except what another one does to it, such as an interrupt that is sent.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType, ModuleType
from typing import Any, Final

from mmactors.explore.engine.step import Touches, overlap
from mmactors.explore.engine.view import is_cpu
from mmactors.explore.execution.broken import Broken, Kind
from mmactors.explore.execution.choice import INDEX_MASK, entry_of
from mmactors.explore.execution.execution import THE_END, Execution
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.execution.script import guide
from mmactors.explore.report.teller import Teller
from mmactors.label import Mode

Touched = tuple[str, Touches]
"""An actor, and what a step of it touches."""

_PACKAGE: Final = "mmactors."
READS_ANYTHING: Final = "reads_anything"
"""The attribute of a law of which nobody knows at what it looks."""
_MAX_STEPS: Final = 300
_NUMBER: Final = re.compile(r"0x[0-9a-f]{3,}")
_MAX_DEPTH: Final = 4
"""How deep laws are searched for the objects that they look at."""


class Relevance:
    """What matters in the schedule that has just been played."""

    def __init__(
        self, execution: Execution, nr_steps: int, teller: Teller, others: Sequence[Touched]
    ) -> None:
        """`others`: what else actors touch, see `touched_otherwise`."""
        self._teller: Final = teller
        self._steps: Final = execution.steps
        self._actors: Final = [
            execution.engine.party[choice & INDEX_MASK] for choice in execution.choices
        ]
        self._nr_steps: Final = nr_steps
        broken = execution.broken
        self._numbers: Final = set(_NUMBER.findall(broken.text if broken is not None else ""))
        self._all: Final = broken is None or broken.kind is Kind.LIVELOCK
        self._raised: Final = _who_raised(broken)
        self._cpus_matter: Final = broken is not None and "interrupts off" in broken.text
        read = _read_by_laws(execution)
        self._is_whole: Final = execution.scope.names is None
        """No step is a part of another one."""
        self._all_read: Final = read is None
        done = [
            (actor.name, step.touches)
            for actor, step in zip(self._actors, self._steps, strict=True)
        ]
        self._shared: Final = _shared([*done, *others], meets=overlap) | (read or set())
        self._own: Final = _shared([*done, *others], meets=str.__eq__) | (read or set())

    def of_step(self, at: int) -> bool:
        """Return whether a step matters, whatever it saw."""
        step = self._steps[at]
        if self._all or at == self._nr_steps - 1 or self._actors[at].name == self._raised:
            return True
        if step.text.startswith("interrupt on "):
            return True
        return any(self._is_shared(name) for name in _objects(step.touches))

    def of_part(self, at: int, name: str, *texts: str, is_look: bool = False) -> bool:
        """Return whether it matters that a step saw, or changed, a part of the object `name`.

        A look at one of many matters if somebody changes that one, not just any of them.
        """
        actor = self._actors[at]
        if is_cpu(name):
            is_others = actor.cpu is not None and actor.cpu.name != name
            if is_look:
                return self._cpus_matter and texts[-1] in ("off", "TLB")
            return self._cpus_matter or is_others
        if is_look and not self.is_news(*texts):
            return False
        if self._all or at == self._nr_steps - 1:
            return True
        if self._all_read or (
            actor.name == self._raised and not (is_look and actor.cpu is not None)
        ):
            return True
        if name in (self._own if is_look else self._shared):
            return True
        touches = self._steps[at].touches
        if self._is_whole and not any(overlap(name, touched) for touched, _ in touches):
            return True  # It changed, and no step says so: nobody knows who has to do with it.
        return any(self._numbers.intersection(_NUMBER.findall(text)) for text in texts)

    def is_news(self, thing: str, text: str) -> bool:
        """Return whether it is worth a line that a step found a part to be this."""
        return self._teller.is_news(thing, text)

    def _is_shared(self, name: str) -> bool:
        if name in self._shared or (self._all_read and not is_cpu(name)):
            return True
        return bool(self._numbers.intersection(_NUMBER.findall(self._teller.called(name))))


def touched_otherwise(execution: Execution, *, max_steps: int) -> list[Touched]:
    """Return what actors touch in schedules without preemptions, each actor's turn coming first.

    A schedule that breaks something ends there: what others would have done next, and did not find
    or did not see, is the point of many a bug.
    """
    known = frozenset(execution.loud.names)
    found: dict[Touched, None] = {}
    try:
        execution.begin()
        firsts = [entry_of(execution.engine, choice) for choice in execution.candidates()]
        for first in firsts:
            guide(execution, (first,), max_steps=min(max_steps, _MAX_STEPS))
            for choice, step in zip(execution.choices, execution.steps, strict=True):
                actor = execution.engine.party[choice & INDEX_MASK]
                found[actor.name, step.touches] = None
    except BecameVisible:
        execution.loud.names.intersection_update(known)  # The schedule to be shown keeps its steps.
    for access in execution.scope.outside:
        found[access.actor, ((access.name, access.mode),)] = None
    return list(found)


def _shared(done: Sequence[Touched], *, meets: Callable[[str, str], bool]) -> set[str]:
    """Return what two actors touch and one of them changes in a way that order shows."""
    by_name: dict[str, dict[str, set[Mode]]] = {}
    for actor, touches in done:
        wanted = _objects(touches)
        for name, mode in touches:
            if name in wanted:
                by_name.setdefault(name, {}).setdefault(actor, set()).add(mode)
    shared = set()
    for name in by_name:
        others = [touched for other, touched in by_name.items() if meets(name, other)]
        actors = set().union(*others)
        kinds = set().union(*[kind for touched in others for kind in touched.values()])
        if len(actors) > 1 and (Mode.WRITE in kinds or len(kinds) > 1):
            shared.add(name)
    return shared


def _objects(touches: Touches) -> list[str]:
    return [name for name, _ in touches if name != THE_END and not is_cpu(name)]


def _who_raised(broken: Broken | None) -> str | None:
    """Return the actor whose own code failed; a check that failed inside it is no such code."""
    if broken is None or broken.kind is not Kind.CRASH:
        return None
    return broken.law.rpartition(": ")[0]


def _read_by_laws(execution: Execution) -> set[str] | None:
    """Return the names of the objects that laws, goals and monitors can reach; None: unknown."""
    world, broken = execution.world, execution.broken
    asked: list[Callable[..., object]] = [*world.always_laws, *world.end_laws]
    asked += [monitor.hot for monitor in world.monitors]
    asked += [holds for holds in world.goals.values() if holds is not None]
    found: set[str] = set()
    objects = {id(thing): name for name, thing in execution.engine.objects.items()}
    for law in asked:
        if getattr(law, READS_ANYTHING, False):
            if broken is not None and broken.law == law.__name__:
                return None
            continue
        owner = getattr(law, "__self__", None)
        if owner is not None and type(owner).__module__.startswith(_PACKAGE):
            continue  # A checker: it says in its text what it looked at.
        try:
            variables = inspect.getclosurevars(getattr(law, "__func__", law))
        except TypeError:
            return None
        values = [owner, *variables.nonlocals.values(), *variables.globals.values()]
        _reach(values, objects, found, _MAX_DEPTH)
    return found


def _reach(values: Iterable[Any], objects: dict[int, str], found: set[str], depth: int) -> None:
    """Add to `found` the objects among `values`, and in what they contain."""
    for value in values:
        name = objects.get(id(value))
        if name is not None:
            found.add(name)
        elif depth and isinstance(value, dict):
            _reach(value.values(), objects, found, depth - 1)
        elif depth and isinstance(value, list | tuple | set | frozenset):
            _reach(value, objects, found, depth - 1)
        elif depth and isinstance(value, FunctionType):
            cells = inspect.getclosurevars(value).nonlocals
            _reach(cells.values(), objects, found, depth - 1)
        elif depth and not isinstance(value, type | ModuleType):
            slots = [name for cls in type(value).__mro__ for name in vars(cls).get("__slots__", ())]
            own = [getattr(value, name, None) for name in slots]
            _reach([*own, *getattr(value, "__dict__", {}).values()], objects, found, depth - 1)
