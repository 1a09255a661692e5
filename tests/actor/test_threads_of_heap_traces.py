"""Threads of a heap trace that are in the library at once: its locks keep the heap whole."""

import random

import pytest

import mmactors

SIZES = (24, 100, 1000, 3000, 200_000)
"""Of caches, bins, and mappings, which come and go at the same addresses."""


def rows_of(seed, nr_rows):
    """Yield rows of four threads that free what any of them allocated, each object once."""
    draw, live = random.Random(seed), []
    for row in range(nr_rows):
        if live and draw.random() < 0.48:
            yield f"free,{draw.randrange(4)},{live.pop(draw.randrange(len(live)))},,"
        else:
            yield f"malloc,{draw.randrange(4)},{row},{draw.choice(SIZES)},"
            live.append(row)


def run_rows(folder, rows, **process):
    path = folder / "threads.csv"
    path.write_text("\n".join(["op,tid,id,size,arg", *rows]) + "\n")
    program = [f"heap_trace {path} order=free touch=all"]
    return mmactors.run(
        {
            "machine": {"cpus": 3, "memory": {"size": "128M"}},
            "engine": {"driver": "inline"},
            "record": {"events": []},
            "processes": [{"name": "p", "program": program, **process}],
        }
    )


@pytest.mark.parametrize("metadata", [True, False])
def test_a_right_program_dies_of_no_order(tmp_path, metadata):
    """Trims, arenas that grow and mappings of others go on while a thread allocates."""
    result = run_rows(tmp_path, rows_of(1, 400), metadata_in_memory=metadata)

    assert ("ok", ()) == (result.verdict, result.deaths)


def test_a_mapping_that_another_thread_is_given_keeps_its_header(tmp_path):
    """The address of a block that is unmapped is used again before munmap has returned."""
    rows = [
        row
        for nth in range(0, 60, 2)
        for row in (
            f"malloc,1,{nth},400000,",
            f"malloc,2,{nth + 1},400000,",
            f"free,3,{nth},,",
            f"free,1,{nth + 1},,",
        )
    ]
    fixed = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}
    result = run_rows(tmp_path, rows, environment=fixed)

    assert ("ok", ()) == (result.verdict, result.deaths)
