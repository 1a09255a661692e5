"""What a search says: progress, JSON, reports, and which program a schedule is of."""

import json

import pytest
from toys import fixed, lost_update, stale_tlb

from mmactors.engine.schedule import ScheduleMismatch
from mmactors.explore import Options, replay, search


def test_a_search_says_how_far_it_is():
    """Schedules, seconds, and the strategy; not for each schedule."""
    told = []

    verdict = search(fixed(stale_tlb), options=Options(on_progress=told.append))

    assert told
    assert 0 < told[-1].nr_schedules <= verdict.nr_schedules
    assert told[-1].strategy in verdict.nr_by_strategy
    assert len(told) < verdict.nr_schedules


def test_a_verdict_is_json():
    """All of it, the failure with its schedule included."""
    verdict = search(lost_update)
    found = json.loads(json.dumps(verdict.as_json()))

    assert "failed" == found["outcome"]
    assert "both_are_counted" == found["failure"]["law"]
    assert [list(entry) for entry in verdict.failure.script] == found["failure"]["schedule"]
    assert verdict.failure.replay == found["failure"]["replay"]
    assert str(verdict) == found["text"]
    assert search(fixed(lost_update)).as_json()["failure"] is None


class Scenario:
    """Builds a world that its text describes."""

    def __init__(self, text):
        self.text = text

    def program(self):
        return self.text

    def __call__(self, world):
        lost_update(world)


def test_what_is_no_function_says_what_it_builds():
    """A schedule of one scenario is refused by another, though their code is the same."""
    failure = search(Scenario("rules: all but one"), name="scenario").failure

    assert replay(Scenario("rules: all but one"), failure.replay).failure is not None
    with pytest.raises(ScheduleMismatch, match="the rules or the version of mmactors"):
        replay(Scenario("rules: all"), failure.replay)


def test_a_schedule_of_another_version_is_refused(monkeypatch):
    """The package is a part of the program."""
    from mmactors.explore.execution import script

    failure = search(lost_update).failure
    monkeypatch.setattr(script, "_version", lambda: "another")

    with pytest.raises(ScheduleMismatch):
        replay(lost_update, failure.replay)


def test_choices_by_which_nothing_happens_are_no_rows():
    """They stand in the schedule, which replays, and not in the table."""

    def build(world):
        async def allocates():
            assert not (await world.may("a") and not await world.may("b") and await world.may("c"))

        world.actor("cpu0", allocates)

    failure = search(build).failure

    assert (("cpu0", "a: yes"), ("cpu0", "b: no"), ("cpu0", "c: yes")) == failure.script
    assert "b: no" not in failure.report
    assert "a: yes" in failure.report
