"""What objects of the world hold and somebody changes in place, in a step that does not write it.

A cell may hold a list. To read it and append to it is a write that no step declares: two such steps
are taken for looks, which commute, and orders that differ are taken for equal. So in the first
schedules, and now and then, what objects hold that can be changed in place is compared before and
after each step, and the verdict names who changes it.

Nothing is said of a value that its object holds no more: it was handed over (`xchg`, `receive`).
"""

from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any, Final

from mmactors.explore.conduct.after_steps import NR_FIRST, is_due, look_after_each_step
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
        self.is_needed = self._has_met_any or self._nr_schedules < NR_FIRST
        if not is_due(self._nr_schedules):
            return
        self._holders = [thing for thing in engine.objects.values() if isinstance(thing, _HOLDERS)]
        if self._holders:
            self._before = dict(self._contents())
            look_after_each_step(engine, partial(self._look, engine))

    def _contents(self) -> Iterator[tuple[tuple[str, int], Hashable]]:
        """Return the content of each value that can be changed in place, and who holds it."""
        for holder in self._holders:
            for value in holder.held():
                if value.__class__ not in PLAIN and _is_changeable(value):
                    self._has_met_any = True
                    yield (holder.name, id(value)), standing(value)

    def _look(self, engine: SearchEngine, actor: SearchActor, step: Step, nr_more: int) -> None:
        """Look at what an actor has changed by its step."""
        now = dict(self._contents())
        if now != self._before and nr_more == 0:
            self._compare(actor, _written(engine, step), now)
        self._before = now

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
