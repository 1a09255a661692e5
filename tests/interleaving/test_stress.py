"""Eight CPUs, up to sixteen processes, too little memory, every sanitizer: nothing is wrong."""

import pytest
from stress import NR_CPUS, fault_of, scenario_of


@pytest.mark.parametrize("seed", range(5))
def test_a_machine_under_stress_keeps_all_laws(seed):
    """It comes to its end, nothing is found, every page is accounted for."""
    fault, ran = fault_of(seed)

    assert fault is None
    assert ran.machine.is_complete


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5, 100))
def test_a_machine_under_stress_keeps_all_laws_for_long(seed):
    """Five of a hundred seeds are in the ordinary suite."""
    test_a_machine_under_stress_keeps_all_laws(seed)


def test_stress_is_what_it_says():
    """Of five machines: nodes, processes, allocations that fail, deaths, memory that is online."""
    scenarios = [scenario_of(seed) for seed in range(5)]
    runs = [fault_of(seed, driver="inline")[1] for seed in range(5)]

    assert {NR_CPUS} == {scenario["machine"]["cpus"] for scenario in scenarios}
    assert all(8 <= len(scenario["processes"]) <= 16 for scenario in scenarios)
    assert any(scenario["machine"]["memory"]["nr_nodes"] > 1 for scenario in scenarios)
    assert any(-12 == event["ret"] for ran in runs for event in ran.events("sys_exit"))
    assert any(ran.machine.deaths() for ran in runs)
    assert any(ran.counters["tlb_shootdowns"] for ran in runs)
