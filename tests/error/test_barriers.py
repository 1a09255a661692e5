"""Barriers that too few join are found beforehand, and only if that is certain."""

import pytest

import mmactors
from mmactors.errors import UserError

T1 = "thread T1 cpu=0"
T2 = "thread T2 cpu=0"


def scenario_of(*programs, copies=1):
    processes = [
        {"name": f"p{number}", "program": list(program), "copies": copies}
        for number, program in enumerate(programs)
    ]
    return {"engine": {"driver": "inline"}, "processes": processes}


LONELY = {
    "alone": ([["barrier b 2"]], ["barrier b is for 2 threads, and only 1 thread comes to it"]),
    "twice by one": ([["barrier b 2", "barrier b 2"]], ["only 1 thread comes"]),
    "two of three": (
        [["barrier b 3"], ["barrier b 3", "nop"]],
        ["processes[0].program[0]: barrier b is for 3 threads, and only 2", "processes[1].prog"],
    ),
    "a thread that is waited for": ([[T1, "T1: barrier b 2"]], ["program[1]: barrier b is for 2"]),
    "a thread that is waited for later": ([[T1, "T1& barrier b 2", "wait"]], ["only 1 thread"]),
    "the next operation waits": ([[T1, "T1& barrier b 2", "T1: nop"]], ["only 1 thread"]),
    "behind the end": ([["barrier b 2"], ["exit", "barrier b 2"]], ["only 1 thread comes"]),
    "one too many": (
        [["barrier b 2"], ["barrier b 2"], ["barrier b 2"]],
        ["barrier b is for 2 threads, and 3 times one comes to it: the last 1 wait for ever"],
    ),
    "two numbers": (
        [["barrier b 2"], ["barrier b 3"]],
        ["processes[1].program[0]: barrier b is for 3, and in another program for 2"],
    ),
}
MET = {
    "two processes": [["barrier b 2"], ["barrier b 2"]],
    "twice": [["barrier b 2", "barrier b 2"], ["barrier b 2", "barrier b 2"]],
    "threads": [[T1, T2, "T1& barrier b 3", "T2& barrier b 3", "barrier b 3", "wait"]],
    "a child": [["fork C", "C& barrier b 2", "barrier b 2", "wait"]],
    "nobody waits": [[T1, "T1& barrier b 2", "compute 1us"]],
    "killed": [["fork C", "C& barrier b 2", "compute 1ms", "kill C"]],
    "killed, then waited": [["fork C", "C& barrier b 2", "compute 1ms", "kill C", "wait"]],
    "exits first": [[T1, "T1& barrier b 2", "exit", "wait"]],
    "another name": [["barrier b 1", "barrier c 2"], ["barrier c 2"]],
}


@pytest.mark.parametrize("name", LONELY)
def test_a_barrier_that_too_few_join_is_refused(name):
    """At the operation of who would wait for ever."""
    programs, expected = LONELY[name]

    with pytest.raises(UserError) as caught:
        mmactors.load(scenario_of(*programs))

    found = [problem.found for problem in caught.value.problems]
    assert len(expected) == len(found)
    assert all(part in text for part, text in zip(expected, found, strict=True))


@pytest.mark.parametrize("name", MET)
def test_a_barrier_that_is_met_or_left_is_no_problem(name):
    """It runs to its end, too."""
    result = mmactors.run(scenario_of(*MET[name]))

    assert ("ok", None) == (result.verdict, result.failure)


def test_copies_come_each():
    """Four copies are four threads."""
    assert "ok" == mmactors.run(scenario_of(["barrier b 4"], copies=4)).verdict
    with pytest.raises(UserError, match="only 3 threads come to it"):
        mmactors.load(scenario_of(["barrier b 4"], copies=3))
