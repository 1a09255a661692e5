"""`heap_trace`: heap traces as programs, their threads, their mistakes, what is counted."""

from pathlib import Path

import pytest
from attrs import evolve
from heap_machines import heap_scenario
from machines import run, scenario_of

import mmactors
from mmactors.errors import UserError

REFERENCE = Path(__file__).parent.parent / "reference/malloc"
HEAD = "op,tid,id,size,arg\n"


@pytest.fixture
def trace(tmp_path):
    """Write rows of a heap trace, and return their file."""

    def write(*rows):
        path = tmp_path / "trace.csv"
        path.write_text(HEAD + "".join(f"{row}\n" for row in rows))
        return path

    return write


def heap_of(ran, process="p0"):
    """Return the counters of a process's heap, by the words behind `malloc_`."""
    head = f"process[{process}].malloc_"
    counters = ran.counters.items()
    return {name.removeprefix(head): value for name, value in counters if name.startswith(head)}


def test_a_trace_that_frees_twice_is_the_programs_fault(trace):
    """The library aborts, and the death names the line of the trace."""
    path = trace("malloc,0,1,100,0", "malloc,0,2,9,0", "free,0,1,0,0", "free,0,1,0,0")

    ran = run(heap_scenario(path, events=("*",)))

    (death,) = ran.machine.deaths()
    assert "SIGABRT" == death.signal
    assert f"free(): double free detected in tcache 2; {path}:5: " in death.message
    assert death.message.endswith("its object is freed, and was freed before")
    (message,) = ran.events("libc_message")
    assert "free(): double free detected in tcache 2" == message["msg"]
    assert {"calls": 3, "live_blocks": 1, "live_bytes": 9}.items() <= heap_of(ran).items()


def test_a_free_of_what_nobody_has_allocated_names_its_line(trace):
    """It may be where no program has memory."""
    path = trace("malloc,0,1,100,0", "free,0,-4096,0,0")

    ran = run(heap_scenario(path), is_logged=False)

    (death,) = ran.machine.deaths()
    assert ("SIGSEGV", 4096 - 8) == (death.signal, death.address)


def test_a_damaged_trace_is_refused_with_its_line(trace):
    """Whoever reads it: before the run if all is read then, else when it begins."""
    path = trace("malloc,0,1,100,0", "malloc,0,1,100,0")

    with pytest.raises(UserError, match=r"trace.csv:3: object 1 is allocated"):
        mmactors.run(heap_scenario(path))


def test_threads_begin_and_end_where_the_trace_says(trace):
    """One that it does not begin is there before the first row."""
    path = trace(
        "malloc,0,1,100,0",
        "thread_begin,1,0,0,0",
        "malloc,1,2,1000,0",
        "free,0,2,0,0",
        "malloc,2,3,50,0",
        "thread_end,1,0,0,0",
        "thread_begin,1,0,0,0",
        "malloc,1,4,7,0",
        "free,2,1,0,0",
    )

    ran = run(heap_scenario(path, cpus=3, events=("sys_*", "sched_process_fork")))

    assert "ok" == ran.machine.summary().verdict
    assert 9 in ran.results().values()
    calls = [event["call"] for event in ran.events("sys_enter")]
    first = calls.index("malloc #1 100")
    assert 2 == sum(call == "mmap" for call in calls[first : calls.index("malloc #3 50")])
    begun = [event["child_comm"] for event in ran.events("sched_process_fork")]
    assert ["p0/trace1.2", "p0/trace1.1", "p0/trace1.1#2"] == begun
    assert {"live_blocks": 2, "live_bytes": 57}.items() <= heap_of(ran).items()


@pytest.mark.parametrize("name", ["real_zstd", "syn_mt_bigheap_b"])
def test_threads_that_go_on_freely_do_all_rows(name):
    """An object is there before it is freed, whoever frees it; what is live at last is the same."""
    path = REFERENCE / f"{name}.npz"

    in_order = run(heap_scenario(path), is_logged=False)
    free = run(heap_scenario(path, "order=free"), is_logged=False)

    assert "ok" == free.machine.summary().verdict
    for what in ("calls", "live_bytes", "live_blocks"):
        assert heap_of(in_order)[what] == heap_of(free)[what]
    if name == "syn_mt_bigheap_b":
        assert free.machine.now_ns < in_order.machine.now_ns


def test_touch_says_what_is_written(trace):
    """Nothing, the first byte, or all bytes: each page faults."""
    path = trace("malloc,0,1,20000,0", "malloc,0,2,0,0")

    faults = [
        run(heap_scenario(path, f"touch={touch}", metadata_in_memory=False)).counters[
            "process[p0].min_flt"
        ]
        for touch in ("none", "first", "all")
    ]

    assert [0, 1, 6] == faults


def test_what_is_live_is_counted_over_time():
    """A block that is larger than was asked for, and what else is from the kernel."""
    names = ("process[p0].anon_rss", "process[p0].malloc_*")
    scenario = heap_scenario(REFERENCE / "real_tar.npz")
    record = evolve(scenario.record, sample=10_000, counters=names, events=())

    ran = run(evolve(scenario, record=record), is_logged=False)

    series = ran.machine.series()
    head = "process[p0].malloc_"
    live, usable, system = (
        series[f"{head}{which}_bytes"] for which in ("live", "usable", "system")
    )
    assert len(series) > 3
    assert len(set(live)) > 3
    assert all(each[0] <= each[1] <= each[2] for each in zip(live, usable, system, strict=True))
    assert max(series["process[p0].anon_rss"]) > 4


def test_operations_count_what_is_live_too():
    """malloc and its like, each block until it is freed, resized or the heap's fork."""
    program = [
        "malloc A 100",
        "calloc B 3 7",
        "realloc A 50",
        "malloc C 24",
        "free C",
        "malloc D 1M",
    ]

    heap = heap_of(run(scenario_of(program)))

    assert {"live_blocks": 3, "live_bytes": 71 + (1 << 20), "calls": 6}.items() <= heap.items()
    assert (56 + 24 + 0x101000 - 16, 1) == (heap["usable_bytes"], heap["mmap"])
    free = heap["system_bytes"] - heap["free_bytes"] - heap["usable_bytes"]
    assert 0 < free < 2000


def test_a_process_that_never_allocates_has_no_heap():
    """Its counters are there, and 0."""
    assert {0} == set(heap_of(run(scenario_of(["mmap A 4K", "touch A write"]))).values())
