"""Shootdowns: who takes a translation away waits until no CPU has it any more."""

import pytest
from machines import run_to_nothing, scenario_of

from mmactors.actors.tlb.switch_mm import (
    TLB_FLUSH_ON_TASK_SWITCH,
    TLB_LOCAL_MM_SHOOTDOWN,
    TLB_REMOTE_SEND_IPI,
    TLB_REMOTE_SHOOTDOWN,
)
from mmactors.hw.config import HardwareConfig
from mmactors.mm.entries.tlb_state import TLB_FLUSH_ALL
from mmactors.mm.fault.siginfo import SEGV_MAPERR, SIGSEGV


def flushes(ran, reason):
    return [
        (event["cpu"], event["pages"])
        for event in ran.events("tlb_flush")
        if event["reason"] == reason
    ]


def shared_by(nr_threads, *more, then=()):
    """Return a program whose region A all of `nr_threads` more CPUs have in their TLBs.

    `then` is what each thread does after that, such as `spin`.
    """
    threads = range(1, nr_threads + 1)
    return [
        "mmap K 4K",  # The page table is shared with A, and stays.
        "mmap A 64K",
        "touch A write",
        *(f"thread T{number} cpu={number}" for number in threads),
        *(f"T{number}: touch A read" for number in threads),
        *(f"T{number}& {what}" for what in then for number in threads),
        *more,
    ]


@pytest.mark.parametrize("quantum_ns", [0, 10_000])
def test_munmap_interrupts_every_cpu_that_runs_the_process(quantum_ns):
    """Three threads that run elsewhere: three interrupts, and a local flush."""
    stop = [f"stop T{number}" for number in (1, 2, 3)]
    program = shared_by(3, "compute 50us", "munmap A", *stop, then=["spin"])
    ran = run_to_nothing(scenario_of(program, cpus=6, quantum_ns=quantum_ns))

    assert (0, 16) == flushes(ran, TLB_REMOTE_SEND_IPI)[0]
    assert [(1, 16), (2, 16), (3, 16)] == sorted(flushes(ran, TLB_REMOTE_SHOOTDOWN))
    assert (0, 16) == flushes(ran, TLB_LOCAL_MM_SHOOTDOWN)[0]
    assert 3 + 3 == ran.counters["tlb_shootdowns"], "exit frees the tables of lazy CPUs"
    assert 3 + 3 == ran.messages["interrupt TLB"]


def test_a_lazy_cpu_is_spared_the_interrupt_and_flushes_when_it_goes_on():
    """Its threads sleep: entries go, tables stay; when one wakes, its CPU has missed a flush."""
    program = shared_by(2, "munmap A 0..4", "T1: touch A 8..9 read")
    ran = run_to_nothing(scenario_of(program, cpus=3))

    assert [(0, 4)] == flushes(ran, TLB_REMOTE_SEND_IPI)[:1]
    assert [] == flushes(ran, TLB_REMOTE_SHOOTDOWN)
    woken = [flush for flush in flushes(ran, TLB_FLUSH_ON_TASK_SWITCH) if flush[0] == 1]
    assert [(1, TLB_FLUSH_ALL), (1, TLB_FLUSH_ALL)] == woken[:2], "at its start, and when it woke"


def test_a_lazy_cpu_lets_go_of_an_address_space_whose_tables_are_freed():
    """Its walker would read them: it is interrupted once, and not again as long as it sleeps."""
    program = shared_by(2, "munmap K", "munmap A", "mmap B 64K", "touch B write", "munmap B 0..4")
    ran = run_to_nothing(scenario_of(program, cpus=3))
    sent = flushes(ran, TLB_REMOTE_SEND_IPI)

    assert [(0, TLB_FLUSH_ALL)] * 2 == sent, "munmap A, the last of its tables, and exit"
    assert [] == flushes(ran, TLB_REMOTE_SHOOTDOWN)


def test_without_pcids_every_switch_to_another_address_space_flushes():
    """Two processes take turns on a CPU, and keep nothing in its TLB from turn to turn."""
    program = ["mmap A 4K", "touch A write", *["sleep 1", "touch A write"] * 3]
    turns = {}
    for pcid in (False, True):
        ran = run_to_nothing(scenario_of(program, program, hardware=HardwareConfig(pcid=pcid)))
        turns[pcid] = [pages for _, pages in flushes(ran, TLB_FLUSH_ON_TASK_SWITCH)]

    assert {TLB_FLUSH_ALL} == set(turns[False])
    assert 0 in turns[True]
    assert len(turns[False]) == len(turns[True])


