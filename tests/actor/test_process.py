"""Processes: each with an address space of its own, and what is left of them for /proc."""

from machines import final_status, run, run_to_nothing, scenario_of

from mmactors.hw.config import HardwareConfig
from mmactors.units import MIB


def test_processes_have_address_spaces_of_their_own():
    """Equal programs on two CPUs get equal addresses and different pages."""
    program = ["mmap A 64K", "touch A write"]
    ran = run_to_nothing(scenario_of(program, program, cpus=2))

    assert 32 == ran.counters["pgfault"]
    assert ["64 kB"] * 2 == [final_status(ran, pid)["VmRSS"] for pid in (1, 2)]
    faults = [(event["pid"], event["address"]) for event in ran.events("page_fault_user")]
    assert sorted(a for p, a in faults if p == 1) == sorted(a for p, a in faults if p == 2)


def test_sixty_four_cpus_run_sixty_four_processes():
    """Each on its own CPU; all memory comes back."""
    ran = run_to_nothing(
        scenario_of(*[["mmap A 64K", "touch A write", "munmap A"]] * 64, cpus=64, size=128 * MIB)
    )

    assert 64 * 16 == ran.counters["pgfault"]
    assert set(range(64)) == {event["cpu"] for event in ran.events("page_fault_user")}


def test_one_process_runs_on_sixty_four_cpus():
    """Unmapping what all have read interrupts all of them."""
    others = range(1, 64)
    ran = run_to_nothing(
        scenario_of(
            ["mmap A 16K", "touch A write"]
            + [f"thread T{cpu} cpu={cpu}" for cpu in others]
            + [f"T{cpu}& touch A read passes=3" for cpu in others]
            + ["wait", "munmap A"],
            cpus=64,
            size=128 * MIB,
        )
    )

    assert 63 + 63 == ran.counters["tlb_shootdowns"], "exit frees the tables of lazy CPUs"
    assert 4 == ran.counters["pgfault"]


def test_pages_come_from_the_node_of_the_cpu():
    """Two nodes with a CPU each: every page is local."""
    program = ["mmap A 4M", "touch A write"]
    ran = run_to_nothing(scenario_of(program, program, cpus=2, nr_nodes=2, size=256 * MIB))
    seen = ran.machine.inspect()

    assert [0, 1] == [cpu.node for cpu in seen.cpus]
    for event in ran.events("mm_page_alloc"):
        spans = [zone.node for zone in seen.zones if zone.start_pfn <= event["pfn"] < zone.end_pfn]
        assert [event["cpu"]] == spans
    assert {0, 1} == {zone.node for zone in seen.zones}
    assert 0 == ran.counters["numa_other"]


def test_another_node_helps_out():
    """When the node of the CPU has no page left, the other one gives its."""
    ran = run_to_nothing(
        scenario_of(["mmap A 80M", "touch A write"], cpus=2, nr_nodes=2, size=128 * MIB),
        is_logged=False,
    )

    assert 0 == ran.counters["processes_killed"]
    assert ran.counters["numa_miss"] > 0


def test_what_ended_is_as_it_was_in_proc():
    """The files of a process are those of the moment before it gave its memory back."""
    ran = run_to_nothing(scenario_of(["mmap A 1M", "touch A 0..100 write"]))
    status = final_status(ran)

    assert "400 kB" == status["VmRSS"]
    assert "1024 kB" == status["VmData"]
    assert "p0" == status["Name"]


def test_copies_are_processes_of_their_own():
    """More processes than CPUs: they take turns, each with its own pages."""
    ran = run(scenario_of(*[["mmap A 64K", "touch A write passes=50"]] * 12, cpus=4))

    assert 12 * 16 == ran.counters["pgfault"]
    assert list(range(1, 13)) == sorted(event["pid"] for event in ran.events("sched_process_exit"))


def test_the_length_of_the_quantum_does_not_change_what_one_cpu_counts():
    """Batches end earlier or later; caches and TLBs never notice."""
    program = ["mmap A 2M", "generate zipf A count=30000", "touch A write", "munmap A 5..300"]
    counts = []
    for quantum_ns in (0, 1000, 1_000_000):
        for levels in (4, 5):
            ran = run_to_nothing(
                scenario_of(program, hardware=HardwareConfig(levels=levels), quantum_ns=quantum_ns),
                is_logged=False,
            )
            counts.append((levels, ran.machine.inspect().cpus[0].hardware))

    assert [counts[0]] * 3 == counts[0::2]
    assert [counts[1]] * 3 == counts[1::2]
