"""What tcmalloc tells of its heap: texts, numbers, and a map that fits them."""

import random

import numpy as np
import pytest
from ptmallocs import Guest
from tcmallocs import TcGuest

from mmactors.malloc.config import VARIABLES
from mmactors.malloc.heap_map import CACHED, FREE, KINDS, LIVE, METADATA, RETURNED
from mmactors.malloc.library import HeapNumbers, MallocAbortError
from mmactors.malloc.tcmalloc.heap.page_map import peek_span_of
from mmactors.malloc.tcmalloc.heap.span import START
from mmactors.malloc.tcmalloc.layout import PAGE_SHIFT
from mmactors.malloc.tcmalloc.options.settings import READ, Settings
from mmactors.malloc.tcmalloc.report.stats import extract_stats
from mmactors.units import MIB


def used(**settings):
    """Return a process whose three threads have used the heap, and given memory back."""
    process = TcGuest(settings=Settings(release_rate=1000.0, **settings))
    for _ in range(2):
        process.library.new_thread()
    draw = random.Random(7)
    blocks = []
    for _ in range(3000):
        if blocks and draw.random() < 0.48:
            process.free(blocks.pop(draw.randrange(len(blocks))), draw.randrange(3))
        else:
            size = draw.choice([draw.randrange(200), draw.randrange(40_000), 300_000])
            blocks.append(process.malloc(size, draw.randrange(3)))
    return process


def bytes_of(segments, kind):
    return sum(int(rows[rows[:, 2] == kind, 1].sum()) for rows in (s.chunks for s in segments))


@pytest.mark.parametrize("aggressive", [False, True])
def test_the_map_has_as_many_bytes_of_each_kind_as_are_counted(aggressive):
    process = used(aggressive_decommit=aggressive)
    stats = process.call(extract_stats(process.library, is_detailed=True))
    segments = process.library.heap_map()
    spans = [each for each in segments if each.what == "spans"]
    lost = sum(stats.class_overheads)

    assert stats.in_use == bytes_of(segments, LIVE)
    assert stats.thread_bytes + stats.transfer_bytes == bytes_of(segments, CACHED)
    assert stats.free_bytes + stats.central_bytes - lost == bytes_of(segments, FREE)
    assert stats.unmapped_bytes == bytes_of(spans, RETURNED)
    assert stats.metadata_bytes + lost == bytes_of(segments, METADATA)
    assert stats.system_bytes == sum(each.end - each.start for each in spans)
    assert 0 not in [bytes_of(segments, kind) for kind in (LIVE, CACHED, FREE, METADATA, RETURNED)]


def test_a_segment_has_no_gaps_and_pieces_of_one_kind():
    for segment in used().library.heap_map():
        for rows in (segment.chunks, segment.pieces):
            assert [segment.start, *np.cumsum(rows[:, 1]) + segment.start] == [
                *rows[:, 0],
                segment.end,
            ]
        assert all(segment.pieces[1:, 2] != segment.pieces[:-1, 2])
        assert set(segment.pieces[:, 2]) <= set(range(len(KINDS)))


def test_a_look_is_no_access_and_changes_nothing():
    process = used()
    process.library.words.watch(on=True)
    before = process.library.words.content(), process.library.par.tolist()
    process.library.heap_map()
    process.library.heap_bytes()

    assert 0 == len(process.library.words.take_accesses()[0])
    assert before == (process.library.words.content(), process.library.par.tolist())


def test_the_bytes_for_who_looks_from_outside_are_those_of_the_map():
    process = used()
    stats = process.call(extract_stats(process.library, is_detailed=False))
    held = process.library.heap_bytes()

    assert stats.thread_bytes == held.cached
    assert stats.system_bytes + stats.metadata_bytes - stats.unmapped_bytes == held.system
    lists = stats.central_bytes - sum(stats.class_overheads) + stats.transfer_bytes
    assert stats.free_bytes + lists == held.free


def test_the_map_ends_where_a_span_does_not_say_its_place():
    """Whatever comes behind it nobody knows."""
    process = TcGuest()
    block = process.malloc(300_000)
    behind = process.malloc(MIB)
    library = process.library
    span = peek_span_of(library.words.words, library.par, block >> PAGE_SHIFT)
    library.words.put(span + START, 1)
    (broken,) = [each for each in library.heap_map() if each.broken_at is not None]

    assert (block, block) == (broken.broken_at, broken.end)
    assert all(each.end <= block or behind >= each.end for each in library.heap_map())


def test_malloc_stats_needs_a_block_for_its_text():
    process = TcGuest()
    before = process.call(process.library.get_stats())
    text = process.call(process.library.malloc_stats(0))
    size = 16384
    first, later = (int(each.split("\n")[1].split()[1]) for each in (before, text))

    assert size == later - first


def test_malloc_stats_without_memory_ends_the_process():
    """operator new throws, and nobody catches it."""
    process = TcGuest(settings=Settings(heap_limit_mb=1))
    while process.malloc(16384):
        pass
    with pytest.raises(MallocAbortError, match="std::bad_alloc"):
        process.call(process.library.malloc_stats(0))
    assert {"src/central_freelist.cc:330] tcmalloc: allocation failed 16384 "} == set(process.said)


def test_glibc_tells_of_a_heap_that_nobody_uses():
    process, other = TcGuest(), Guest()
    process.malloc(MIB)

    assert HeapNumbers(ordblks=1) == process.call(process.library.mallinfo2(0))
    assert process.call(process.library.malloc_info(0)) == other.call(other.library.malloc_info(0))
    assert 0 == process.call(process.library.malloc_trim(0, 0))
    assert 1 == process.call(process.library.mallopt(0, 1, 1))


def test_scenarios_may_set_what_is_read():
    assert set(READ) <= set(VARIABLES)
