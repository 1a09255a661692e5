"""What is a message: slow paths are, hits are not; waiting in line is contention."""

import pytest
from machines import run, run_to_nothing, scenario_of

from mmactors.units import MIB


def zone_lock(ran):
    """Return what /proc/lock_stat says of zone->lock."""
    return ran.machine.inspect().locks["&zone->lock"].write


def storm(cpus=4, **engine):
    """Return a scenario in which each CPU faults 1024 pages in, all at the same time."""
    program = ["mmap A 4M", "touch A write", "munmap A"]
    return scenario_of(*[program] * cpus, cpus=cpus, size=128 * MIB, **engine)


@pytest.mark.parametrize("seed", range(3))
def test_a_fault_storm_queues_at_the_zone(seed):
    """4 CPUs refill their lists at once: the zone's actor is asked, and CPUs wait for it."""
    ran = run_to_nothing(storm(quantum_ns=0, policy="seeded", seed=seed))
    lock = zone_lock(ran)

    assert 4096 == ran.counters["pgfault"]
    assert ran.messages["RmqueueBulk"] > 0
    assert ran.messages["FreePcppagesBulk"] > 0
    assert lock.contentions > 0
    assert lock.waittime_total_ns > 0
    zone_messages = {"RmqueueBulk", "FreePcppagesBulk", "RmqueueBuddy", "FreeOnePage"}
    assert lock.acquisitions == sum(
        count for kind, count in ran.messages.items() if kind in zone_messages
    )


def test_a_cpu_alone_never_waits_for_the_zone():
    """Who is the only one finds the lock free each time."""
    lock = zone_lock(run(storm(cpus=1, quantum_ns=0), is_logged=False))

    assert lock.acquisitions > 0
    assert 0 == lock.contentions


def test_most_pages_come_from_the_cpus_own_lists():
    """A refill takes a batch of several: fewer messages than faults."""
    ran = run(storm(), is_logged=False)

    assert ran.messages["RmqueueBulk"] < ran.counters["pgfault"] // 6


@pytest.mark.parametrize("quantum_ns", [0, 10_000])
def test_hits_are_no_messages(quantum_ns):
    """Touching resident pages a thousand times as often sends not one message more."""

    def ran(passes):
        return run(
            scenario_of(
                *[["mmap A 64K", f"touch A write passes={passes}"]] * 2,
                cpus=2,
                quantum_ns=quantum_ns,
            ),
            is_logged=False,
        )

    few, many = ran(2), ran(2000 if quantum_ns else 200)

    assert many.machine.progress().accesses >= 100 * 32
    assert few.counters["read_tlb.misses"] == many.counters["read_tlb.misses"]
    assert few.messages == many.messages


def test_hits_of_one_cpu_are_no_switches():
    """Who is alone runs to the end of a batch, which is thousands of hits."""

    def switches(passes):
        scenario = scenario_of(["mmap A 64K", f"touch A write passes={passes}"])
        return run(scenario, is_logged=False).machine.summary().switches

    assert switches(5000) - switches(2) <= 5000 * 16 // 1000


def test_an_interrupt_is_a_message():
    """One for each CPU at munmap, and at exit; none when nobody else runs the process."""
    program = ["mmap A 64K", "touch A write", "munmap A"]
    alone = run(scenario_of(program, cpus=4))
    shared = run(scenario_of(["thread T cpu=1", *program], cpus=4))

    assert "interrupt TLB" not in alone.messages
    assert 2 == shared.messages["interrupt TLB"]
