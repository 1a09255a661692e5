"""Chains of caches without translation, a few accesses at a time."""

import numpy as np
import pytest

from mmactors.arch.trace import FETCH, LOAD, MODIFY, STORE, Trace
from mmactors.hw.hierarchy import CacheOptions, Hierarchy, Level


def trace_of(*accesses):
    """Return a trace of (kind, address, size)."""
    kind, address, size = zip(*accesses, strict=True)
    return Trace.of_columns(
        np.array(kind, np.uint8), np.array(size, np.uint16), np.array(address, np.int64)
    )


def chain(*caches):
    """Return a hierarchy of unified levels of one set of two lines of 16 bytes, with options."""
    plain = {"nr_sets": 1, "ways": 2, "line_bytes": 16}
    return Hierarchy([Level(data=CacheOptions(**(plain | options))) for options in caches])


def test_level_sees_the_misses_of_the_level_above():
    """The second level is asked for the line of each miss of the first, and for nothing else."""
    hierarchy = chain({}, {})

    hierarchy.run(trace_of((LOAD, 0, 8), (LOAD, 8, 8), (LOAD, 32, 4)))

    second = hierarchy.statistics(1)
    assert (2, 32) == (second.load.requests, second.load.request_bytes)
    assert 2 == second.load.misses


def test_access_over_two_lines_is_two_pieces_of_one_request():
    """An access is cut at the end of the line; both pieces are looked up."""
    hierarchy = chain({})

    hierarchy.run(trace_of((LOAD, 12, 8)))

    load = hierarchy.statistics(0).load
    assert (1, 2, 2) == (load.requests, load.pieces, load.misses)


def test_modify_is_a_load_and_then_a_store():
    """The load brings the line in, the store hits it."""
    hierarchy = chain({})

    hierarchy.run(trace_of((MODIFY, 0, 4)))

    statistics = hierarchy.statistics(0)
    assert (1, 1) == (statistics.load.requests, statistics.load.misses)
    assert (1, 0) == (statistics.store.requests, statistics.store.misses)


def test_split_level_keeps_fetches_and_data_apart():
    """The same line misses once in each cache of a split level, and once in a unified one."""
    options = CacheOptions(nr_sets=1, ways=2, line_bytes=16)
    accesses = trace_of((FETCH, 0, 4), (LOAD, 0, 4), (FETCH, 4, 4))
    split = Hierarchy([Level(data=options, instruction=options), Level(data=options)])

    split.run(accesses)

    assert 1 == split.statistics(0, instruction=True).fetch.misses
    assert 1 == split.statistics(0).load.misses
    assert 1 == split.statistics(1).fetch.misses
    assert 0 == split.statistics(1).load.misses


@pytest.mark.parametrize(("replacement", "misses"), [("lru", 3), ("fifo", 4)])
def test_replacement_decides_which_line_has_to_go(replacement, misses):
    """A hit keeps a line under LRU, and does not under FIFO."""
    hierarchy = chain({"replacement": replacement})

    hierarchy.run(trace_of(*[(LOAD, line * 16, 4) for line in (0, 1, 0, 2, 0)]))

    assert misses == hierarchy.statistics(0).load.misses


def test_dirty_line_is_written_back_when_it_has_to_go():
    """The next level first sees the fetch, then the line that went."""
    hierarchy = chain({"ways": 1}, {})

    hierarchy.run(trace_of((STORE, 0, 4), (LOAD, 16, 4)))

    second = hierarchy.statistics(1)
    assert 1 == hierarchy.statistics(0).write_backs
    assert (2, 1, 16) == (
        second.load.requests,
        second.store.requests,
        second.store.request_bytes,
    )


def test_flush_writes_dirty_lines_back_through_all_levels():
    """After it all lines are clean: a second flush writes nothing."""
    hierarchy = chain({}, {"nr_sets": 4})
    hierarchy.run(trace_of((STORE, 0, 4), (STORE, 16, 4), (LOAD, 0, 4)))

    hierarchy.flush()
    hierarchy.flush()

    assert [2, 2] == [hierarchy.statistics(level).write_backs for level in (0, 1)]


@pytest.mark.parametrize(
    ("write_allocate", "size", "fetches", "misses_after"),
    [
        ("never", 16, 0, 1),
        ("fetch", 16, 0, 0),
        ("fetch", 8, 1, 0),
        ("fetch_always", 16, 1, 0),
        ("covered", 16, 0, 0),
        ("covered", 8, 0, 1),
        ("no_fetch", 8, 0, 0),
    ],
)
def test_store_that_misses_allocates_as_told(write_allocate, size, fetches, misses_after):
    """Each choice says whether the line comes in, and whether it is fetched."""
    hierarchy = chain({"write_allocate": write_allocate})

    hierarchy.run(trace_of((STORE, 0, size), (LOAD, 0, 4)))

    statistics = hierarchy.statistics(0)
    assert fetches == statistics.store_fetches
    assert misses_after == statistics.load.misses


def test_write_through_passes_every_store_on():
    """Lines never become dirty; each store is written below with its own bytes."""
    hierarchy = chain({"write_back": False}, {})

    hierarchy.run(trace_of((STORE, 0, 4), (STORE, 4, 2)))
    hierarchy.flush()

    assert 0 == hierarchy.statistics(0).write_backs
    assert (2, 6) == (
        hierarchy.statistics(1).store.requests,
        hierarchy.statistics(1).store.request_bytes,
    )


def test_misses_are_classified_by_larger_caches():
    """New: compulsory. It would have stayed in a fully associative cache: conflict. Else: capacity.

    Lines 0, 2 and 4 share the one-way set 0 of two.
    """
    hierarchy = chain({"nr_sets": 2, "ways": 1, "classify": True})

    hierarchy.run(trace_of(*[(LOAD, line * 16, 4) for line in (0, 2, 0, 4, 2)]))

    load = hierarchy.statistics(0).load
    assert (3, 1, 1) == (load.compulsory, load.conflict, load.capacity)


def test_number_of_sets_need_not_be_a_power_of_two():
    """The set is the block number modulo the number of sets, and write-backs find their address."""
    hierarchy = chain({"nr_sets": 3, "ways": 1}, {"nr_sets": 64})

    hierarchy.run(trace_of((STORE, 5 * 16, 4), (LOAD, 2 * 16, 4), (LOAD, 4 * 16, 4)))
    hierarchy.run(trace_of((LOAD, 4 * 16, 4)))

    assert 1 == hierarchy.statistics(0).write_backs
    assert 0 == hierarchy.statistics(1).store.misses
    assert 3 == hierarchy.statistics(0).load.requests
    assert 2 == hierarchy.statistics(0).load.misses


def test_many_rows_give_what_few_rows_give():
    """Buffers that fill up, and a table of seen blocks that grows, change no count."""
    address = np.arange(60_000, dtype=np.int64) * 24 % (1 << 22)
    kind = np.full(len(address), STORE, np.uint8)
    accesses = Trace.of_columns(kind, np.full(len(address), 12, np.uint16), address)
    options = {"nr_sets": 16, "classify": True}
    whole, pieces = chain(options, options), chain(options, options)

    whole.run(accesses)
    for start in range(0, len(address), 1000):
        part = slice(start, start + 1000)
        pieces.run(Trace(address=accesses.address[part], meta=accesses.meta[part]))

    assert [whole.statistics(level) for level in (0, 1)] == [
        pieces.statistics(level) for level in (0, 1)
    ]
    assert len(np.unique(np.concatenate([address // 16, (address + 11) // 16]))) == (
        whole.statistics(0).store.compulsory
    )
