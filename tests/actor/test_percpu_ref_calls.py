"""Operations on reference counts with counters of CPUs', as a kernel module does them."""

import errno

import pytest
from attrs import evolve
from machines import run, scenario_of

from mmactors.mm.page_alloc.gfp import GFP_ZERO
from mmactors.mm.slab.alloc_site import PERCPU_REF_INIT
from mmactors.scenario.faults.config import FailSlab, FaultsConfig

INIT = ("kmalloc O size=64", "percpu_ref_init R release=O")
LATER = "sleep 30"
"""A grace period is over by then."""


def ran(*program, **options):
    return run(scenario_of(list(program), size=32 << 20, **options))


def console(machine):
    return [event["msg"] for event in machine.events("console")]


def releases(machine):
    """Return how often the release function gave its object back."""
    return sum(event["call_site"] == "p0.release" for event in machine.events("kfree"))


def result(machine, text):
    return machine.results()[text]


@pytest.mark.parametrize("kill", ["percpu_ref_kill R", "percpu_ref_kill_and_confirm R"])
def test_references_of_several_cpus_are_released_with_the_last_one(kill):
    """Taken on one CPU and dropped on another: only the sum counts."""
    program = ["thread T cpu=1", *INIT, "percpu_ref_get R", "T: percpu_ref_get R"]
    program += ["percpu_ref_put R", kill, LATER]

    assert 0 == releases(ran(*program, cpus=2))
    assert 1 == releases(ran(*program, "percpu_ref_put R", cpus=2))


def test_a_count_that_nobody_else_uses_is_released_after_a_grace_period():
    """Not by who kills it: the callback drops the last reference."""
    machine = ran(*INIT, "percpu_ref_kill R", LATER)

    (freed,) = (e for e in machine.events("kfree") if e["call_site"] == "p0.release")
    assert freed["actor"].startswith("rcuc/0:percpu_ref")


def test_what_was_killed_gives_out_references_only_to_who_does_not_ask_whether_it_lives():
    """tryget wants one left, tryget_live a live count; released, neither gets one."""
    ask = ["percpu_ref_tryget R", "percpu_ref_tryget_live R"]
    live = ran(*INIT, *ask)
    held = ran(*INIT, "percpu_ref_get R", "percpu_ref_kill_and_confirm R", *ask)
    gone = ran(*INIT, "percpu_ref_kill R", LATER, *ask)

    assert [1, 1] == [result(live, text) for text in ask]
    assert [1, 0] == [result(held, text) for text in ask]
    assert [0, 0] == [result(gone, text) for text in ask]


def test_a_count_lives_again():
    """It is released once more; with INIT_DEAD it has not lived yet."""
    again = ran(
        *("percpu_ref_init R flags=allow_reinit", "percpu_ref_kill R", LATER),
        *("percpu_ref_reinit R", "percpu_ref_tryget_live R", "percpu_ref_put R"),
        *("percpu_ref_kill R", LATER, "percpu_ref_tryget R"),
    )
    dead = ran(*("kmalloc O size=8", "percpu_ref_init R release=O flags=init_dead"),
               *("percpu_ref_reinit R", "percpu_ref_kill R", LATER))  # fmt: skip

    assert (1, 0) == (
        result(again, "percpu_ref_tryget_live R"),
        result(again, "percpu_ref_tryget R"),
    )
    assert [] == console(again) == console(dead)
    assert 1 == releases(dead)


def test_a_mode_may_change_to_and_fro_with_references_held():
    """Those of the CPUs' words are in the atomic one, and those after it are not."""
    machine = ran(
        *("thread T cpu=1", "kmalloc O size=64", "percpu_ref_init R release=O flags=allow_reinit"),
        *("T: percpu_ref_get R", "percpu_ref_switch_to_atomic_sync R", "percpu_ref_get R"),
        *("percpu_ref_switch_to_percpu R", "T: percpu_ref_put R", "T: percpu_ref_put R"),
        *("percpu_ref_kill R", LATER),
        cpus=2,
    )

    assert [] == console(machine)
    assert 1 == releases(machine)


