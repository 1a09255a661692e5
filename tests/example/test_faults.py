"""Faults injected into ordinary runs: when they happen, to whom, and what comes of them."""

import errno
from pathlib import Path

import pytest
from attrs import evolve
from machines import run, scenario_of

from mmactors.engine.report import Deadlock
from mmactors.scenario.explain import explain_scenario
from mmactors.scenario.faults.config import (
    FailPageAlloc,
    FailSlab,
    FaultsConfig,
    LateIpi,
    SpuriousWakeUp,
)
from mmactors.scenario.load import load_scenario

EVERYTHING = {"min_order": 0, "ignore_gfp_wait": False, "ignore_gfp_highmem": False}
"""Let no allocation pass that may fail."""
FAULTS = ["mmap A 16K", "touch A write"]
TWO_CPUS = [
    "mmap A 64K",
    "touch A write",
    "thread T cpu=1",
    "T& touch A read passes=40",
    "munmap A 0..3",
    "munmap A 4..7",
    "wait",
]


def with_faults(scenario, *, seed=None, **faults):
    """Return a scenario with `faults`."""
    return evolve(scenario, faults=FaultsConfig(seed=seed, **faults))


def failing(program, *, everything=True, kernel=None, **options):
    """Run a program whose allocations fail, once and always if nothing else is said."""
    options = {"probability": 100, **(EVERYTHING if everything else {}), **options}
    scenario = scenario_of(program, kernel=kernel, on_signal="die")
    return run(with_faults(scenario, fail_page_alloc=FailPageAlloc(**options)))


def sites(ran):
    return [event["site"] for event in ran.events("fault_injection")]


def test_the_nth_allocation_fails_and_is_an_event():
    """Its fields are what 6.1 prints, and what was asked for; it has a counter."""
    ran = failing(FAULTS, require=("do_anonymous_page",), times=1)
    (event,) = ran.events("fault_injection")

    assert ("fail_page_alloc", 1, 100, 0, 1) == (
        event["name"],
        event["interval"],
        event["probability"],
        event["space"],
        event["times"],
    )
    assert ("do_anonymous_page", 0) == (event["site"], event["order"])
    assert (1, 0) == (
        ran.counters["injected_fail_page_alloc"],
        ran.counters["injected_late_ipi"],
    )


def test_a_page_fault_that_was_refused_is_tried_again():
    """6.1 lets it fault once more (pagefault_out_of_memory): nobody dies, both are counted."""
    ran = failing(FAULTS, require=("do_anonymous_page",), times=1)
    kinds = [(event["kind"], event["ret"]) for event in ran.events("page_fault_end")]

    assert ("failed", 1) in kinds
    assert 5 == ran.counters["pgfault"]
    assert 4 == ran.counters["process[p0].min_flt"]
    assert () == ran.machine.deaths()


def test_whose_memory_has_really_run_out_is_still_killed():
    """A fault that finds no page, and was refused none, is no injected one."""
    program = ["put /proc/sys/vm/overcommit_memory 1", "mmap A 128M", "touch A write"]
    ran = failing(program, interval=1 << 20)

    (death,) = ran.machine.deaths()
    assert "SIGKILL (out of memory" in str(death)
    assert [] == sites(ran)


def test_the_kernels_defaults_let_nearly_everything_pass():
    """min-order is 1, ignore-gfp-wait and ignore-gfp-highmem are on.

    Slabs of more than a page are first tried for without waiting.
    """
    program = [*FAULTS, "alloc_pages X order=2", "alloc_pages Y order=2 gfp=ATOMIC"]
    ran = failing(program, everything=False, reject=("alloc_slab_page",))

    assert ["alloc_pages"] == sites(ran)
    assert 0 < ran.results()["alloc_pages X order=2"]
    assert -12 == ran.results()["alloc_pages Y order=2 gfp=ATOMIC"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"require": ("pte_alloc_one",)}, ["pte_alloc_one"]),
        ({"require": ("fork",), "times": 2}, ["pgd_alloc", "pgd_alloc"]),
        ({"require": ("fork",), "reject": ("pgd_alloc",)}, ["pud_alloc_one"]),
        ({"require": ("do_anonymous_page",), "times": 3}, ["do_anonymous_page"] * 3),
    ],
)
def test_functions_and_operations_say_whose_allocations_fail(options, expected):
    """`require` and `reject` stand for 6.1's filters of the stack."""
    ran = failing([*FAULTS, "fork c", "fork d"], **options)

    assert expected == sites(ran)