@pytest.mark.parametrize("quantum_ns", [0, 10_000])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_stale_translation_is_left(quantum_ns, number):
    """A thread whose TLB had the page gets SIGSEGV, as if it had never touched it."""
    ran = run_to_nothing(
        scenario_of(
            shared_by(3, "munmap A", f"T{number}: touch A read"), cpus=4, quantum_ns=quantum_ns
        )
    )
    (signal,) = ran.events("signal_generate")
    address = ran.results()["mmap A 64K"]

    assert (SIGSEGV, SEGV_MAPERR) == (signal["sig"], signal["code"])
    assert (number, address) == (signal["cpu"], signal["address"])


@pytest.mark.parametrize("seed", range(3))
def test_a_thread_that_is_reading_is_stopped_by_munmap(seed):
    """It runs through the region without a fault; when it is unmapped, the next access fails."""
    ran = run_to_nothing(
        scenario_of(
            shared_by(1, "T1& generate uniform A count=200000", "compute 20us", "munmap A", "wait"),
            cpus=2,
            policy="seeded",
            seed=seed,
        )
    )
    (signal,) = ran.events("signal_generate")
    (unmapped,) = [event for event in ran.events("sys_exit") if event["call"] == "munmap A"]

    assert (SIGSEGV, SEGV_MAPERR, 1) == (signal["sig"], signal["code"], signal["cpu"])
    assert signal["t"] >= flush_time(ran, cpu=1)
    assert unmapped["t"] >= flush_time(ran, cpu=1)


def flush_time(ran, cpu):
    """Return when a CPU had flushed on behalf of another."""
    return next(
        event["t"]
        for event in ran.events("tlb_flush")
        if event["cpu"] == cpu and event["reason"] == TLB_REMOTE_SHOOTDOWN
    )


def test_a_process_on_one_cpu_interrupts_nobody():
    """Other CPUs run other processes: their TLBs have nothing of this one."""
    program = ["mmap A 64K", "touch A write", "munmap A"]
    ran = run_to_nothing(scenario_of(program, program, cpus=2))

    assert 0 == ran.counters["tlb_shootdowns"]


def test_more_pages_than_the_ceiling_are_one_flush_of_everything():
    """33 pages go one by one; 34 as a whole."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap K 4K",
                "mmap A 132K",
                "touch A write",
                "munmap A",
                "mmap B 136K",
                "touch B write",
                "munmap B",
            ]
        )
    )
    pages = [pages for _, pages in flushes(ran, TLB_LOCAL_MM_SHOOTDOWN)]

    assert [33, TLB_FLUSH_ALL] == pages[:2]


def test_a_mapping_that_was_never_touched_needs_no_flush():
    """No entry was present, so no TLB can have it."""
    ran = run_to_nothing(scenario_of(["mmap A 64K", "munmap A"]))

    reasons = [event["reason"] for event in ran.events("tlb_flush")]
    assert {TLB_FLUSH_ON_TASK_SWITCH} == set(reasons)


def test_a_cpu_that_comes_back_forgets_what_it_missed():
    """The leader leaves CPU 1 with A in its TLB, unmaps A elsewhere, and comes back."""
    ran = run_to_nothing(
        scenario_of(
            [
                "cpu 1",
                "mmap A 64K",
                "touch A write",
                "cpu 0",
                "munmap A",
                "mmap B 4K",
                "touch B write",
                "cpu 1",
                "touch A read",
            ],
            ["cpu 1", "mmap A 4K", "touch A write passes=100", "sleep 1", "touch A write"],
            cpus=2,
        )
    )

    assert [(SIGSEGV, SEGV_MAPERR)] == [
        (event["sig"], event["code"]) for event in ran.events("signal_generate")
    ]


@pytest.mark.parametrize("seed", range(4))
def test_two_threads_that_shoot_each_other_down_both_get_on(seed):
    """Both unmap at the same time; a CPU that waits for answers gives answers."""
    ran = run_to_nothing(
        scenario_of(
            [
                "thread T cpu=1",
                "T& churn 20 64K touch",
                "churn 20 64K touch",
                "wait",
            ],
            cpus=2,
            quantum_ns=0,
            policy="seeded",
            seed=seed,
        )
    )

    assert ran.counters["tlb_shootdowns"] >= 20


@pytest.mark.parametrize("seed", range(3))
def test_a_write_to_the_zero_page_is_seen_by_all(seed):
    """Who reads zeros through its TLB is told before the new page can be written."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "thread T cpu=1",
                "T: touch A read",
                "touch A read",
                "T& spin",
                "compute 50us",
                "touch A write",
                "stop T",
                "T: touch A read",
            ],
            cpus=2,
            quantum_ns=0,
            policy="seeded",
            seed=seed,
        )
    )

    assert 16 + 1 == ran.counters["tlb_shootdowns"], "one a page, and one at exit"
    assert 32 == ran.counters["pgfault"], "the second read finds the new pages"
