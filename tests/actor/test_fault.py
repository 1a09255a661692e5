"""Page faults: what is mapped, what is counted, what is a signal, and what memory's end does."""

import numpy as np
import pytest
from machines import PROMISES_ALWAYS, final_status, run, run_to_nothing, scenario_of

from mmactors.actors.fault import fault as fault_path
from mmactors.actors.fault.fault import PF_INSTR, PF_PROT, PF_USER, PF_WRITE
from mmactors.arch.trace import LOAD, SIZE_SHIFT, Trace
from mmactors.engine.guard import GUARD_VARIABLE
from mmactors.mm.fault.siginfo import SEGV_ACCERR, SEGV_MAPERR, SIGKILL, SIGSEGV
from mmactors.mm.page_alloc.gfp import GFP_HIGHUSER_MOVABLE, GFP_NORETRY, GFP_NOWAIT, GFP_ZERO
from mmactors.units import GIB, MIB, PAGE_SIZE


def signals(ran):
    return [(event["sig"], event["code"]) for event in ran.events("signal_generate")]


def allocated(ran):
    """Return who got pages; those of slabs, which others ask for in another way, left out."""
    return [each for each in ran.events("mm_page_alloc") if not each["gfp_flags"] & GFP_NORETRY]


def test_a_first_write_takes_a_page():
    """Each page of a region faults once and is resident afterwards."""
    ran = run_to_nothing(scenario_of(["mmap A 64K", "touch A write passes=3"]))

    assert 16 == ran.counters["pgfault"]
    assert "64 kB" == final_status(ran)["VmRSS"]
    assert [PF_USER | PF_WRITE] * 16 == [
        event["error_code"] for event in ran.events("page_fault_user")
    ]


def test_reads_map_the_zero_page():
    """No page is taken but for tables; nothing is resident."""
    ran = run_to_nothing(scenario_of(["mmap A 64K", "touch A read passes=3"]))
    tables = int(final_status(ran)["VmPTE"].split()[0]) // 4

    assert 16 == ran.counters["pgfault"]
    assert tables + 1 == len(allocated(ran))
    assert "0 kB" == final_status(ran)["VmRSS"]


def test_a_write_replaces_the_zero_page():
    """A second fault, on protection, takes a page; the stale translation is flushed first."""
    ran = run_to_nothing(
        scenario_of(["mmap A 64K", "touch A read", "touch A write", "touch A read"])
    )

    assert 32 == ran.counters["pgfault"]
    assert "64 kB" == final_status(ran)["VmRSS"]
    assert [PF_USER | PF_WRITE | PF_PROT] * 16 == [
        event["error_code"] for event in ran.events("page_fault_user")[16:]
    ]
    assert [1] * 16 == [event["pages"] for event in ran.events("tlb_flush") if event["pages"] == 1]


def test_an_access_outside_all_areas_is_a_segmentation_fault():
    """SIGSEGV with MAPERR, if it is caught, ends the operation alone; it is no minor fault."""
    ran = run_to_nothing(
        scenario_of(
            ["mmap A 64K", "munmap A", "touch A write", "mmap B 8K", "touch B write"],
            on_signal="continue",
        )
    )

    assert [(SIGSEGV, SEGV_MAPERR)] == signals(ran)
    assert "8 kB" == final_status(ran)["VmRSS"]
    assert 2 == ran.machine.inspect().process(1).min_flt


@pytest.mark.parametrize(
    ("prot", "access", "is_allowed"),
    [
        ("rw", "write", True),
        ("r", "read", True),
        ("r", "write", False),
        ("none", "read", False),
        ("none", "write", False),
        ("rx", "write", False),
    ],
)
def test_an_access_that_the_area_forbids_is_a_segmentation_fault(prot, access, is_allowed):
    """SIGSEGV with ACCERR, at the first page."""
    ran = run_to_nothing(scenario_of([f"mmap A 16K prot={prot}", f"touch A {access}"]))

    assert ([] if is_allowed else [(SIGSEGV, SEGV_ACCERR)]) == signals(ran)


def test_a_forbidden_write_to_a_page_that_was_read_is_a_segmentation_fault():
    """The entry is present; the area decides."""
    ran = run_to_nothing(scenario_of(["mmap A 4K prot=r", "touch A read", "touch A write"]))

    assert [(SIGSEGV, SEGV_ACCERR)] == signals(ran)
    assert [PF_USER, PF_USER | PF_WRITE | PF_PROT] == [
        event["error_code"] for event in ran.events("page_fault_user")
    ]


def test_instructions_fault_as_such():
    """The first instruction of a recorded program traps with the bit for fetches."""
    from machines import TRACES

    ran = run_to_nothing(scenario_of([f"trace {TRACES}/true.npz limit=1000"]))

    assert PF_USER | PF_INSTR == ran.events("page_fault_user")[0]["error_code"]


@pytest.mark.parametrize("quantum_ns", [0, 10_000])
def test_the_end_of_memory_kills_the_process_and_the_machine_goes_on(quantum_ns):
    """A failed allocation is an event and a signal; the other process never notices."""
    ran = run_to_nothing(
        scenario_of(
            ["mmap A 1G", "touch A write", "touch A write"],
            ["mmap A 1M", "touch A write passes=2", "munmap A", "mmap B 4K", "touch B write"],
            cpus=2,
            size=48 * MIB,
            kernel=PROMISES_ALWAYS,
            quantum_ns=quantum_ns,
        )
    )

    assert [(SIGKILL, 0)] == signals(ran)
    refused = [event["gfp_flags"] for event in allocated(ran) if event["pfn"] is None]
    assert [GFP_HIGHUSER_MOVABLE | GFP_ZERO] == [gfp for gfp in refused if gfp != GFP_NOWAIT]
    assert GFP_NOWAIT in refused, "nor is there memory to note in what is being given back"
    assert 1 == ran.counters["processes_killed"]
    assert "4 kB" == final_status(ran, 2)["VmRSS"]
    assert ran.machine.is_complete


