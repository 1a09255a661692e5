"""A race and its fix: the kernel that does not keep a rule fails, the one that keeps all does not.

An entry of the gallery is one scenario and the names of the rules that the buggy kernel breaks.
Both kernels run the same code, within the same scope. The buggy one must fail, and its shrunk
schedule must fail again whenever it is replayed; the right one must have no schedule that fails.

A budget that the user says binds both kernels, the replays of the buggy one included; without one
the buggy kernel has the entry's schedules, and the right one all that it has.
"""

import os
import time
from collections.abc import Callable
from typing import Final

from attrs import evolve, frozen

from mmactors.explore.execution.broken import Broken
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.script import Script, play_settled
from mmactors.explore.search.budget import Budget
from mmactors.explore.search.options import Options
from mmactors.explore.search.outside_text import of_race, sentence
from mmactors.explore.search.search import search
from mmactors.explore.search.verdict import Outcome, Verdict
from mmactors.races.machine import ExploredMachine
from mmactors.scenario.race_config import RaceConfig
from mmactors.scenario.schema import Scenario

NR_REPLAYS: Final = 100


@frozen(kw_only=True)
class Half:
    """What came of one of the two kernels."""

    verdict: Verdict
    cpu_seconds: float
    """Processor time of the search, set-up and shrinking included."""
    is_cut_short: bool = False
    """The user said a budget, and it did not suffice for all schedules."""
    nr_replays: int = 0
    """How often the shrunk schedule was played again."""


@frozen(kw_only=True)
class PairResult:
    """What came of an entry."""

    race: RaceConfig
    broken: Half | None
    """With the broken rules; None: the entry names none."""
    nr_replayed: int
    """How often the shrunk schedule failed in the same way when it was played again."""
    right: Half
    """With all rules."""

    @property
    def halves(self) -> tuple[Half, ...]:
        """What came of either kernel, the buggy one first."""
        return (self.right,) if self.broken is None else (self.broken, self.right)

    def problems(self) -> list[str]:
        """Return what is not as the entry says; nothing if all is well."""
        found = []
        if self.broken is not None:
            found += broken_problems(self.race, self.broken, self.nr_replayed)
        return found + right_problems(self.race, self.right)


def broken_problems(race: RaceConfig, broken: Half, nr_replayed: int) -> list[str]:
    """Return what of the kernel with broken rules is not as the entry says."""
    failure = broken.verdict.failure
    if failure is None:
        return [f"the broken rules {', '.join(race.broken)} break nothing{_hidden(broken.verdict)}"]
    if race.finds is not None and race.finds not in str(failure.broken):
        return [f"it fails otherwise than by {race.finds!r}: {failure.broken}"]
    if nr_replayed < max(broken.nr_replays, 1):
        return [f"only {nr_replayed} of {broken.nr_replays} replays fail"]
    return []


def _hidden(verdict: Verdict) -> str:
    """Say what of the race may not have been tried, for the scope, and what to write."""
    if not verdict.outside:
        return ""
    return f": {sentence(verdict.outside)}; try {of_race(verdict.wider_scope)}"


def right_problems(race: RaceConfig, right: Half) -> list[str]:
    """Return what of the kernel with all rules is not as the entry says."""
    verdict = right.verdict
    if verdict.outcome is Outcome.FAILED:
        return [f"the right kernel fails: {verdict}"]
    if race.exhausts and not right.is_cut_short and verdict.outcome is not Outcome.EXHAUSTED:
        return [f"the right kernel is not exhausted: {verdict}"]
    return []


def with_rules(scenario: Scenario, *, broken: tuple[str, ...]) -> Scenario:
    """Return the scenario with all rules kept but these."""
    kernel = scenario.kernel
    rules = evolve(kernel.rules, **dict.fromkeys(broken, False))
    return evolve(scenario, kernel=evolve(kernel, rules=rules))


def explore_pair(
    scenario: Scenario, *, name: str, options: Options, budget: Budget | None = None
) -> PairResult:
    """Explore a scenario with its broken rules, if it names any, and with all rules.

    `budget` is what the user said; None: the entry's own.
    """
    race = _race_of(scenario, name)
    broken = None
    nr_replayed = 0
    if race.broken:
        broken, nr_replayed = explore_broken(scenario, name=name, options=options, budget=budget)
    right = explore_right(scenario, name=name, options=options, budget=budget)
    return PairResult(race=race, broken=broken, nr_replayed=nr_replayed, right=right)


def explore_broken(
    scenario: Scenario, *, name: str, options: Options, budget: Budget | None = None
) -> tuple[Half, int]:
    """Explore a scenario with its broken rules; replay what fails. Return also how often it did."""
    race = _race_of(scenario, name)
    machine = ExploredMachine(with_rules(scenario, broken=race.broken))
    if budget is None:
        budget = Budget(schedules=race.budget)
    half = _explore(machine, name, evolve(options, budget=budget))
    failure = half.verdict.failure
    if failure is None:
        return half, 0
    seconds = None if budget.seconds is None else budget.seconds - half.verdict.seconds
    nr_same, nr_replays = replays(
        machine, failure.script, failure.broken, options=options, seconds=seconds
    )
    return evolve(half, nr_replays=nr_replays), nr_same


def explore_right(
    scenario: Scenario, *, name: str, options: Options, budget: Budget | None = None
) -> Half:
    """Explore a scenario with all rules.

    Without a `budget` of the user it goes on to the end, if the entry says that there is one.
    """
    race = _race_of(scenario, name)
    own = Budget(schedules=race.budget) if budget is None else budget
    is_exhaustive = budget is None and race.exhausts
    options = evolve(options, budget=own, is_exhaustive=is_exhaustive, store=None)
    half = _explore(ExploredMachine(scenario), name, options)
    is_cut_short = budget is not None and half.verdict.outcome is not Outcome.EXHAUSTED
    return evolve(half, is_cut_short=is_cut_short)


def _race_of(scenario: Scenario, name: str) -> RaceConfig:
    assert scenario.race is not None, f"{name} has no race"
    return scenario.race


def replays(
    machine: ExploredMachine,
    script: Script,
    broken: Broken,
    *,
    options: Options,
    seconds: float | None = None,
) -> tuple[int, int]:
    """Play a schedule NR_REPLAYS times; return how often it broke the same thing, the same way.

    And how often it was played: if there are only so many seconds, once at least.
    """
    execution = Execution(machine)
    machine.prepare(execution.engine)
    began = options.clock()
    first: Broken | None = None
    nr_same = 0
    nr_played = 0
    while nr_played < NR_REPLAYS:
        nr_played += 1
        play_settled(execution, script, max_steps=options.max_steps)
        found = execution.broken
        if found is not None and found.is_like(broken):
            first = first or found
            nr_same += str(found) == str(first)
        if seconds is not None and options.clock() - began >= seconds:
            break
    execution.close()
    return nr_same, nr_played


def _explore(build: Callable[..., object], name: str, options: Options) -> Half:
    began = _cpu_seconds()
    verdict = search(build, name=name, options=options)
    return Half(verdict=verdict, cpu_seconds=_cpu_seconds() - began)


def _cpu_seconds() -> float:
    """Return the processor time of this process and of those that it waited for."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system
