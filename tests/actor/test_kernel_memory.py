"""Memory of the kernel's own, and memory that comes while the machine runs: what can fail."""

import pytest
from attrs import evolve
from machines import nr_free, run, scenario_of

import mmactors
from mmactors.sanitize.config import SanitizeConfig
from mmactors.units import MIB, PAGE_SIZE

WATCHED = SanitizeConfig(leaks=True, page_state=True, counters=True)


@pytest.mark.parametrize("length", ["0", "1G", "0x7ffffffff000", f"{(1 << 64) - 1}"])
def test_vmalloc_asks_for_no_page_where_there_cannot_be_enough(length):
    """Nor for none at all."""
    before = run(scenario_of(["nop"], size=64 * MIB))

    ran = run(evolve(scenario_of([f"vmalloc {length}"], size=64 * MIB), sanitize=WATCHED))

    assert "ok" == ran.machine.summary().verdict
    assert nr_free(before.machine) == nr_free(ran.machine)


def test_vmalloc_gives_back_what_it_had_when_memory_runs_out():
    """All but the tables, which stay: 60 MiB are not free, and afterwards most is."""
    ran = run(evolve(scenario_of(["vmalloc 60M", "vmalloc 64K"], size=64 * MIB), sanitize=WATCHED))

    assert "ok" == ran.machine.summary().verdict
    assert nr_free(ran.machine) > 50 * MIB // PAGE_SIZE


@pytest.mark.parametrize("driver", ["inline", "trio"])
@pytest.mark.parametrize("cpus", [1, 2])
def test_memory_is_brought_online_by_one_at_a_time(cpus, driver):
    """Two programs ask for it: one does it, the other hears that it is there."""
    memory = {"size": "32M", "kernel_image": "1M", "initramfs": 0, "hotplug": "128M"}
    programs = [{"name": f"p{nr}", "cpu": nr % cpus, "program": ["online_pages"]} for nr in (0, 1)]
    scenario = {
        "machine": {"cpus": cpus, "memory": memory},
        "engine": {"driver": driver},
        "sanitize": {"leaks": True, "counters": True, "lockdep": True},
        "processes": programs,
    }

    assert "ok" == mmactors.run(scenario).verdict
