"""Operations on pages, as a kernel module does them for a program."""

import errno

import pytest
from attrs import evolve
from machines import EXACT, nr_free, run, scenario_of

from mmactors.engine.report import Deadlock
from mmactors.mm.page_alloc.buddy import PAGEBLOCK_PAGES
from mmactors.races.pair import with_rules
from mmactors.sanitize.config import SanitizeConfig
from mmactors.workload.program import Program


def results(*program, **options):
    """Run a program; return what its operations gave, and the machine."""
    ran = run(scenario_of(list(program), size=32 << 20, **options))
    return ran.results(), ran.machine


def test_a_block_is_allocated_and_given_back():
    """The result is its first frame; the pages are free again."""
    found, machine = results("alloc_pages A order=3", "free_pages A")
    _, idle = results("nop")

    assert (0, 0) == (found["alloc_pages A order=3"] % 8, found["free_pages A"])
    assert nr_free(idle) == nr_free(machine)


def test_a_block_is_given_back_once():
    """The second time is an error of the module's."""
    found, _ = results("alloc_pages A", "free_pages A", "free_pages A")

    assert -errno.EINVAL == found["free_pages A"]


def test_a_compound_block_is_given_back_whole():
    """Its first page knows the order."""
    found, machine = results("alloc_pages A order=2 comp", "free_pages A")
    _, idle = results("nop")

    assert 0 == found["free_pages A"]
    assert nr_free(idle) == nr_free(machine)


def test_draining_empties_all_cpus_lists():
    """Those of the CPU that asks and of the others."""
    program = (
        "thread T cpu=1",
        "alloc_pages A",
        "alloc_pages B",
        "T: free_pages A",
        "free_pages B",
    )
    _, before = results(*program, cpus=2)
    _, after = results(*program, "drain_all_pages", cpus=2)

    def counts(machine):
        zones = machine.inspect().zones
        return [sum(zone.pcps[cpu].count for zone in zones) for cpu in range(2)]

    assert all(counts(before))
    assert counts(before)[0] > counts(after)[0]
    assert counts(before)[1] > counts(after)[1]


def test_a_pageblock_with_an_unmovable_page_is_not_isolated():
    """-EBUSY; with a page that its owner can move it is."""
    busy, _ = results("alloc_pages A gfp=RECLAIMABLE", "start_isolate_page_range A")
    done, _ = results("alloc_pages A gfp=RECLAIMABLE movable", "start_isolate_page_range A")

    assert -errno.EBUSY == busy["start_isolate_page_range A"]
    assert 0 == done["start_isolate_page_range A"]


def test_isolation_is_undone():
    """All pages are free for everybody again."""
    _, machine = results(
        "alloc_pages A gfp=RECLAIMABLE movable",
        "start_isolate_page_range A",
        "undo_isolate_page_range A",
        "free_pages A",
    )
    _, idle = results("nop")

    assert nr_free(idle) == nr_free(machine)


@pytest.mark.parametrize("broken", [(), ("offline_disables_pcp",)])
def test_a_pageblock_goes_offline_when_its_last_page_is_free(broken):
    """Also as v5.8 did it, as long as nobody is in the middle of freeing."""
    program = [
        "thread T cpu=1",
        "alloc_pages A gfp=RECLAIMABLE movable",
        "T& offline_pages A",
        "compute 50us",
        "free_pages A",
        "wait",
    ]
    ran = run(with_rules(scenario_of(program, cpus=2, size=32 << 20, **EXACT), broken=broken))
    _, idle = results("nop", cpus=2)

    assert 0 == ran.results()["offline_pages A"]
    assert nr_free(idle) - PAGEBLOCK_PAGES == nr_free(ran.machine)


def test_a_fatal_signal_ends_the_wait_for_pages_that_are_in_use():
    """-EINTR, and the lists keep pages as before."""
    program = [
        "fork C",
        "C: alloc_pages A gfp=RECLAIMABLE movable",
        "C: thread T cpu=1",
        "T& offline_pages A",
        "compute 50us",
        "kill C",
        "reap",
    ]
    ran = run(scenario_of(program, cpus=2, size=32 << 20, **EXACT))
    zones = ran.machine.inspect().zones

    assert [-errno.EINTR] == [
        event["ret"] for event in ran.events("sys_exit") if event["call"] == "offline_pages A"
    ]
    assert all(pcp.high > 0 for pcp in zones[1].pcps)


def test_memory_that_nobody_is_left_to_free_keeps_nobody_waiting():
    """The run ends at once, and says for which page; Linux would wait for a signal."""
    program = ["alloc_pages A gfp=RECLAIMABLE movable", "sleep 1", "offline_pages A"]

    with pytest.raises(Deadlock, match="nobody is left to free page 0x1c00, for which cpu0/p0 "):
        run(scenario_of(program, cpus=2, size=32 << 20))


def test_two_do_not_go_offline_at_once():
    """Who comes second waits until the first is done (mem_hotplug_lock)."""
    program = [
        "thread T cpu=1",
        "thread U cpu=2",
        "alloc_pages A order=9 gfp=RECLAIMABLE movable",
        "alloc_pages B order=9 gfp=RECLAIMABLE movable",
        "T& offline_pages A",
        "compute 20us",
        "U& offline_pages B",
        "free_pages B",
        "compute 100us",
        "free_pages A",
        "wait",
    ]
    ran = run(scenario_of(program, cpus=3, size=64 << 20, **EXACT))
    done = [event["call"] for event in ran.events("sys_exit") if "offline" in event["call"]]

    assert ["offline_pages A", "offline_pages B"] == done
    assert all(pcp.high > 0 for pcp in ran.machine.inspect().zones[1].pcps)


def test_lists_are_as_long_as_before_when_memory_is_offline():
    """zone_pcp_disable is undone."""
    _, machine = results("alloc_pages A gfp=RECLAIMABLE", "free_pages A", "offline_pages A", cpus=2)

    assert all(pcp.high > 0 for pcp in machine.inspect().zones[1].pcps)


def test_a_block_that_was_never_allocated_is_an_error_of_the_program():
    """Found before anything runs."""
    (problem,) = Program.parse(["free_pages A"]).problems

    assert "A is not the name of a block here" == problem.found


@pytest.mark.parametrize(
    "program",
    [
        ["alloc_pages A order=2"],
        ["alloc_pages A comp", "alloc_pages A movable"],
        ["alloc_pages B order=9", "alloc_pages B gfp=HIGHUSER"],
        ["alloc_pages A", "alloc_pages A order=1", "free_pages A"],
        ["fork C", "C: alloc_pages A order=1", "kill C"],
    ],
)
def test_what_a_module_keeps_is_in_use_and_not_lost(program):
    """Also when its name means another block now, and when the program has ended."""
    sanitize = SanitizeConfig(leaks=True, page_state=True, counters=True)

    ran = run(evolve(scenario_of(program), sanitize=sanitize))

    assert "ok" == ran.machine.summary().verdict


def test_all_processes_of_a_program_know_its_blocks():
    """What one has allocated another gives back."""
    found, machine = results("fork C", "C: alloc_pages A order=3", "free_pages A")
    _, idle = results("fork C")

    assert 0 == found["free_pages A"]
    assert nr_free(idle) == nr_free(machine)
