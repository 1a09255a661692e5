"""Heap traces through a whole machine: addresses and system calls of tcmalloc and of jemalloc.

Where mappings lie is up to the machine, which has no libstdc++ and no dynamic linker; so a region
of a recording is one of the machine's, moved as a whole. jemalloc places a large block
(16 KiB or more) within its first page by the address of its thread's data: compared by page.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve
from heap_machines import BRK, MAP_STACK, MMAP, heap_scenario, rows_done
from machines import run

from mmactors.actors.program import process
from mmactors.malloc.config import JEMALLOC, TCMALLOC
from mmactors.units import PAGE_SIZE

REFERENCE = Path(__file__).parent.parent / "reference/malloc/preloaded"
QUICK = ("real_gitgc", "real_sort", "real_tar", "real_zstd")
LIBRARIES = {"tc": TCMALLOC, "je_n1": JEMALLOC, "je_n1_notc": JEMALLOC}
"""je_default is left out: when its pages are purged depends on time."""
WHERE_IT_LAY = {("syn_memalign_mix_b", "je_n1_notc")}
"""Left out: where blocks of large alignments are found depends on where jemalloc's mappings lie."""
SMALL_MAXCLASS = 14_336
"""Blocks of larger requests are placed by the seed: they are of jemalloc's large classes."""
NOWHERE = -100


def recorded_configurations():
    """Return name and configuration, those that take long marked as slow."""
    for path in sorted(REFERENCE.glob("*.npz")):
        for name in json.loads(bytes(np.load(path)["meta"]))["allocs"]:
            if name in LIBRARIES and (path.stem, name) not in WHERE_IT_LAY:
                marks = [] if path.stem in QUICK else pytest.mark.slow
                yield pytest.param(path.stem, name, marks=marks, id=f"{path.stem}-{name}")


def run_on_machine(path, library, environment):
    """Return what the rows of a trace did in a process that is linked with a library."""
    scenario = heap_scenario(path)
    linked = evolve(scenario.processes[0], malloc=library, environment=environment)
    ran = run(evolve(scenario, processes=(linked,)))
    assert "ok" == ran.machine.summary().verdict
    return rows_done(ran, np.load(path)["size"].tolist())


def last_of_first_row(calls, nr_recorded):
    """Leave out what the library asks for as it starts, if its first call is the first row."""
    first = [call for call in calls if call[0] == 0]
    return first[len(first) - nr_recorded :] + [call for call in calls if call[0] > 0]


class Moved:
    """Regions of a recording, and where they are on a machine."""

    def __init__(self):
        self.bases = {}

    def holds(self, recorded, ours, *, by_page):
        """Learn where a region is from its first address, and hold all others against it."""
        (region, offset), (own_region, own_offset) = recorded, ours
        if by_page:
            offset, own_offset = (
                offset // PAGE_SIZE * PAGE_SIZE,
                own_offset // PAGE_SIZE * PAGE_SIZE,
            )
        here = own_region, own_offset - offset
        return self.bases.setdefault(region, here) == here


@pytest.fixture
def break_as_recorded(monkeypatch):
    """Let the program break begin where it did: blocks of large alignments depend on it."""

    def lay(page_break_base):
        map_libraries = process.map_libraries

        def moved(mm, library):
            mm.start_brk = mm.brk = page_break_base
            map_libraries(mm, library)

        monkeypatch.setattr(process, "map_libraries", moved)

    return lay


@pytest.mark.parametrize(("name", "configuration"), list(recorded_configurations()))
def test_addresses_and_calls_are_those_of_the_library(name, configuration, break_as_recorded):
    """Of each operation: what it returned, and what it asked the kernel for."""
    path = REFERENCE / f"{name}.npz"
    arrays = np.load(path)
    meta = json.loads(bytes(arrays[f"{configuration}.meta"]))
    environment = {key: value for key, value in meta["env"].items() if key != "LD_PRELOAD"}
    sizes, n = arrays["size"].tolist(), len(arrays["op"])
    rows = [row for row in arrays[f"{configuration}.sys"].tolist() if row[0] < n]
    stacks = {row[2] for row in rows if row[1] == MMAP and row[5] >> 8 & MAP_STACK}
    recorded = [row for row in rows if row[0] >= 0 and row[2] not in stacks]

    break_as_recorded(meta["page_break_base"])
    done = run_on_machine(path, LIBRARIES[configuration], environment)

    moved = Moved()
    places = zip(
        arrays[f"{configuration}.region"].tolist(),
        arrays[f"{configuration}.offset"].tolist(),
        strict=True,
    )
    is_jemalloc = LIBRARIES[configuration] == JEMALLOC
    for nth, (place, own) in enumerate(zip(places, done.places, strict=True)):
        if place[0] == NOWHERE or own[0] == NOWHERE:
            assert place[0] == own[0], nth
        else:
            by_page = is_jemalloc and sizes[nth] > SMALL_MAXCLASS
            assert moved.holds(place, own, by_page=by_page), (nth, place, own, moved.bases)
    if not is_jemalloc:
        assert (0, 0) == moved.bases[0], "the program break's heap begins where it is"
    calls = last_of_first_row(done.calls, sum(row[0] == 0 for row in recorded))
    assert [row[:2] for row in recorded] == [list(call[:2]) for call in calls]
    for row, own in zip(recorded, calls, strict=True):
        op, call, region, offset, length, argument, ret = row
        if call == BRK:
            assert (offset, length, ret) == (own[3], own[4], own[6]), op
        else:
            assert (length, argument) == (own[4], own[5]), op
            assert call == MMAP or moved.holds((region, offset), own[2:4], by_page=False), op
