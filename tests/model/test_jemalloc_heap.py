"""jemalloc under any sequence of calls: blocks never overlap, and the compiled rows do as calls."""

from copy import deepcopy
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jemallocs import JeGuest

from mmactors.arch.heap_trace import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC
from mmactors.malloc.heap_map import CACHED, LIVE
from mmactors.malloc.heap_map import FREE as IS_FREE
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.size_classes import usable_aligned, usable_of
from mmactors.units import KIB, MIB, PAGE_SIZE

SIZES = [0, 1, 8, 9, 24, 24, 64, 100, 500, 1024, 1025, 3000, 8192, 14_336, 14_337, 20_000, 32_768]
LARGE = [32_769, 100_000, 256 * KIB, 700_000, MIB, 3 * MIB, 8 * MIB, 20 * MIB]
ALIGNMENTS = [8, 16, 64, 256, 4096, 8192, 16_384, 65_536]
NEVER = {"dirty_decay_ms": -1, "muzzy_decay_ms": -1}
OPTIONS = [
    JemallocOptions(),
    JemallocOptions(narenas=1, **NEVER),
    JemallocOptions(narenas=1, tcache=False, **NEVER),
    JemallocOptions(narenas=2, dirty_decay_ms=0),
    JemallocOptions(tcache_gc_incr_bytes=4096, tcache_gc_delay_bytes=512, tcache_max=4096),
    JemallocOptions(bin_shards={3: 4, 10: 2}, oversize_threshold=0),
]


def random_rows(rng, nr_rows, nr_threads):
    """Return rows of op, thread, object, size, argument: a block is freed by any thread."""
    rows, live, number = [], [], 0
    for _ in range(nr_rows):
        thread, kind = rng.randrange(nr_threads), rng.random()
        size = rng.choice(SIZES if rng.random() < 0.85 else LARGE)
        if live and kind < 0.42:
            rows.append((FREE, thread, live.pop(rng.randrange(len(live))), 0, 0))
        elif live and kind < 0.55:
            rows.append((REALLOC, thread, rng.choice(live), size or 1, 0))
        else:
            op, argument = MALLOC, 0
            if kind > 0.9:
                op, argument = MEMALIGN, rng.choice(ALIGNMENTS)
            elif kind > 0.8:
                op, argument, size = CALLOC, 3, size // 3 * 3
            rows.append((op, thread, number, size, argument))
            live.append(number)
            number += 1
    return rows


def guest_of(rng, nr_threads):
    guest = JeGuest(options=rng.choice(OPTIONS))
    for _ in range(1, nr_threads):
        guest.new_thread()
    return guest


def do_rows(replay, guest, *, in_bulk):
    """Do all rows, in bulk as far as possible, or each by its call."""
    nr_rows = len(replay.address)
    while replay.row < nr_rows:
        if not in_bulk:
            guest.call(replay.call())
        elif replay.run(nr_rows):
            guest.call(replay.finish())


def live_blocks(rows, replay):
    """Return by object its block and usable bytes at the end; check each block as it came."""
    blocks = {}
    for (op, _, number, size, argument), address, usable in zip(
        rows, replay.address.tolist(), replay.usable.tolist(), strict=True
    ):
        if op == FREE:
            blocks.pop(number, None)
            continue
        wanted = usable_aligned(size, argument) if op == MEMALIGN else usable_of(size)
        assert usable == wanted, f"{size} bytes"
        assert address % (16 if usable >= 16 else 8) == 0
        if op == MEMALIGN and size:
            assert address % argument == 0
        blocks[number] = (address, usable)
    return blocks


def assert_apart(blocks):
    ends = sorted((address, address + usable) for address, usable in blocks.values())
    for (_, end), (start, _) in pairwise(ends):
        assert end <= start, f"two blocks overlap at {start:#x}"


def of_kind(segments, kind):
    """Return begin and bytes of all chunks that are that."""
    return {
        (start, nr_bytes)
        for segment in segments
        for start, nr_bytes, its_kind in segment.chunks.tolist()
        if its_kind == kind
    }


