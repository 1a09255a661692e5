"""Laws, goals and monitors of one world, which look at its state between two steps."""

from collections.abc import Callable
from typing import Final, TypeVar

from mmactors.engine.guard import Guard
from mmactors.engine.report import LawBroken
from mmactors.errors import UserError
from mmactors.explore.execution.broken import (
    Broken,
    broken_law,
    found_by_checker,
    law_raised,
    too_hot,
)
from mmactors.explore.world.question import must_say, name_of
from mmactors.explore.world.world import Law, World

T = TypeVar("T")


class Watch:
    """Asks them, and says what they find broken."""

    def __init__(self, world: World, guard: Guard | None, *, is_first: bool = False) -> None:
        self._world: Final = world
        self._guard: Final = guard
        self._is_first: Final = is_first
        """It is the first schedule: what a law raises is no race."""
        self.is_eager: Final = bool(world.always_laws or world.goals)
        """Somebody looks after each step, not only at the end."""

    def look(self, *, is_over: bool) -> Broken | None:
        """Let all look at the state; return what is broken first."""
        world = self._world
        broken = None
        if self.is_eager:
            broken = self._check(world.always_laws)
            for name, holds in world.goals.items():
                if holds is not None and name not in world.met and self._holds(name, holds):
                    world.met.add(name)
        if is_over and broken is None:
            broken = self._check(world.end_laws)
            if world.monitors and broken is None:
                hot = [each.name for each in world.monitors if self._holds(each.name, each.hot)]
                return too_hot(hot[0], 0, is_end=True) if hot else None
        return broken

    def take_temperatures(self) -> Broken | None:
        """Let monitors look: everybody has turns now."""
        for monitor in self._world.monitors:
            is_hot = self._holds(monitor.name, monitor.hot)
            monitor.temperature = monitor.temperature + 1 if is_hot else 0
            if monitor.temperature > monitor.limit:
                return too_hot(monitor.name, monitor.temperature, is_end=False)
        return None

    def _ask(self, question: Callable[[], T]) -> T:
        if self._guard is None:
            return question()
        with self._guard.suspended():
            return question()

    def _holds(self, name: str, question: Callable[[], object]) -> bool:
        """Return whether the answer to a question is yes."""
        answer = self._ask(question)
        if answer is not True and answer is not False:
            must_say(name, question, answer)
        return bool(answer)

    def _check(self, laws: list[Law]) -> Broken | None:
        """Return the first law that does not hold: one that asserts, or answers with no."""
        for law in laws:
            try:
                holds = law() if self._guard is None else self._ask(law)
                if holds is None or holds is True:
                    continue
                must_say("the law", law, holds)
                if not holds:
                    return broken_law(name_of(law), holds)
            except LawBroken as found:
                return found_by_checker(found)
            except AssertionError as found:
                return law_raised(name_of(law), found)
            except UserError:
                raise
            except Exception as found:
                if self._is_first:
                    raise
                return law_raised(name_of(law), found)
        return None