def test_a_process_that_gets_no_page_table_is_killed():
    """Memory may end with a table as with a page: far apart, each page needs one."""
    ran = run(
        scenario_of(
            ["mmap A 1G", "touch A write order=rand:1 count=20000"],
            size=48 * MIB,
            kernel=PROMISES_ALWAYS,
        ),
        is_logged=False,
    )

    assert ran.machine.is_complete
    assert 1 == ran.counters["processes_killed"]
    assert 1 == ran.machine.inspect().nr_page_tables, "that of the kernel itself"


@pytest.mark.parametrize("seed", range(4))
def test_two_threads_that_fault_on_one_page_map_it_once(seed):
    """At quantum 0 both take a page; who comes second gives it back."""
    ran = run_to_nothing(
        scenario_of(
            ["mmap A 256K", "thread T cpu=1", "T& touch A write", "touch A write", "wait"],
            cpus=2,
            quantum_ns=0,
            policy="seeded",
            seed=seed,
        )
    )
    # Not of a list are pages that came too late, what exit gathers in, and the top table.
    batches = sum(event["gfp_flags"] == GFP_NOWAIT for event in allocated(ran))
    freed, of_lists = ran.events("mm_page_free"), ran.events("mm_page_free_batched")
    too_late = len(freed) - len(of_lists) - batches - 1
    tables = int(final_status(ran)["VmPTE"].split()[0]) // 4

    assert "256 kB" == final_status(ran)["VmRSS"]
    assert 64 + tables + 1 + batches + too_late == len(allocated(ran))
    assert too_late > 0


@pytest.mark.parametrize("seed", range(4))
def test_readers_and_writers_of_one_page_end_with_one_page(seed):
    """One maps the zero page where the other writes; whoever wins, the writes stay mapped."""
    ran = run_to_nothing(
        scenario_of(
            ["mmap A 256K", "thread T cpu=1", "T& touch A read", "touch A write", "wait"],
            cpus=2,
            quantum_ns=0,
            policy="seeded",
            seed=seed,
        )
    )

    assert "256 kB" == final_status(ran)["VmRSS"]
    assert [] == signals(ran)


def _with_the_way(monkeypatch, way, **options):
    """Run a program whose faults are served in one way of three: what came of it, to the last."""
    fault = "mmactors.actors.fault.fault"
    with monkeypatch.context() as patch:
        if way == "waiting":
            patch.setattr(f"{fault}._map_at_once", lambda *_arguments: False)
        elif way == "general":
            patch.setattr(f"{fault}.find_untouched", lambda *_arguments: None)
        program = [
            "mmap A 1M",
            "thread T cpu=1",
            "T& touch A 0..160 write",
            "touch A 96..255 write",
        ]
        ran = run(scenario_of([*program, "wait", "munmap A"], cpus=2, size=GIB, **options))
    return ran.log, ran.counters, ran.machine.inspect().locks


@pytest.mark.parametrize("way", ["waiting", "general"])
@pytest.mark.parametrize("options", [{"quantum_ns": 0}, {"quantum_ns": 10_000}, {}])
def test_the_short_way_of_a_fault_gives_the_log_of_the_long_ones(monkeypatch, way, options):
    """To map at once, to wait for the rest, and to begin with nothing known are one mechanism."""
    short = _with_the_way(monkeypatch, "short", **options)
    other = _with_the_way(monkeypatch, way, **options)

    assert short[0].splitlines() == other[0].splitlines()
    assert short[1:] == other[1:]


def test_the_short_way_is_taken_by_nearly_all_first_writes(monkeypatch):
    """Else the test above compares nothing. Guarded runs go the long way, step by step."""
    monkeypatch.delenv(GUARD_VARIABLE, raising=False)
    taken = []
    at_once = fault_path._map_at_once

    def count(*arguments):
        taken.append(at_once(*arguments))
        return taken[-1]

    monkeypatch.setattr(fault_path, "_map_at_once", count)
    ran = run(scenario_of(["mmap A 1M", "touch A write"], size=GIB))

    assert sum(taken) > 0.9 * ran.counters["pgfault"]


@pytest.mark.parametrize("nr_pieces", [0, 1, 2, 3])
def test_a_trace_that_is_repeated_does_all_of_it_each_time(monkeypatch, tmp_path, nr_pieces):
    """What comes in one piece is read once; what does not is read again."""
    trace = tmp_path / "trace"
    trace.touch()
    meta = np.array([LOAD | 1 << SIZE_SHIFT])
    pieces = [Trace(np.array([0x7D00000000 + nth * PAGE_SIZE]), meta) for nth in range(nr_pieces)]
    opened = []

    def open_trace(path, **_):
        opened.append(path)
        yield from pieces

    monkeypatch.setattr("mmactors.actors.program.access_calls.open_trace", open_trace)
    ran = run_to_nothing(scenario_of([f"trace {trace} repeat=5"]))

    assert 5 * nr_pieces == ran.counters["read.references"]
    assert (1 if nr_pieces < 2 else 5) == len(opened)