@pytest.mark.parametrize(("nr_puts", "count"), [(1, 0), (2, -1), (5, -4)])
def test_who_drops_too_many_references_is_told_when_they_are_summed(nr_puts, count):
    """Until then nobody can know; the count is never released."""
    machine = ran(*INIT, *["percpu_ref_put R"] * nr_puts, "percpu_ref_kill R", LATER)

    told = console(machine)
    assert f"percpu ref (p0.release) <= 0 ({count}) after switching to atomic" in told
    assert any("at lib/percpu-refcount.c:197 percpu_ref_switch_to_atomic_rcu" in x for x in told)
    assert "percpu_ref_switch_to_atomic_rcu: percpu_ref_switch_to_atomic_rcu(): " in told[-1]
    assert 0 == releases(machine)


def test_a_warning_is_given_once_and_the_line_below_it_three_times():
    """WARN_ONCE, and a counter of its own."""
    program = [
        text
        for name in "ABCDE"
        for text in (f"percpu_ref_init {name}", f"percpu_ref_put {name}", f"percpu_ref_kill {name}")
    ]
    told = console(ran(*program, LATER))

    assert 1 == sum("after switching to atomic" in line for line in told)
    assert 3 == sum("percpu_ref underflow" in line for line in told)


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (
            ("percpu_ref_kill R", "percpu_ref_kill R"),
            "percpu_ref_kill_and_confirm called more than once on p0.release!",
        ),
        (("percpu_ref_reinit R",), "lib/percpu-refcount.c:442 percpu_ref_reinit"),
        (
            ("percpu_ref_init R flags=init_atomic", "percpu_ref_reinit R"),
            "lib/percpu-refcount.c:469 percpu_ref_resurrect",
        ),
        (("percpu_ref_kill R", "percpu_ref_exit R"), "percpu-refcount.c:114 __percpu_ref_exit"),
    ],
)
def test_a_mistake_is_a_warning_and_the_run_goes_on(program, line):
    """As WARN_ON_ONCE does."""
    machine = ran(*INIT, *program, LATER, "kmalloc A size=8")

    assert any(line in told for told in console(machine))
    assert 0 < result(machine, "kmalloc A size=8")


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (
            ("percpu_ref_exit R", "percpu_ref_get R"),
            "BUG: kernel NULL pointer dereference, address: 0000000000000000",
        ),
        (
            ("percpu_ref_exit R", "percpu_ref_kill R"),
            "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        ),
        (
            ("percpu_ref_exit R", "percpu_ref_switch_to_percpu R"),
            "BUG: kernel NULL pointer dereference, address: 0000000000000018",
        ),
        (
            ("percpu_ref_kill R", LATER, "percpu_ref_reinit R"),
            "kernel BUG at lib/percpu-refcount.c:241!",
        ),
    ],
)
def test_what_the_kernel_dies_of_kills_who_does_it_and_locks_are_free_again(program, line):
    """Another process goes on with the same counts' lock."""
    machine = run(
        scenario_of(
            ["kmalloc O size=64", "percpu_ref_init R release=O", *program, "nop"],
            ["sleep 100", "percpu_ref_init S", "percpu_ref_kill_and_confirm S"],
            cpus=2,
        )
    )

    assert line in console(machine)
    assert 0 == result(machine, "percpu_ref_kill_and_confirm S")


def test_what_a_count_is_made_of_is_an_object():
    """Of 56 bytes, of zeros; exit gives it back, and a second one has nothing to give."""
    machine = ran(*INIT, "percpu_ref_exit R", "percpu_ref_exit R")

    (made,) = (e for e in machine.events("kmalloc") if e["call_site"] == PERCPU_REF_INIT)
    (freed,) = (e for e in machine.events("kfree") if e["call_site"] == "percpu_ref_exit")
    assert (56, 64) == (made["bytes_req"], made["bytes_alloc"])
    assert made["gfp_flags"] & GFP_ZERO
    assert made["ptr"] == freed["ptr"]


def test_without_memory_there_is_no_count():
    """ENOMEM; what is done with the name is refused."""
    fault = FailSlab(require=(PERCPU_REF_INIT,), probability=100, ignore_gfp_wait=False)
    scenario = scenario_of([*INIT, "percpu_ref_get R"])
    machine = run(evolve(scenario, faults=FaultsConfig(failslab=fault)))

    assert -errno.ENOMEM == result(machine, INIT[1])
    assert -errno.EINVAL == result(machine, "percpu_ref_get R")
