"""Depth-first search over all choices: the one strategy that can prove something.

Each schedule repeats the choices of the last one up to a node, makes another choice there, and
then always takes the first. With `bound`, a schedule may leave an actor that could go on at most so
often (iterative context bounding: Musuvathi and Qadeer, PLDI 2007). Without a bound, sleep sets
(Godefroid 1996) leave out orders of independent steps: once a choice has been explored at a node,
it sleeps below the node's other choices until a step that depends on it was taken. Sleep sets and a
bound do not go together: the order that is left may need more preemptions than the one that is not.

A state that was seen before is not explored again, provided that what was explored from it covers
what would be now: it had at least as many preemptions left, or at most the choices asleep.

Sleeping choices remember the step that they took when they were explored, with all it touched, so
that labels never have to be guessed in advance.
"""

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Final

from attrs import frozen

from mmactors.explore.engine.step import Step
from mmactors.explore.execution.again import course_of, take_again, take_plain_again
from mmactors.explore.execution.alone import finish_alone, is_alone
from mmactors.explore.execution.choice import INDEX_MASK
from mmactors.explore.execution.course import Course, Memory
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.known import Arrival, State
from mmactors.explore.execution.nondeterminism import Nondeterminism
from mmactors.explore.strategy.explored import GENERATION, ExploredStates
from mmactors.explore.strategy.strategy import goes_on

Sleep = Mapping[int, Step]
_NOBODY: Final[Sleep] = MappingProxyType({})
_NONE: Final[frozenset[int]] = frozenset()


class _Unknown(Step):
    """A step of which nobody knows what it does."""

    __slots__ = ()

    def depends_on(self, _other: Step) -> bool:
        """Return that the order of the two steps may matter."""
        return True


_UNKNOWN: Final = _Unknown("unknown", ())
_ALL_BITS: Final = -1
_OPTION: Final = _Unknown("option", ())
"""The unit of a node whose choices are options of an actor: they belong to the step before."""


@frozen(kw_only=True)
class Part:
    """The branches at a depth of the tree that are number `index` modulo `of`; -1: none."""

    index: int
    of: int
    depth: int


class _Node:
    """A state on the way of the present schedule."""

    __slots__ = (
        "choice", "first", "left", "mask", "memory", "sleep", "state", "step", "todo", "unit"
    )  # fmt: skip

    def __init__(
        self, todo: list[int], sleep: Sleep, left: int, first: int, mask: int = INDEX_MASK
    ) -> None:
        self.choice: int = todo.pop(0)
        self.todo: Final = todo
        """Choices that have not been made here."""
        self.sleep: Sleep = sleep
        """Choices that need not be made here, and what they did elsewhere."""
        self.left: Final = left
        """How many preemptions are left."""
        self.first: Final = first
        """The choice that is no preemption, in the bits of `mask`; -1: none is."""
        self.mask: Final = mask
        self.step: Step | None = None
        """What the choice did."""
        self.memory: Memory | None = None
        """How to do it again; None: as if it were new."""
        self.state: State | None = None
        """Its name, if it is known by it where choices lead."""
        self.unit: Step | None = None
        """What the choice did together with the options that followed; None: none did."""


