"""Names of files, pids, callbacks of RCU are shared: a search tries both orders of two users.

In scope or not, what came of them was seen only if something else made the order a choice."""

import pytest
from explored import explore, scenario_of

from mmactors.actors.program.interpreter import Interpreter
from mmactors.explore.search.verdict import Outcome
from mmactors.label import DCACHE, FILES, I_COUNT, RCU_CALLBACKS, S_INODES, TASKLIST


def outcomes(program, watched, monkeypatch, *, scope):
    """Explore a program; return the verdict, and what came of some operations in any schedule."""
    seen, results = set(), {}
    perform = Interpreter._perform

    async def watch(self, thread, operation):
        result = results[str(operation)] = await perform(self, thread, operation)
        if str(operation) == "wait":
            seen.add(tuple(results[text] for text in watched))
        return result

    monkeypatch.setattr(Interpreter, "_perform", watch)
    _, verdict = explore(scenario_of(["thread T cpu=1", *program, "wait"], scope=scope))
    return verdict, seen


UNLINKED = ["open f /shm/a create", "race", "T& unlink /shm/a", "open g /shm/a"]
MADE = ["race", "T& open f /shm/a create", "open g /shm/a"]
UNLINKED_TWICE = ["open f /shm/a create", "race", "T& unlink /shm/a", "unlink /shm//a"]
FORKED = ["race", "T& fork c", "fork d"]


@pytest.mark.parametrize(
    ("program", "watched", "scope", "expected"),
    [
        (UNLINKED, ["open g /shm/a"], (), {(0,), (-2,)}),
        (UNLINKED, ["open g /shm/a"], (DCACHE,), {(0,), (-2,)}),
        (MADE, ["open g /shm/a"], (DCACHE, S_INODES, I_COUNT, FILES), {(0,), (-2,)}),
        (UNLINKED_TWICE, ["unlink /shm/a", "unlink /shm//a"], (DCACHE,), {(0, -2), (-2, 0)}),
        (FORKED, ["fork c", "fork d"], (TASKLIST,), {(3, 4), (4, 3)}),
    ],
)
def test_whoever_comes_first_both_are_tried(program, watched, scope, expected, monkeypatch):
    """Without the steps a search was over with one of the outcomes, and called that all."""
    verdict, seen = outcomes(program, watched, monkeypatch, scope=scope)

    assert Outcome.EXHAUSTED is verdict.outcome
    assert expected == seen


def test_callbacks_of_two_cpus_wait_for_one_grace_period_or_for_two():
    """It may have begun when the second CPU calls; which CPU calls first is no difference."""
    program = ["open f /shm/a create", "open g /shm/b create", "race", "T& close f", "close g"]
    scenario = scenario_of(["thread T cpu=1", *program, "wait"], scope=(RCU_CALLBACKS,))
    _, verdict = explore(scenario)

    assert Outcome.EXHAUSTED is verdict.outcome
    assert 1 < verdict.nr_schedules
