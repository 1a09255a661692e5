"""Heap traces through a whole machine: glibc's addresses, its system calls, Linux's page faults."""

import json
from pathlib import Path

import numpy as np
import pytest
from heap_machines import heap_scenario, recorded_rows, run_rows
from machines import run

from mmactors.actors.program import process

REFERENCE = Path(__file__).parent.parent / "reference/malloc"
FAULTS = json.loads((REFERENCE / "minor_faults.json").read_text())["cases"]
QUICK = ("real_sort", "real_zstd", "syn_mmap_threshold_b", "syn_mt_bigheap_b")


def cases(names):
    """Return cases by name, those that are not quick marked as slow."""
    return [
        pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
        for name in sorted(names)
    ]


NO_TRACES = {"usable_sizes", "tcmalloc_lab", "jemalloc_lab"}
TRACES = {path.stem for path in REFERENCE.glob("*.npz")} - NO_TRACES
COUNTED = cases(name for name in TRACES if "steps" in FAULTS.get(name, {}).get("touch", {}))
"""Those whose minor faults were recorded, operation by operation."""
MEMALIGN_BREAK, MEMALIGN_TOP = 0x5555_5566_B000, 0x7FFF_F351_E000
"""Where the recording has its break, and the upper end of its mappings."""


def recorded_faults(name):
    """Return the minor faults of each operation."""
    arrays = np.load(REFERENCE / f"{name}.npz")
    faults = np.zeros(len(arrays["op"]), np.int64)
    steps = np.array(FAULTS[name]["touch"]["steps"]).reshape(-1, 2)
    faults[np.cumsum(steps[:, 0])] = steps[:, 1]
    return faults.tolist()


@pytest.fixture
def as_recorded(request, monkeypatch):
    """Let the memory of memalign's trace lie where it lay: its alignments depend on addresses."""

    def lay(name):
        if name != "syn_memalign_mix_b":
            return
        map_libraries = process.map_libraries

        def moved(mm, library):
            mm.start_brk = mm.brk = MEMALIGN_BREAK
            mm.mmap_base = MEMALIGN_TOP + 0x2000
            map_libraries(mm, library)

        monkeypatch.setattr(process, "map_libraries", moved)

    return lay


@pytest.mark.parametrize("name", COUNTED)
def test_addresses_calls_and_faults_are_those_of_glibc_and_linux(name, as_recorded):
    """Of each operation: what it returned, what it asked the kernel for, how often it faulted."""
    as_recorded(name)
    recorded = recorded_rows(REFERENCE / f"{name}.npz")

    done, ran = run_rows(REFERENCE / f"{name}.npz")

    assert "ok" == ran.machine.summary().verdict
    assert recorded.calls == done.calls
    assert recorded.places == done.places
    assert recorded_faults(name) == done.faults
    assert FAULTS[name]["touch"]["minflt"] == sum(done.faults)


@pytest.mark.parametrize("name", COUNTED)
def test_without_metadata_faults_are_those_of_a_byte_of_each_object(name, as_recorded):
    """The first write to a page that is not there any more, or was not yet; the rest is equal."""
    as_recorded(name)
    recorded = recorded_rows(REFERENCE / f"{name}.npz")

    done, _ = run_rows(REFERENCE / f"{name}.npz", metadata_in_memory=False)

    assert recorded.calls == done.calls
    assert recorded.places == done.places
    assert done.touches == done.faults
    assert sum(done.faults) > 0


@pytest.mark.parametrize("name", cases(TRACES))
def test_without_a_log_the_same_happens(name):
    """Rows run many at once then; time, counters and caches are those of one at a time."""
    scenario = heap_scenario(REFERENCE / f"{name}.npz")

    logged, silent = run(scenario), run(scenario, is_logged=False)

    assert logged.counters == silent.counters
    assert logged.machine.now_ns == silent.machine.now_ns
