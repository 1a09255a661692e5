"""What actors share behind the world's back, which the search cannot see.

The search orders steps by what they touch. A list that two actors change between their steps is
touched by none of them: orders that differ in it are taken for equal, and "exhausted" would say too
much. So in the first schedules, and now and then, every mutable thing that two actors reach
(reach.py) is compared before and after each of their steps. One that an actor changes and another
reaches is shared, and the verdict names it.

Not named are: what nobody changes, such as a table of cells; elements or attributes that one actor
alone uses (`got[n] = ...`, with another n each); elements that are only added to a set; what
changes only in steps that write one name which is no object of the world's own (`world.step(...,
writes=("memory",))`, with or without `world.watch`), if all who reach it touch that name in some
step: there the search knows the order.

What it does not see: a change that none of the schedules looked at makes; in which order keys came
into a dict; what libraries do with what they are given.
"""

from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from types import CellType, CodeType, FunctionType
from typing import Any, Final

from attrs import Factory, define

from mmactors.errors import Problem, UserError
from mmactors.explore.conduct.after_steps import is_due, look_after_each_step
from mmactors.explore.conduct.caught import may_catch
from mmactors.explore.conduct.extent import Reached
from mmactors.explore.conduct.reach import Reach
from mmactors.explore.conduct.things import (
    ADDED,
    ALL,
    GlobalVariable,
    changes,
    held_by,
    is_foreign,
    module_of,
)
from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.world import Watched
from mmactors.label import Mode

_MAX_THINGS: Final = 64
_A_FEW: Final = 2
_MANY: Final = 4
_BLOCKING: Final = ("threading", "_thread", "queue", "_queue", "multiprocessing")


@define(eq=False)
class _Shared:
    """A thing that several actors reach, by its name; the same in all schedules."""

    what: str
    reached_by: dict[str, Reached] = Factory(dict)
    handed: set[str] = Factory(set)
    """Of those, functions that others run."""
    changed_by: dict[str, set[Hashable]] = Factory(dict)
    """Who changed which parts."""
    written: set[str] | None = None
    """Names that all steps which changed it write, and that are no objects of the world's own."""

    def is_conflict(self, touched: Mapping[str, set[str]]) -> bool:
        """Return whether the order in which actors use it may matter; who touches which names?"""
        parties = self.parties()
        is_declared = any(
            all(who in self.handed or name in touched.get(who, ()) for who in parties)
            for name in self.written or ()
        )
        return bool(parties) and not is_declared

    def parties(self) -> list[str]:
        """Return who shares it."""
        found: dict[str, None] = {}
        for writer, changed in self.changed_by.items():
            for other, reached in self.reached_by.items():
                if other != writer and self._meets(writer, changed, other, reached):
                    found |= {writer: None, other: None}
        return [name for name in [*self.reached_by, *self.changed_by] if found.pop(name, 0) is None]

    def _meets(self, writer: str, changed: set[Hashable], other: str, reached: Reached) -> bool:
        if other in self.handed:
            # Whoever runs it has changed it; alone, unless others reach the thing or run it, too.
            return writer in self.reached_by or len(self.changed_by) > 1
        if reached.slots is not None:
            return ALL in changed or bool(changed & reached.slots)
        if reached.is_write_only:
            others = self.changed_by.get(other, set())
            return bool(others) and (ALL in changed | others or bool(changed & others - {ADDED}))
        return True


@define(eq=False)
class _Watch:
    """A thing in the present schedule, and what it held after the last step."""

    thing: Any
    shared: _Shared
    before: dict[Hashable, Any]


