"""What objects of the world hold and somebody changes in place, in a step that does not write it.

A cell may hold a list. To read it and append to it is a write that no step declares: two such steps
are taken for looks, which commute, and orders that differ are taken for equal. So in the first
schedules, and now and then, what objects hold that can be changed in place is compared before and
after each step, and the verdict names who changes it.

Nothing is said of a value that its object holds no more: it was handed over (`xchg`, `receive`).
"""

from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final

from mmactors.explore.engine.exact import PLAIN, Unnameable, exact
from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.store_buffer import StoreBuffer
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.execution.standing import standing
from mmactors.explore.world.atomic import SharedAtomic
from mmactors.explore.world.cell import SharedCell
from mmactors.explore.world.mailbox import SharedMailbox
from mmactors.label import Mode

_NR_FIRST: Final = 100
"""So many schedules are looked at from the beginning."""
_EVERY: Final = 100
_HOLDERS: Final = (SharedCell, SharedAtomic, SharedMailbox, StoreBuffer)


class HeldValues:
    """Looks at them during one search."""

    def __init__(self) -> None:
        self.is_needed = True
        """Some object may hold what can be changed in place."""
        self._holders: list[Any] = []
        self._before: dict[tuple[str, int], Hashable] = {}
        self._has_met_any = False
        self._nr_schedules = 0
        self._found: Final[dict[str, None]] = {}

    def found(self) -> tuple[str, ...]:
        """Return who changes what, as a person says it."""
        return tuple(self._found)

    def begin(self, engine: SearchEngine) -> None:
        """Look at the world that has just been built, before its actors run."""
        self._nr_schedules += 1
        self.is_needed = self._has_met_any or self._nr_schedules < _NR_FIRST
        if self._nr_schedules > _NR_FIRST and self._nr_schedules % _EVERY != 1:
            return
        self._holders = [thing for thing in engine.objects.values() if isinstance(thing, _HOLDERS)]
        if self._holders:
            self._before = dict(self._contents())
            for actor in engine.party:
                actor.send = self._watched(engine, actor)

    def _contents(self) -> Iterator[tuple[tuple[str, int], Hashable]]:
        """Return the content of each value that can be changed in place, and who holds it."""
        for holder in self._holders:
            for value in holder.held():
                if value.__class__ not in PLAIN and _is_changeable(value):
                    self._has_met_any = True
                    yield (holder.name, id(value)), standing(value)

    def _watched(self, engine: SearchEngine, actor: SearchActor) -> Callable[[None], Any]:
        """Return what lets the actor run, and looks then at what it has changed."""
        send = actor.send

        def run(value: None) -> Any:
            step = actor.pending
            is_several = engine.ahead > 0  # Of which step a change is cannot be told then.
            if actor.branch is not None:
                step = dict(actor.branch()).get(engine.chosen, step)
            try:
                return send(value)
            finally:
                now = dict(self._contents())
                if now != self._before and not is_several:
                    self._compare(actor, _written(engine, step), now)
                self._before = now

        return run

    def _compare(
        self, actor: SearchActor, written: set[str], now: dict[tuple[str, int], Hashable]
    ) -> None:
        for key, content in now.items():
            name, _ = key
            if name not in written and self._before.get(key, content) != content:
                self._found[f"{actor.name} changes in place what {name} holds"] = None


def _is_changeable(value: object) -> bool:
    try:
        exact(value)
    except Unnameable:
        return True
    return False


def _written(engine: SearchEngine, step: Step) -> set[str]:
    """Return what the step wrote that was taken just now."""
    return {name for name, mode in (*step.touches, *engine.extra) if mode is not Mode.READ}
