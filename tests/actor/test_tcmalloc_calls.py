"""Programs that are linked with tcmalloc: its texts, its end, its locks on a machine."""

import pytest
from attrs import evolve
from machines import EXACT, run, scenario_of

from mmactors.mm.fault.siginfo import SIGABRT, SIGSEGV


def ran(*program, environment=None, cpus=2, **options):
    scenario = scenario_of(list(program), cpus=cpus, **{**EXACT, **options})
    processes = tuple(
        evolve(process, malloc="tcmalloc", environment=environment or {})
        for process in scenario.processes
    )
    return run(evolve(scenario, processes=processes))


def said(machine):
    return [event["msg"] for event in machine.events("libc_message")]


def test_malloc_stats_says_what_is_in_use():
    (text,) = said(ran("malloc A 300K", "malloc_stats"))
    in_use = int(text.split("\n")[1].split()[1])

    # What the process's start keeps, the block, and the buffer for the text.
    assert 73728 + 16 + 8 + 38 * 8192 + 16384 == in_use


def test_a_pointer_into_a_large_block_ends_the_process():
    machine = ran("malloc A 300K", "alias B A+8K 4K", "free B")
    (message,) = said(machine)

    assert message.startswith("src/tcmalloc.cc:333] Attempt to free invalid pointer 0x")
    assert SIGABRT == machine.machine.inspect().processes[0].killed_by


def test_a_large_block_that_is_freed_twice_leads_nowhere():
    """A span that is in a list twice has no links when it is taken out once."""
    program = ["malloc A 300K", "malloc B 300K", "free A", "free A", "malloc C 300K"]
    machine = ran(*program, "malloc D 300K")

    assert SIGSEGV == machine.machine.inspect().processes[0].killed_by
    assert [] == said(machine)


def test_a_list_without_a_span_says_so():
    machine = ran("malloc A 900K", "malloc B 200K", environment={"TCMALLOC_HEAP_LIMIT_MB": "1"})

    assert ["src/central_freelist.cc:330] tcmalloc: allocation failed 204800 "] == said(machine)


@pytest.mark.parametrize("cpus", [1, 2])
def test_threads_that_need_spans_wait_for_the_page_heap(cpus):
    """Two threads get and give large blocks at the same time."""
    program = ["malloc W 100", f"thread T cpu={cpus - 1}", "T: malloc V 100"]
    for nth in range(20):
        program += [f"T& malloc A{nth} 300K", f"T& free A{nth}"]
    for nth in range(20):
        program += [f"malloc B{nth} 300K", f"free B{nth}"]
    locks = ran(*program, "wait", cpus=cpus).machine.inspect().locks
    side = locks["pageheap_lock"].write

    assert 80 <= side.acquisitions
    assert (side.contentions > 0) is (cpus > 1)