class Sharing:
    """Looks for them during one search."""

    def __init__(self) -> None:
        self._shared: Final[dict[str, _Shared]] = {}
        self._touched: Final[dict[str, set[str]]] = {}
        """Names that actors touch, and that are no objects of the world's own."""
        self._nr_schedules = 0
        self._watches: list[_Watch] = []
        self.catching: Final[set[CodeType]] = set()
        """Code that could catch an assertion."""
        self.is_needed = True
        """There is something that actors may share."""

    def found(self) -> tuple[str, ...]:
        """Return who shares what, as a person says it."""
        return tuple(
            f"{_listed(shared.parties())} share {shared.what}"
            for shared in self._shared.values()
            if shared.is_conflict(self._touched)
        )

    def begin(self, engine: SearchEngine) -> None:
        """Look at the world that has just been built, before its actors run."""
        self._nr_schedules += 1
        self._watches = []
        if not is_due(self._nr_schedules) and not self._expects_more():
            return
        reaches = _reaches(engine.party)
        self.catching.update(code for reach in reaches for code in reach.codes() if may_catch(code))
        self._find(reaches)
        self.is_needed = bool(self._watches) or self._nr_schedules > 1
        if self._watches:
            look_after_each_step(engine, partial(self._look, engine))

    def _expects_more(self) -> bool:
        """Return whether code that changes something shared was never seen to run."""
        return any(
            not shared.changed_by and any(each.is_stored for each in shared.reached_by.values())
            for shared in self._shared.values()
        )

    def _find(self, reaches: list[Reach]) -> None:
        """Find what several of them reach."""
        rebound = set[Hashable]().union(*(reach.rebound for reach in reaches))
        by_thing: dict[Hashable, list[tuple[Reach, Reached]]] = {}
        for reach in reaches:
            for key, reached in reach.found.items():
                if not isinstance(reached.thing, CellType | GlobalVariable) or key in rebound:
                    by_thing.setdefault(key, []).append((reach, reached))
        for users in by_thing.values():
            if len(users) < _A_FEW or len(self._watches) >= _MAX_THINGS or not _overlap(users):
                continue
            thing, name = users[0][1].thing, users[0][1].name
            shared = self._note(f"{_kind(thing)} `{name}`", users)
            self._watches.append(_Watch(thing, shared, held_by(thing)))
            if module_of(type(thing)).partition(".")[0] in _BLOCKING:
                raise _would_block(users)
            if is_foreign(thing):
                shared.written = set()
                shared.changed_by = {reach.name: {ALL} for reach, _ in users}

    def _note(self, what: str, users: list[tuple[Reach, Reached]]) -> _Shared:
        shared = self._shared.get(what)
        if shared is None:
            shared = self._shared[what] = _Shared(what)
        for reach, reached in users:
            shared.reached_by[reach.name] = reached
            if reach.is_handed:
                shared.handed.add(reach.name)
        return shared

    def _look(self, engine: SearchEngine, actor: SearchActor, step: Step, nr_more: int) -> None:
        """Look at what an actor has touched and changed by its step."""
        touched = self._touched.setdefault(actor.name, set())
        touched |= _named(engine, step, tuple(Mode))
        for watch in self._watches:
            now = held_by(watch.thing)
            changed = changes(watch.before, now)
            if not changed:
                continue
            watch.before = now
            shared = watch.shared
            shared.changed_by.setdefault(actor.name, set()).update(changed)
            if nr_more == 0:
                written = _named(engine, step, (Mode.WRITE,))
                before = shared.written
                shared.written = written if before is None else before & written


def _reaches(
    party: Sequence[SearchActor], varying: AbstractSet[Hashable] = frozenset()
) -> list[Reach]:
    """Return what each actor reaches, and each function that one of them hands on."""
    found = []
    handed: dict[int, FunctionType] = {}
    for actor in party:
        reach = Reach(actor.name, varying=varying)
        reach.follow_coroutine(actor.coro)
        found.append(reach)
        handed |= reach.handed
    for function in handed.values():
        reach = Reach(f"{function.__name__}()", varying=varying, is_handed=True)
        reach.follow_function(function)
        found.append(reach)
    rebound = set[Hashable]().union(*(reach.rebound for reach in found))
    if not rebound <= varying and any(reach.relied & rebound for reach in found):
        return _reaches(party, varying | rebound)
    return found


def _overlap(users: list[tuple[Reach, Reached]]) -> bool:
    """Return whether two of them reach the same part."""
    seen: set[Hashable] = set()
    for _, reached in users:
        if reached.slots is None:
            return True
        if seen & reached.slots:
            return True
        seen |= reached.slots
    return False


def _named(engine: SearchEngine, step: Step, modes: tuple[Mode, ...]) -> set[str]:
    """Return the names a step touches in one of `modes` that are no objects of the world's own."""
    names = {name.partition("[")[0] for name, mode in step.touches if mode in modes}
    own: Mapping[str, object] = engine.objects
    return {name for name in names if isinstance(own.get(name), Watched | None)}


def _kind(thing: object) -> str:
    """Return what kind of thing it is, as a person says it."""
    if isinstance(thing, CellType):
        return "the variable"
    if isinstance(thing, GlobalVariable):
        return "the global"
    if isinstance(thing, type):
        return "the class"
    name = type(thing).__name__
    return f"the {module_of(type(thing))}.{name}" if is_foreign(thing) else f"the {name}"


def _would_block(users: list[tuple[Reach, Reached]]) -> UserError:
    thing, name = users[0][1].thing, users[0][1].name
    who = _listed([reach.name for reach, _ in users])
    return UserError(
        Problem(
            place=users[0][0].place,
            found=f"{who} share {_kind(thing)} `{name}`, which would stop the whole search",
            legal="expected locks and queues of the world: all actors run in one thread",
            advice='use world.lock("name"), world.mailbox("name") and their like',
        )
    )


def _listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence."""
    if len(names) > _MANY:
        names = [*names[: _MANY - 1], f"{len(names) - _MANY + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