def test_space_passes_before_anything_fails():
    """It counts pages, what 6.1 calls size; who finds no more left than it wants does not pass."""
    first = failing(FAULTS, space=3)

    assert ["alloc_slab_page"] == sites(first), "the first slab has four pages or more"


def test_the_filter_of_tasks_means_marked_processes_and_their_children():
    """As /proc/PID/make-it-fail, which a child inherits."""
    program = [*FAULTS, "fork c", "c: mmap B 64K", "c: touch B write"]
    scenario = scenario_of(program, ["mmap A 64K", "touch A write"])
    fault = FailPageAlloc(probability=50, times=-1, task_filter=True, **EVERYTHING)
    nobody = run(with_faults(scenario, fail_page_alloc=fault))
    first, second = scenario.processes
    marked = evolve(scenario, processes=(evolve(first, make_it_fail=True), second))
    ran = run(
        with_faults(
            marked,
            seed=3,
            fail_page_alloc=evolve(fault, reject=("fork", "pgd_alloc", "alloc_slab_page")),
        )
    )

    assert [] == sites(nobody)
    assert {1, 3} == {event["pid"] for event in ran.events("fault_injection")}


def test_a_late_ipi_makes_the_sender_wait():
    """It arrives by so much later as its event says, and nothing else is different."""
    plain = scenario_of(TWO_CPUS, cpus=2, quantum_ns=0)
    late = LateIpi(probability=100, times=1, delay=1_000_000)
    (before,), (after,) = (
        [event for event in run(each).events("ipi_handled") if event["id"] == 1]
        for each in (plain, with_faults(plain, late_ipi=late))
    )
    (injected,) = run(with_faults(plain, late_ipi=late)).events("fault_injection")

    assert ("TLB", 1) == (injected["site"], injected["target_cpu"])
    assert injected["late_ns"] > 1_000
    assert after["t"] >= before["t"] + injected["late_ns"] - 1_000


def test_who_wakes_for_nothing_sleeps_again():
    """Barriers, threads and children wait for what they wait for, and not a bit less."""
    program = ["thread T cpu=1", "T& compute 3ms", "wait", "mmap A 4K", "touch A write"]
    fault = SpuriousWakeUp(probability=100, times=4, delay=10_000)
    ran = run(with_faults(scenario_of(program, cpus=2), spurious_wake_up=fault))
    mapped = next(event for event in ran.events("sys_enter") if event["call"].startswith("mmap"))

    assert 4 == ran.counters["injected_spurious_wake_up"]
    assert mapped["t"] >= 3_000_000


def test_a_deadlock_is_none_the_less_one():
    """Who alone could be woken for nothing is left to sleep, so that the report comes."""
    program = ["thread T cpu=1", "T& barrier b 3", "wait"]
    fault = SpuriousWakeUp(probability=100, times=-1)
    with pytest.raises(Deadlock, match="barrier b of 3 threads"):
        run(with_faults(scenario_of(program, cpus=2), spurious_wake_up=fault))


ALL = {
    "fail_page_alloc": FailPageAlloc(probability=30, times=-1, **EVERYTHING),
    "late_ipi": LateIpi(probability=50, times=-1),
    "spurious_wake_up": SpuriousWakeUp(probability=50, times=-1),
}


@pytest.mark.parametrize("policy", ["fifo", "seeded"])
def test_a_schedule_that_is_replayed_has_the_same_faults(policy):
    """The decider draws in the order of the questions, which is the schedule's."""
    scenario = with_faults(scenario_of(TWO_CPUS, cpus=2, policy=policy, seed=5), **ALL)
    first = run(scenario)
    again = run(scenario, schedule=first.schedule)

    assert first.events("fault_injection")
    assert first.log == again.log


def test_both_drivers_and_guard_mode_have_the_same_faults():
    """One question, one answer, whoever steps the actors."""
    scenario = with_faults(scenario_of(TWO_CPUS, cpus=2), **ALL)
    logs = {
        run(evolve(scenario, engine=evolve(scenario.engine, **options))).log
        for options in ({}, {"driver": "inline"}, {"guard": True})
    }

    assert 1 == len(logs)


def test_the_seed_of_the_faults_may_be_their_own():
    """Empty, it is the engine's."""
    plain = scenario_of(TWO_CPUS, cpus=2)
    own = [sites(run(with_faults(plain, seed=seed, **ALL))) for seed in (None, 0, 1)]

    assert own[0] == own[1] != own[2]


