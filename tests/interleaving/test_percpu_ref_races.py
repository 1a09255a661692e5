"""Reference counts with counters of CPUs': two CPUs in any order, and steps that declare enough."""

import pytest
from explored import explore
from explored import scenario_of as explored_scenario
from machines import EXACT, run, scenario_of

from mmactors.engine.report import ActorCrashed
from mmactors.explore.search.verdict import Outcome
from mmactors.label import PERCPU_COUNT, PERCPU_REF, PERCPU_REF_COUNT, RCU, Label
from mmactors.mm.percpu_ref import percpu_ref

SCOPE = (PERCPU_REF, PERCPU_REF_COUNT, PERCPU_COUNT, RCU)
INIT = ("thread T cpu=1", "kmalloc O size=64")


def searched(program, *, more=""):
    return explore(explored_scenario([*INIT, *program, "wait"], scope=SCOPE, more=more))[1]


HELD = ("percpu_ref_init R release=O", "T: percpu_ref_get R", "race")
BOTH = ("percpu_ref_init R release=O flags=allow_reinit", "T: percpu_ref_get R", "race")


@pytest.mark.parametrize(
    "program",
    [
        [*HELD, "T& peek O", "T& percpu_ref_put R", "percpu_ref_kill_and_confirm R"],
        [*HELD, "T& percpu_ref_tryget_live R", "T& peek O", "percpu_ref_kill R"],
        [*BOTH, "T& percpu_ref_get R", "T& peek O", "percpu_ref_switch_to_atomic_sync R"],
    ],
)
def test_who_has_a_reference_has_the_object_whatever_the_order(program):
    """Killed, or switched, while another CPU takes and drops references."""
    verdict = searched(program)

    assert Outcome.EXHAUSTED is verdict.outcome
    assert 10 < verdict.nr_schedules


def test_a_reference_is_lost_where_the_sum_does_not_wait_for_readers():
    """The same with the rule broken: the object goes while somebody has a reference."""
    program = [*HELD, "T& percpu_ref_get R", "T& percpu_ref_put R", "T& peek O"]
    program.append("percpu_ref_kill R")
    broken = "kernel: {rules: {percpu_ref_sums_after_grace_period: false}}\n"

    assert Outcome.EXHAUSTED is searched(program).outcome
    assert "use after free" in str(searched(program, more=broken).failure.broken)


PROGRAM = [
    *INIT,
    *("percpu_ref_init R release=O flags=allow_reinit", "T: percpu_ref_get R", "percpu_ref_put R"),
    *("percpu_ref_switch_to_atomic_sync R", "T: percpu_ref_tryget R", "T: percpu_ref_put R"),
    *("percpu_ref_switch_to_percpu R", "percpu_ref_tryget_live R", "percpu_ref_kill R"),
    *("sleep 30", "percpu_ref_reinit R", "percpu_ref_exit R"),
]


def guarded():
    return scenario_of(PROGRAM, cpus=2, size=32 << 20, guard=True, **EXACT)


def test_what_is_declared_passes():
    """All operations on reference counts."""
    assert all(result >= 0 for result in run(guarded()).results().values())


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("read percpu_count_ptr", PERCPU_REF),
        ("write percpu_count_ptr", PERCPU_REF),
        ("this_cpu_add", PERCPU_COUNT),
        ("this_cpu_sub", PERCPU_COUNT),
        ("sum the counter of cpu1", PERCPU_COUNT),
        ("clear the counter of cpu1", PERCPU_COUNT),
        ("atomic_long_add", PERCPU_REF_COUNT),
        ("atomic_long_sub", PERCPU_REF_COUNT),
        ("atomic_long_add_unless", PERCPU_REF_COUNT),
        ("atomic_long_read", PERCPU_REF_COUNT),
        ("data = NULL", PERCPU_REF),
    ],
)
def test_what_is_not_declared_is_caught(monkeypatch, text, column):
    """Take what one kind of step declares away: the run stops there."""

    def without(shown, touches):
        return Label(shown, () if shown == text else touches)

    monkeypatch.setattr(percpu_ref, "Label", without)

    with pytest.raises(ActorCrashed, match=rf"{column}(\[\d+\])+ was touched"):
        run(guarded())
