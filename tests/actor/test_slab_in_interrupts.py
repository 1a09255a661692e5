"""Objects allocated and freed by interrupt handlers, and by threads that go to another CPU."""

import errno

import pytest
from attrs import evolve
from machines import run, scenario_of

from mmactors.mm.slab.slab_common import PAGE_OFFSET
from mmactors.sanitize.config import SanitizeConfig
from mmactors.workload.operation.all import parse_operation

CREATE = "kmem_cache_create C size=8K"
ALLOC = "kmem_cache_alloc A cache=C"


def ran(*program):
    """Run a program on two CPUs, under everything that watches."""
    scenario = scenario_of(["thread T cpu=1", *program], size=32 << 20, cpus=2)
    return run(evolve(scenario, sanitize=SanitizeConfig.everything(panic=True)))


def cpus_of(machine, name):
    """Return on which CPUs objects were allocated and freed."""
    return [event["cpu"] for event in machine.events(name)]


def test_a_handler_takes_what_its_cpu_has():
    """The CPU that is called hands it out, and the next free object is its own again."""
    program = [CREATE, f"T: {ALLOC}", f"{ALLOC.replace('A', 'B')} gfp=ATOMIC smp_call=1"]
    machine = ran(*program, "kmem_cache_free B cache=C smp_call=1", "kmem_cache_free A cache=C")

    frees = [event for event in machine.events("kmem_cache_free") if event["name"] == "C"]
    assert machine.results()[program[-1]] >= PAGE_OFFSET
    assert [1, 0] == [event["cpu"] for event in frees]
    assert ["CAL", "CAL"] == [event["vector"] for event in machine.events("ipi_send")][:2]


def test_a_handler_on_the_own_cpu_needs_no_interrupt():
    """smp_call_function_single calls the function with interrupts off."""
    machine = ran("kmalloc A size=64 gfp=NOWAIT smp_call=0", "kfree A smp_call=0")

    assert machine.results()["kmalloc A size=64 gfp=NOWAIT smp_call=0"] >= PAGE_OFFSET


def test_a_handler_gets_no_page_that_its_cpu_has_not():
    """It asks no zone; who may wait for one does."""
    call = "kmalloc A size=4M gfp=ATOMIC"
    found = ran(f"{call} smp_call=1", call).results()

    assert -errno.ENOMEM == found[f"{call} smp_call=1"]
    assert found[call] >= PAGE_OFFSET


def test_what_a_handler_frees_for_good_a_worker_gives_back():
    """Pages go to a list of the CPU, or to the zone, which an interrupt does not ask."""
    machine = ran("kmalloc A size=4M", "kfree A smp_call=1")

    assert {"kworker/1:1"} == {
        event["actor"] for event in machine.events("mm_page_free") if event["order"] == 10
    }


@pytest.mark.parametrize("where", ["asleep", "running"])
def test_a_thread_does_its_next_operation_on_the_cpu_that_it_was_given(where):
    """Whether it sleeps when it is told to go, or is interrupted."""
    busy = ["T& compute 1ms"] if where == "running" else []
    program = ["T: nop", *busy, "sched_setaffinity T cpu=0", "T: kmalloc A size=64", "T: kfree A"]
    machine = ran(*program)

    (moved,) = machine.events("sched_migrate_task")
    assert (1, 0) == (moved["orig_cpu"], moved["dest_cpu"])
    assert {0} == {*cpus_of(machine, "kmalloc"), *cpus_of(machine, "kfree")}
    assert ("RES" in [event["vector"] for event in machine.events("ipi_send")]) == bool(busy)


def test_who_has_ended_goes_nowhere():
    """ESRCH, as for all calls on threads that are gone."""
    program = ["fork P", "P& exit", "sleep 1", "sched_setaffinity P cpu=1"]

    assert -errno.ESRCH == ran(*program).results()[program[-1]]


def test_an_operation_says_by_which_cpu_it_is_done():
    """It is read as it is written."""
    text = "krealloc A size=64 gfp=NOWAIT smp_call=1"

    assert text == str(parse_operation(text))