@settings(max_examples=25)
@given(st.integers(0, 1 << 32))
def test_blocks_never_overlap_and_the_heap_map_knows_them_all(seed):
    """Each live block is a chunk of its own; no page is in two segments."""
    rng = Random(seed)
    nr_threads = rng.choice([1, 1, 3])
    guest = guest_of(rng, nr_threads)
    at_start = of_kind(guest.library.heap_map(), LIVE)
    rows = random_rows(rng, rng.choice([20, 200, 600]), nr_threads)
    replay = guest.rows(rows, nr_threads)
    do_rows(replay, guest, in_bulk=True)

    blocks = live_blocks(rows, replay)
    assert_apart(blocks)
    segments = guest.library.heap_map()
    assert of_kind(segments, LIVE) - at_start == set(blocks.values())
    for lower, upper in pairwise(segments):
        assert lower.end <= upper.start
    for segment in segments:
        assert segment.pieces[:, 1].sum() == segment.end - segment.start
    numbers = guest.library.heap_bytes()
    assert numbers.system == sum(segment.end - segment.start for segment in segments)
    assert numbers.cached == sum(nr_bytes for _, nr_bytes in of_kind(segments, CACHED))


@settings(max_examples=15)
@given(st.integers(0, 1 << 32))
def test_no_region_is_taken_when_threads_have_freed_all_and_ended(seed):
    """Caches are empty then, and slabs have gone back to the pages."""
    rng = Random(seed)
    guest = guest_of(rng, 3)
    at_start = of_kind(guest.library.heap_map(), LIVE)
    rows = random_rows(rng, 300, 3)
    replay = guest.rows(rows, 3)
    do_rows(replay, guest, in_bulk=True)
    for address, _ in live_blocks(rows, replay).values():
        guest.free(address, thread=rng.randrange(3))
    for thread in rng.sample(range(3), 3):
        guest.call(guest.library.end_thread(thread))

    segments = guest.library.heap_map()
    assert of_kind(segments, LIVE) <= at_start
    assert not of_kind(segments, CACHED)
    assert guest.library.heap_bytes().cached == 0
    assert all(nr_bytes % PAGE_SIZE == 0 for _, nr_bytes in of_kind(segments, IS_FREE))


@pytest.mark.parametrize("nr_threads", [1, 3])
@settings(max_examples=20)
@given(st.integers(0, 1 << 32))
def test_rows_in_bulk_do_what_calls_do(nr_threads, seed):
    """The same addresses and system calls, and the same words in memory."""
    results = []
    for in_bulk in (True, False):
        rng = Random(seed)
        guest = guest_of(rng, nr_threads)
        replay = guest.rows(random_rows(rng, 300, nr_threads), nr_threads)
        do_rows(replay, guest, in_bulk=in_bulk)
        results.append((replay.address.tolist(), guest.kernel.calls, guest.library.words.content()))
    for bulk, calls in zip(*results, strict=True):
        assert bulk == calls


def forked(library):
    """Return the library of a child."""
    yield from library.before_fork()
    child = library.fork(number=1)
    yield from library.after_fork()
    return child


@settings(max_examples=10)
@given(st.integers(0, 1 << 32))
def test_a_forked_child_goes_on_where_its_parent_was(seed):
    """Both give the same blocks for the same calls, and neither sees what the other does."""
    rng = Random(seed)
    guest = guest_of(rng, 2)
    rows = random_rows(rng, 200, 2)
    replay = guest.rows(rows, 2)
    do_rows(replay, guest, in_bulk=True)
    child = guest.call(forked(guest.library))
    kernel = deepcopy(guest.kernel)
    before = child.words.content()

    sizes = [rng.choice(SIZES) for _ in range(40)]
    blocks = [guest.malloc(size) for size in sizes]
    assert child.words.content() == before
    guest.library, guest.kernel, guest.held = child, kernel, {}
    guest.call(child.begin_child(0))
    assert [guest.malloc(size) for size in sizes] == blocks
