"""Recorded programs on a whole machine, VMAs, page tables, TLBs, faults: cachegrind's counts.

The hardware is a configuration: cachegrind's geometry is a machine without an L2, looked up by
virtual addresses, with cachegrind's rule for accesses over two lines; page walks and the kernel
leave its caches alone. There is no second cache beside the machine's.
"""

import pytest
from machines import TRACES, Ran, nr_free, nr_slab, run, scenario_of

from mmactors.arch.trace import Trace
from mmactors.units import MIB
from mmactors.validate.hardware.trace_hardware import (
    CACHEGRIND_FIELDS,
    TLB_FIELDS,
    _cachegrind_config,
    _tlb_config,
)
from mmactors.validate.hardware.traces import read_truth
from mmactors.workload.trace.npz import read_npz

ALL_GEOMETRIES = ("true", "list_chase")
FIRST_GEOMETRIES = ("grep", "sqlite3", "unaligned")


def cases(kind, page_shift=None):
    """Return name and number of the recorded geometries that are run."""
    params = []
    for name in (*ALL_GEOMETRIES, *FIRST_GEOMETRIES):
        recorded = getattr(read_truth(TRACES / f"{name}.json"), kind)
        wanted = [
            number
            for number, case in enumerate(recorded)
            if page_shift is None or case.page_shift == page_shift
        ]
        params += [
            pytest.param(name, number, id=f"{name}[{number}]")
            for number in (wanted if name in ALL_GEOMETRIES else wanted[:1])
        ]
    return params


def run_trace(name, hardware, **engine) -> Ran:
    scenario = scenario_of(
        [f"trace {TRACES}/{name}.npz"], hardware=hardware, size=128 * MIB, **engine
    )
    before = []
    ran = run(scenario, is_logged=False, before=lambda machine: before.append(nr_free(machine)))
    assert before == [nr_free(ran.machine) + nr_slab(ran.machine)]
    return ran


def nr_pages(name):
    """Return how many pages a recorded program touches."""
    trace = read_npz(TRACES / f"{name}.npz")
    last = trace.address + ((trace.meta >> 2) & 0xFFFF) - 1
    return len(set((trace.address >> 12).tolist()) | set((last >> 12).tolist()))


@pytest.mark.parametrize(("name", "number"), cases("cachegrind"))
def test_a_machine_counts_what_cachegrind_counts(name, number):
    """All nine counts, with a fault at each first touch."""
    truth = read_truth(TRACES / f"{name}.json")
    geometry = truth.cachegrind[number]
    ran = run_trace(name, _cachegrind_config(geometry))
    statistics = ran.machine.inspect().cpus[0].hardware

    assert dict(zip(truth.cachegrind_fields, geometry.counts, strict=True)) == dict(
        zip(CACHEGRIND_FIELDS, statistics.cachegrind(), strict=True)
    )
    assert truth.accesses == ran.machine.progress().accesses


@pytest.mark.parametrize(("name", "number"), cases("tlb", page_shift=12))
def test_a_machine_counts_what_the_tlb_simulator_counts(name, number):
    """All nine counts: an access that faulted is looked up once."""
    truth = read_truth(TRACES / f"{name}.json")
    geometry = truth.tlb[number]
    ran = run_trace(name, _tlb_config(geometry))
    statistics = ran.machine.inspect().cpus[0].hardware

    assert dict(zip(truth.tlb_fields, geometry.counts, strict=True)) == dict(
        zip(TLB_FIELDS, statistics.tlb(), strict=True)
    )


def test_each_page_of_a_program_faults_once():
    """What the loader would have mapped is private, so a read takes a page too."""
    ran = run_trace("true", None)

    assert nr_pages("true") == ran.counters["pgfault"]
    assert nr_pages("true") == ran.counters["faults"]


@pytest.mark.parametrize("quantum_ns", [0, 777, 10_000])
def test_the_length_of_batches_changes_no_count(quantum_ns):
    """At quantum 0 too, beside another process on another CPU."""
    counts = []
    for scenario in (
        scenario_of([f"trace {TRACES}/true.npz limit=100000"], cpus=2),
        scenario_of(
            [f"trace {TRACES}/true.npz limit=100000"],
            ["mmap A 64K", "touch A write passes=500"],
            cpus=2,
            quantum_ns=quantum_ns,
        ),
    ):
        statistics = run(scenario, is_logged=False).machine.inspect().cpus[0].hardware
        counts.append((statistics.tlb(), statistics.cachegrind()[:2], statistics.faults))

    assert counts[0] == counts[1]


def test_runs_of_fetches_are_collapsed(monkeypatch):
    """A machine gives the access path fewer rows than there are accesses, and loses none."""
    rows = []
    collapse = Trace.collapse

    def noting(trace, line_bytes):
        collapsed = collapse(trace, line_bytes)
        rows.append((len(trace), len(collapsed), collapsed.nr_accesses))
        return collapsed

    monkeypatch.setattr(Trace, "collapse", noting)
    ran = run_trace("true", None)
    ((before, after, accesses),) = rows

    assert after < 0.7 * before
    assert before == accesses == ran.machine.progress().accesses
