"""The name of a state decides what follows from it: whoever comes to it once more may go back."""

import random
from pathlib import Path

import pytest

from mmactors.engine import mailbox
from mmactors.explore.execution.choice import INDEX_MASK
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.history import Histories
from mmactors.explore.execution.loud import BecameVisible
from mmactors.races.machine import ExploredMachine
from mmactors.races.pair import with_rules
from mmactors.scenario.load import load_scenario

RACES = Path(__file__).parents[2] / "configs" / "races"
MAX_STEPS = 1000
SWITCHES = 0.3
"""How often another candidate than the first goes on."""


class Walks:
    """Random schedules of one world, and what followed from each state of theirs."""

    def __init__(self, build):
        self.execution = Execution(build, repeats=False)
        self.known = {}
        self.clocks = {}
        """By name of a state: the times that its actors' clocks showed."""

    def run(self, nr_walks):
        rng = random.Random(1)
        done = 0
        while done < nr_walks:
            try:
                self.walk(rng)
                done += 1
            except BecameVisible:
                done = 0
                self.known.clear()
        self.execution.close()

    def walk(self, rng):
        execution = self.execution
        execution.begin()
        while not execution.has_ended() and len(execution.steps) < MAX_STEPS:
            candidates = execution.candidates()
            if not candidates:
                return
            choice = rng.choice(candidates) if rng.random() < SWITCHES else candidates[0]
            if execution.engine.nr_choosing:
                execution.advance(choice)  # Options belong to the step before.
                continue
            key = execution.histories.key()
            times = tuple(actor.clock.now for actor in execution.engine.party)
            self.clocks.setdefault(key, set()).add(times)
            state = key, execution.current
            self.must_follow((state, "candidates"), candidates)
            pending = execution.engine.party[choice & INDEX_MASK].pending
            execution.advance(choice)
            if not execution.engine.nr_choosing:
                broken = None if execution.broken is None else str(execution.broken)
                followed = execution.steps[-1], execution.histories.key(), broken
                self.must_follow((state, choice), (*followed, execution.is_over), pending)

    def must_follow(self, asked, found, where=None):
        assert self.known.setdefault(asked, found) == found, f"equal names, other steps: {where}"


def machine_of(race):
    scenario = load_scenario(next(RACES.glob(f"{race}-*.yaml")), ())
    return ExploredMachine(with_rules(scenario, broken=()))


@pytest.mark.parametrize("race", ["a1", "a13", "a19", "a2", "c13", "c6", "c7"])
def test_what_follows_from_a_state_is_what_its_name_says(race):
    walks = Walks(machine_of(race))
    walks.run(40)
    assert any(len(times) > 1 for times in walks.clocks.values()), "no state has two clocks"


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(RACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_follows_from_the_states_of_every_race_is_what_their_names_say(path):
    Walks(machine_of(path.stem.split("-")[0])).run(400)


def test_messages_that_name_their_times_are_found_out(monkeypatch):
    value_of = mailbox._value_of

    def timed(message):
        return value_of(message), getattr(message.body, "until_ns", None)

    monkeypatch.setattr(mailbox, "_value_of", timed)
    with pytest.raises(AssertionError, match="other steps"):
        Walks(machine_of("a2")).run(150)


def test_names_without_what_actors_looked_ahead_for_are_found_out(monkeypatch):
    monkeypatch.setattr(
        Histories, "key", lambda self: (tuple(self.present()), self._loose_values())
    )
    with pytest.raises(AssertionError, match="other steps"):
        Walks(machine_of("c7")).run(150)
