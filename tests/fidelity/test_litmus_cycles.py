"""Litmus tests made of cycles: axioms, a machine and the search agree."""

import pytest
from brute_force import cycles, explored
from brute_force.machine import Machine
from hypothesis import given, settings
from hypothesis import strategies as st

from mmactors.explore.strategy.dfs import DepthFirst

SHORT = cycles.cycles(4)
RELAXING = ("PodWR", "Rfi")
"""Without one of these the order of memory is that of the program."""


def verdicts(cycle):
    """Return the verdicts of the axioms, of the machine and of the search."""
    test = cycles.litmus_of(cycle)
    program = test.program(is_late=True)
    machine = Machine(program, max_states=200_000).finals()
    found = explored.finals(program, lambda: [DepthFirst()])

    assert machine == found
    return test.verdict, *(
        "relaxed" if any(map(test.holds, ends)) else "forbidden" for ends in (machine, found)
    )


def test_the_cycles_of_four_edges_are_the_tests_of_two_processors():
    """SB, MP, LB, S, R and 2+2W are among them."""
    known = {
        "SB": ("PodWR", "Fre", "PodWR", "Fre"),
        "MP": ("PodRR", "Fre", "PodWW", "Rfe"),
        "LB": ("PodRW", "Rfe", "PodRW", "Rfe"),
        "2+2W": ("PodWW", "Wse", "PodWW", "Wse"),
        "S": ("PodRW", "Wse", "PodWW", "Rfe"),
        "R": ("PodWR", "Fre", "PodWW", "Wse"),
    }
    rotations = {tuple(cycle[at:] + cycle[:at]) for cycle in SHORT for at in range(4)}

    assert set(known.values()) <= rotations


@pytest.mark.parametrize("cycle", SHORT, ids="+".join)
def test_a_short_cycle_is_allowed_if_a_load_may_overtake_a_store(cycle):
    """All of four edges."""
    expected = "relaxed" if set(cycle) & set(RELAXING) else "forbidden"

    assert (expected,) * 3 == verdicts(cycle)


@settings(max_examples=60, derandomize=True)
@given(st.sampled_from(cycles.cycles(5) + cycles.cycles(6)))
def test_axioms_machine_and_search_agree_on_longer_cycles(cycle):
    """Rfi helps only if what comes after it is a load that no fence holds back."""
    axioms, machine, search = verdicts(cycle)

    assert axioms == machine == search


@pytest.mark.slow
def test_axioms_machine_and_search_agree_on_all_cycles_of_up_to_seven_edges():
    """Up to four processors."""
    for cycle in cycles.cycles(5) + cycles.cycles(6) + cycles.cycles(7):
        assert len(set(verdicts(cycle))) == 1, cycle
