"""What late stores let happen is what x86 processors do: litmus tests with published verdicts."""

from pathlib import Path

import pytest
from brute_force import explored, litmus
from brute_force.machine import Machine

from mmactors.explore.strategy.dfs import DepthFirst

TESTS = litmus.parse(Path(__file__).with_name("x86_tso.litmus").read_text(encoding="utf-8"))
NR_CLASSICAL = 31


def ends(test, *, is_late):
    """Return all ways to end, as the search finds them."""
    return explored.finals(test.program(is_late=is_late), lambda: [DepthFirst()])


def verdict(test, find):
    """Return the verdict on a test, by what `find` finds."""
    if any(map(test.holds, find(test, is_late=False))):
        return "allowed"
    return "relaxed" if any(map(test.holds, find(test, is_late=True))) else "forbidden"


def test_there_are_the_classical_tests_each_once():
    """By name; both verdicts are among them, so that no constant answer passes."""
    names = {test.name for test in TESTS}

    assert len(TESTS) == len(names) > NR_CLASSICAL
    assert set(litmus.VERDICTS) == {test.verdict for test in TESTS}


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_the_search_says_of_a_litmus_test_what_was_published(test):
    """With late stores what x86-TSO allows, and without them only what is in order."""
    assert test.verdict == verdict(test, ends)


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_the_machine_of_the_tests_says_so_too(test):
    """It is what random worlds are compared with."""

    def by_force(test, *, is_late):
        return Machine(test.program(is_late=is_late)).finals()

    assert test.verdict == verdict(test, by_force)
    assert ends(test, is_late=True) == by_force(test, is_late=True)


# -- on CPUs ---------------------------------------------------------------------------------------

OF_TWO = [test for test in TESTS if len(test.columns) == 2]


@pytest.mark.parametrize("test", OF_TWO, ids=lambda test: test.name)
def test_cpus_with_a_thread_each_do_what_processors_do(test):
    """The buffer is the CPU's; switching to a thread and from it drains nothing."""
    program = test.program(is_late=True)
    found = explored.finals(program, lambda: [DepthFirst()], cpus=(0, 1))

    assert Machine(program).finals() == found


def test_threads_of_one_cpu_see_each_others_stores():
    """They share its buffer: what is relaxed on two CPUs is forbidden on one."""
    relaxed = [test for test in OF_TWO if test.verdict == "relaxed"]
    for test in relaxed:
        program = test.program(is_late=True)
        ends = explored.finals(program, lambda: [DepthFirst()], cpus=(0, 0))

        assert not any(map(test.holds, ends)), test.name
    assert relaxed
