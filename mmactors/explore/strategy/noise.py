"""Noise: steps that no step of anybody else depends on, as far as all schedules so far have shown.

Where a noisy step comes among the steps of others makes no difference, so samplers take it at once
and spend their chances on the steps that matter: twenty private steps on each side of a race leave
it as likely to be found as none. What an object is touched by later counts from then on: a step
that turns out to be shared is drawn like any other in the next schedule.

No schedule is hidden for good. A step is noise only after it was taken once, so that all it touches
is known. Moving it forward changes nothing for others until one of them touches the same; so that
one is reached as well, and then known. But laws that look after each step see states between noisy
steps, and what actors share behind the world's back is in no label: therefore every so many
schedules nothing is noise, every second one if there are such laws.
"""

from typing import Final

from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.untimed import MAX_ACTORS
from mmactors.explore.execution.choice import INDEX_MASK
from mmactors.explore.execution.execution import Execution

_PLAIN_EVERY: Final = 8
"""Every so many schedules nothing is noise."""
_PLAIN_EVERY_WATCHED: Final = 2
"""The same, if somebody looks at the state after each step."""
_NR_ALL: Final = 64
"""The first schedules, of all of which it learns, even if there is no noise."""
_MAX_IN_A_ROW: Final = 100
"""After so many noisy steps others have a chance: somebody may make noise for ever."""

Key = tuple[str, str]
"""An actor, and the text of what it does."""


class Noise:
    """Learns from schedules which steps are noise."""

    def __init__(self) -> None:
        self.is_off = False
        """Nothing is noise in the present schedule."""
        self.is_learning = True
        """Something is to be learnt from it."""
        self._nr_schedules = 0
        self._nr_in_a_row = 0
        self._seen: Final[dict[tuple[str, ...], set[tuple[int, Step]]]] = {}
        """By the names of all actors: the choices that were made, and what came of them."""
        self._steps: Final[dict[str, dict[Step, None]]] = {}
        """What each actor has done so far, with all that it touched."""
        self._forms: Final[dict[Key, list[Step]]] = {}
        """The same by text."""
        self._noise: Final[set[Key]] = set()
        self._answers: Final[dict[tuple[str, Step], bool]] = {}
        """Whether an actor makes noise by a step, as far as that was asked since it was learnt."""
        self.is_quiet = False
        """Nobody who can go on makes noise, but perhaps who has taken a step since."""
        self.texts: frozenset[str] = frozenset()
        """Those of noise, whoever makes it."""
        self._cast: tuple[str, ...] = ()
        """The names of the actors with which each schedule begins."""
        self._matters: Final[set[Key]] = set()
        """What somebody else's steps depend on, and so never becomes noise."""

    def begin(self, execution: Execution) -> bool:
        """Note that a schedule has begun; return whether there may be noise in it."""
        world = execution.world
        is_watched = bool(world.always_laws or world.goals)
        every = _PLAIN_EVERY_WATCHED if is_watched else _PLAIN_EVERY
        self.is_off = self._nr_schedules % every == 0
        self._nr_schedules += 1
        self._nr_in_a_row = 0
        self.is_quiet = False
        # As long as nothing is noise nothing is hidden: there is time to learn.
        has_time = not self._noise and self._nr_schedules > _NR_ALL
        self.is_learning = self.is_off or not has_time
        return not self.is_off and bool(self._noise)

    def choose(self, execution: Execution, candidates: list[int]) -> int | None:
        """Return the choice of a noisy step, if somebody is about to take one."""
        texts = self.texts
        party = execution.engine.party
        self.is_quiet = False
        if self._nr_in_a_row < _MAX_IN_A_ROW:
            for choice in candidates:
                actor = party[choice & INDEX_MASK]
                if (
                    actor.pending.text in texts
                    and self._is_noise(actor)
                    and _is_plain(actor, choice, candidates)
                ):
                    self._nr_in_a_row += 1
                    return choice
            self.is_quiet = True
        self._nr_in_a_row = 0
        return None

    def end(self, execution: Execution) -> None:
        """Learn from the schedule that has ended."""
        party = execution.engine.party
        names = self._cast
        if not names or len(party) != execution.nr_cast:
            names = tuple([actor.name for actor in party])
            self._cast = names[: execution.nr_cast]
        seen = self._seen.get(names)
        if seen is None:
            seen = self._seen[names] = set()
        if seen.issuperset(zip(execution.choices, execution.steps, strict=True)):
            return
        done = set(zip(execution.choices, execution.steps, strict=True))
        for choice, step in done - seen:  # In which order makes no difference.
            self._learn(names[choice & INDEX_MASK], step)
        seen |= done
        self._answers.clear()
        self.texts = frozenset(text for _, text in self._noise)

    def _is_noise(self, actor: SearchActor) -> bool:
        """Return whether the actor makes noise, and touches what it touched before."""
        pending = actor.pending
        answer = self._answers.get((actor.name, pending))
        if answer is None:
            key = (actor.name, pending.text)
            answer = key in self._noise and any(
                pending is form or set(pending.touches) <= set(form.touches)
                for form in self._forms[key]
            )
            self._answers[actor.name, pending] = answer
        return answer

    def _learn(self, name: str, step: Step) -> None:
        steps = self._steps.setdefault(name, {})
        if step in steps:
            return
        steps[step] = None
        key = (name, step.text)
        forms = self._forms.setdefault(key, [])
        forms.append(step)
        depending = [
            other
            for other in self._noise
            if other[0] != name and any(form.depends_on(step) for form in self._forms[other])
        ]
        self._noise.difference_update(depending)
        self._matters.update(depending)
        if key in self._matters:
            return
        if any(
            step.depends_on(theirs)
            for other, steps in self._steps.items()
            if other != name
            for theirs in steps
        ):
            self._matters.add(key)
            self._noise.discard(key)
        else:
            self._noise.add(key)


def _is_plain(actor: SearchActor, choice: int, candidates: list[int]) -> bool:
    """Return whether the actor can only take its step in the ordinary way."""
    return (
        choice < MAX_ACTORS
        and actor.branch is None
        and (actor.cpu is None or not any(_is_other(choice, other) for other in candidates))
    )


def _is_other(choice: int, other: int) -> bool:
    return choice != other and choice & INDEX_MASK == other & INDEX_MASK
