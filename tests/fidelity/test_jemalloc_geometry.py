"""jemalloc's classes, slabs and caches are those that Debian's libjemalloc says and shows."""

import json
from pathlib import Path

import pytest
from jemallocs import JeGuest

from mmactors.malloc.jemalloc.boot import shards_of, slab_bytes_of
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.size_classes import LARGE_MINCLASS, NR_BINS, NR_SIZES, index2size

REFERENCE = Path(__file__).parent.parent / "reference/malloc/jemalloc_geometry.json"
GEOMETRY = json.loads(REFERENCE.read_text())
MOST_CHANGES = 60
"""Of each kind were noted."""


def test_all_classes_and_slabs_are_the_recorded_ones():
    options = JemallocOptions()
    for index, size, nr_regions, slab_bytes, nr_shards in GEOMETRY["bins"]:
        assert index2size(index) == size
        assert slab_bytes_of(options, index) == slab_bytes
        assert slab_bytes // size == nr_regions
        assert shards_of(options, index) == nr_shards
    large = [index2size(index) for index in range(NR_BINS, NR_SIZES)]
    assert large == GEOMETRY["large_classes"]


@pytest.mark.parametrize("row", GEOMETRY["tcache"], ids=lambda row: str(row[0]))
def test_a_new_threads_cache_is_filled_and_flushed_as_recorded(row):
    """How many blocks are taken changes at the same calls, while blocks are got and then freed.

    What the thread had before is not recorded: some 8 to 15 KB, so say the rows of 10240 and
    12288, whose collections come a step later or earlier else.
    """
    size, while_allocating, while_freeing = row
    guest = JeGuest()
    thread = guest.new_thread()
    assert guest.malloc(12_288 if size == 10_240 else 10_240, thread)
    arena = guest.arena_of_thread(thread)
    first = guest.taken(size, arena)

    def changes(calls):
        noted, before = [], guest.taken(size, arena)
        for number, call in enumerate(calls, start=1):
            guest.call(call)
            taken = guest.taken(size, arena)
            if taken != before:
                noted.append([number, taken - first])
            before = taken
        return noted[:MOST_CHANGES]

    nr_calls = 1000 if size < LARGE_MINCLASS else 100
    blocks = []

    def keep():
        blocks.append((yield from guest.library.malloc(thread, size)))

    assert changes(keep() for _ in range(nr_calls)) == while_allocating
    assert changes(guest.library.free(thread, block) for block in blocks) == while_freeing