def test_explain_says_what_is_injected():
    """And nothing of what is off."""
    pages = FailPageAlloc(probability=7)
    objects = FailSlab(probability=100, interval=3, times=-1, cache_filter=("pid", "filp"))
    scenario = with_faults(scenario_of(FAULTS), fail_page_alloc=pages, failslab=objects)
    lines = [line for line in explain_scenario(scenario).splitlines() if "Injected" in line]

    assert [
        "Injected: fail_page_alloc with a probability of 7 %, 1 time at most",
        "Injected: failslab with a probability of 100 %, one of 3, of pid or filp",
    ] == lines


def test_the_example_runs_and_nothing_is_lost():
    """configs/faults.yaml, with its sanitizers."""
    path = Path(__file__).parents[2] / "configs" / "faults.yaml"
    summary = run(load_scenario(path)).machine.summary()

    assert "ok" == summary.verdict


BLOCKS = ["open f /mnt/f create", "write f 0 16K bs=8K", "fadvise f 0 0 DONTNEED"]


def refused(program, **options):
    """Run a program of which one allocation fails; return the results of its calls."""
    ran = failing(program, times=1, **options)

    assert 1 == ran.counters["injected_fail_page_alloc"]
    return ran.results()


def test_a_write_that_fails_inside_a_block_has_written_what_came_before():
    """generic_perform_write says how much; the program goes on with the next block."""
    first = refused(BLOCKS[:2], require=("filemap_alloc_folio",))
    later = {
        failing(BLOCKS[:2], times=1, require=("filemap_alloc_folio",), interval=nth).results()[
            "write f 0 16K bs=8K"
        ]
        for nth in range(2, 20)
    }

    assert -12 == first["write f 0 16K bs=8K"], "nothing was written"
    assert later <= {-12, 4 << 10, 8 << 10, 12 << 10, 16 << 10}
    assert 12 << 10 in later, "one page of the second block is missing"


def test_a_pin_that_has_no_memory_says_so():
    """pin_user_pages_fast gives the error of the first page; later ones end a short pin."""
    program = ["mmap A 16K", "pin A as=d"]

    assert -12 == refused(program, require=("do_anonymous_page",))["pin A as=d"]
    later = {
        failing(program, times=1, require=("do_anonymous_page",), interval=nth).results()[
            "pin A as=d"
        ]
        for nth in range(2, 30)
    }
    assert {1, 2, 3} <= later


def test_an_mremap_without_memory_leaves_everything_where_it_was():
    """What was moved is moved back (move_vma), and can be read there."""
    move = "mremap A len=16K flags=maymove,fixed addr=0x100000000000 as=B"
    program = ["mmap A 16K", "touch A write", move, "touch A read"]
    ran = failing(program, require=("mremap",))

    assert -12 == ran.results()[move]
    assert 4 == ran.counters["process[p0].min_flt"]
    assert () == ran.machine.deaths()


@pytest.mark.parametrize(
    ("site", "times", "kept"), [("vm_area_alloc_pages", 2, 2), ("pte_alloc_one_kernel", 1, 4)]
)
def test_a_vmalloc_that_fails_keeps_no_page(site, times, kept):
    """Only slabs and tables stay, which the next one uses; pages are asked for again one by one."""
    at_rest = ["drain_all_pages", "snap end"]
    plain = run(scenario_of(at_rest)).counters["nr_free_pages"]
    ran = failing(["vmalloc A 32K", *at_rest], require=(site,), times=times)

    assert [site] * times == sites(ran)
    assert -errno.ENOMEM == ran.results()["vmalloc A 32K"]
    assert plain - kept == ran.counters["nr_free_pages"]


def test_a_vmalloc_whose_bulk_of_pages_fails_has_them_one_by_one():
    """The bulk allocator is asked first, and forgiven."""
    ran = failing(["vmalloc A 32K"], require=("vm_area_alloc_pages",), times=1)

    assert 0 < ran.results()["vmalloc A 32K"]


def test_mlock_says_eagain_and_mmap_nothing():
    """__mlock_posix_error_return; mm_populate's errors are nobody's."""
    lock = ["mmap A 16K", "mlock A"]
    populate = "mmap B 16K flags=private,anon,populate"

    assert -11 == refused(lock, require=("mlock",))["mlock A"]
    assert 0 < refused([populate], require=("mmap",))[populate]