class DepthFirst:
    """All schedules, or all with at most `bound` preemptions."""

    def __init__(
        self,
        *,
        bound: int | None = None,
        has_sleep_sets: bool = True,
        has_states: bool = True,
        part: Part | None = None,
    ) -> None:
        self.bound: Final = bound
        plural = "" if bound == 1 else "s"
        self.name: Final = "all schedules" if bound is None else f"up to {bound} preemption{plural}"
        self.is_done = False
        self.nr_schedules = 0
        self.was_bounded = False
        """The bound kept the search from a choice."""
        self.was_elsewhere = False
        """The last schedule led into a branch that is not of this part."""
        self.nr_branches = 0
        """Branches at the depth of the cut, so far."""
        self.max_steps = 1000
        self._part: Final = part
        self._has_sleep_sets: Final = has_sleep_sets and bound is None
        self._has_states: Final = has_states
        self._nodes: Final[list[_Node]] = []
        self._explored: Final = ExploredStates(GENERATION)

    def run(self, execution: Execution) -> None:
        """Run the next schedule."""
        nodes = self._nodes
        self.nr_schedules += 1
        self.was_elsewhere = False
        if nodes and nodes[-1].state is not None and self._is_known(execution):
            self._back_up()
            return
        execution.names_states = True
        execution.begin()
        sleep = _NOBODY
        left = 0 if self.bound is None else self.bound
        if nodes:
            self._repeat(execution)
            last = nodes[-1]
            sleep = self._sleep_below(last)
            left = last.left - self._cost(last)
        engine = execution.engine
        party = engine.party
        look_at = min(execution.look_every, self.max_steps)
        is_fork = True
        while not execution.is_over and execution.broken is None:
            candidates = execution.candidates()
            if not candidates or len(execution.steps) >= look_at:
                if not goes_on(execution, candidates, max_steps=self.max_steps):
                    break
                look_at = min(look_at + execution.look_every, self.max_steps)
            is_option = engine.nr_choosing > 0
            state = self._arrive(execution, candidates) if execution.uses_known else None
            if self._part is not None and self._is_elsewhere():
                if is_option:
                    self._join(execution, _UNKNOWN)
                break
            was_fork, is_fork = is_fork, len(candidates) > 1
            # What only one can go on from need not be known: what it leads to will be. Nor what
            # options are there: what they do is a part of the step before, each time anew.
            is_told = (was_fork or is_fork) and not is_option
            if is_told and self._was_seen(execution, state, sleep, left):
                break
            if (
                not is_fork
                and not sleep
                and self._finish_alone(execution, candidates[0], left, look_at)
            ):
                continue
            if self.bound is not None:
                if is_option:
                    first = candidates[0] if engine.is_preempting else -1
                    node = self._bounded(candidates, left, first, _ALL_BITS)
                else:
                    node = self._bounded(candidates, left, execution.current)
            elif sleep:
                awake = [choice for choice in candidates if choice not in sleep]
                if not awake:
                    break
                node = _Node(awake, sleep, 0, -1)
            else:
                node = _Node(candidates, sleep, 0, -1)
            node.state = state
            nodes.append(node)
            actor = party[node.choice & INDEX_MASK]
            pending = actor.pending
            execution.advance(node.choice)
            node.step = execution.steps[-1]
            if is_option:
                node.unit = _OPTION
                self._join(execution, node.step)
            if execution.was_plain:
                node.memory = pending, actor.history, actor.saw, actor.trail, actor.spins
            else:
                node.memory = course_of(execution)
            if sleep:
                sleep = self._sleep_below(node)
            if self.bound is not None:
                left = node.left - self._cost(node)
        if execution.uses_known and execution.is_over and execution.broken is None:
            self._arrive(execution, [])
        if self._part is not None and len(nodes) < self._part.depth:
            self.was_elsewhere = self._part.index != 0  # It ended before the cut.
        self._back_up()

    def _finish_alone(self, execution: Execution, choice: int, left: int, max_steps: int) -> bool:
        """Let the last actor go on, if it is the last; return whether it took a step.

        Only if that is not the end of the schedule its steps become nodes.
        """
        if not is_alone(execution, choice):
            return False
        steps = execution.steps
        nr_before = len(steps)
        finish_alone(execution, choice, max_steps)
        if not execution.has_ended():
            for step in steps[nr_before:]:
                node = _Node([choice], _NOBODY, left, choice)
                node.step = step
                self._nodes.append(node)
        return len(steps) > nr_before

    def _join(self, execution: Execution, option: Step) -> None:
        """Let the step before an option, when it sleeps, be one that touches what the option did.

        Nobody has a turn between the two, so that what depends on one depends on both.
        """
        head = next((node for node in reversed(self._nodes) if node.unit is not _OPTION), None)
        if head is not None and head.unit is not _UNKNOWN:
            step = head.unit or head.step
            assert step is not None, "an option was taken before the step that led to it"
            is_known = option is not _UNKNOWN
            head.unit = execution.engine.steps.also(step, option.touches) if is_known else option

    def _is_elsewhere(self) -> bool:
        """Return whether the present state is above the cut, or in another part's branch."""
        part = self._part
        assert part is not None, "nothing is cut"
        if len(self._nodes) == part.depth:
            self.was_elsewhere = self.nr_branches % part.of != part.index
            self.nr_branches += 1
        return self.was_elsewhere

    def _repeat(self, execution: Execution) -> None:
        """Make the choices of all nodes; the last one is new."""
        nodes = self._nodes
        steps = execution.steps
        at = 0
        while at < len(nodes):
            at = take_plain_again(execution, nodes, at)
            if execution.broken is not None:
                raise Nondeterminism.at(execution, at - 1, steps[-1])
            node = nodes[at]
            at += 1
            step = node.step
            if step is None:
                actor = execution.engine.party[node.choice & INDEX_MASK]
                pending = actor.pending
                execution.advance(node.choice)
                node.step = steps[-1]
                if node.unit is _OPTION:
                    self._join(execution, node.step)
                if execution.was_plain:
                    node.memory = pending, actor.history, actor.saw, actor.trail, actor.spins
                else:
                    node.memory = course_of(execution)
            elif not isinstance(node.memory, Course) or not take_again(
                execution, node.choice, step, node.memory
            ):
                execution.advance(node.choice)
            if step is not None and (steps[-1] is not step or execution.broken is not None):
                raise Nondeterminism.at(execution, len(steps) - 1, step)

    def _is_known(self, execution: Execution) -> bool:
        """Make choices as long as it is known where they lead; return whether all are made then.

        If not, the last node's is new.
        """
        nodes = self._nodes
        node = nodes[-1]
        was_fork = True
        while node.state is not None and execution.is_keyed and len(nodes) < self.max_steps:
            arrival = execution.known.find(node.state, node.choice)
            if arrival is None:
                return False
            node.step, node.memory = arrival.step, arrival.memory
            if arrival.state is None:
                return True
            key, current = arrival.state
            candidates = list(arrival.candidates)
            sleep = self._sleep_below(node)
            left = node.left - self._cost(node)
            is_fork = len(candidates) > 1
            if (was_fork or is_fork) and self._is_explored(key, current, sleep, left):
                return True
            was_fork = is_fork
            if self.bound is not None:
                node = self._bounded(candidates, left, current)
            else:
                awake = [choice for choice in candidates if choice not in sleep]
                if not awake:
                    return True
                node = _Node(awake, sleep, 0, -1)
            node.state = arrival.state
            nodes.append(node)
        return False

    def _arrive(self, execution: Execution, candidates: list[int]) -> State | None:
        """Take down where the last choice led; return the name of the present state."""
        is_named = self._has_states and execution.is_keyed
        if not is_named or self._part is not None:
            return None
        state = None
        is_option = execution.engine.nr_choosing > 0
        if candidates and not is_option:
            state = execution.histories.key(), execution.current
        if self._nodes and (state is not None or not candidates):
            last = self._nodes[-1]
            if last.state is not None and last.step is not None:
                arrival = Arrival(last.step, last.memory, state, tuple(candidates))
                execution.known.note(last.state, last.choice, arrival)
        return state

    def _bounded(
        self, candidates: list[int], left: int, current: int, mask: int = INDEX_MASK
    ) -> _Node:
        """Return the node of a state, with the choices that the bound leaves.

        `current` is who ran last, or the option by which it goes on, in the bits of `mask`; -1:
        nobody is left who could have gone on.
        """
        first = candidates[0] & mask
        is_own = first == current
        if is_own and left == 0 and len(candidates) > 1:
            free = [choice for choice in candidates if choice & mask == current]
            self.was_bounded |= len(free) < len(candidates)
            candidates = free
        return _Node(candidates, _NOBODY, left, first if is_own else -1, mask)

    def _was_seen(self, execution: Execution, state: State | None, sleep: Sleep, left: int) -> bool:
        """Return whether what is left to explore from here was explored before.

        `state`: the name of where the execution stands, if it was asked for already.
        """
        part = self._part
        if not self._has_states or not execution.is_keyed:
            return False
        if part is not None and len(self._nodes) < part.depth:
            return False  # All parts have to see the same branches.
        try:
            key = execution.histories.key() if state is None else state[0]
            return self._is_explored(key, execution.current, sleep, left)
        except TypeError:
            execution.is_keyed = False  # Some object has a state without a hash.
            return False

    def _is_explored(self, key: Hashable, current: int, sleep: Sleep, left: int) -> bool:
        """Return whether a state was explored with as much left to do; from now on it is."""
        if self.bound is None:
            return self._explored.covers_asleep(key, frozenset(sleep) if sleep else _NONE)
        return self._explored.covers_left((key, current), left)

    def _cost(self, node: _Node) -> int:
        return int(node.first >= 0 and node.choice & node.mask != node.first)

    def _sleep_below(self, node: _Node) -> Sleep:
        """Return who sleeps after the node's choice was made."""
        step = node.step
        if not node.sleep or step is None or not self._has_sleep_sets:
            return _NOBODY
        index = node.choice & INDEX_MASK
        return {
            choice: other
            for choice, other in node.sleep.items()
            if choice & INDEX_MASK != index and not other.depends_on(step)
        }

    def _back_up(self) -> None:
        """Go back to the last node with a choice that was not made, and make it."""
        nodes = self._nodes
        while nodes:
            node = nodes[-1]
            if node.todo:
                if self._has_sleep_sets:
                    assert node.step is not None, "a node's choice was never made"
                    node.sleep = {**node.sleep, node.choice: node.unit or node.step}
                node.choice = node.todo.pop(0)
                node.step = None
                if node.unit is not _OPTION:
                    node.unit = None
                node.memory = None
                return
            nodes.pop()
        self.is_done = True
