"""tcmalloc under any sequence of calls: blocks never overlap, and every page is somewhere."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ptmallocs import Mappings
from tcmallocs import TcGuest

from mmactors.arch.heap_trace import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC
from mmactors.malloc.request import Brk
from mmactors.malloc.tcmalloc.options.settings import Settings
from mmactors.units import KIB, MIB

SIZES = [0, 1, 8, 9, 24, 24, 64, 100, 500, 1024, 1025, 3000, 8192, 20_000, 70_000, 200_000]
LARGE = [256 * KIB, 256 * KIB + 1, 300_000, 700_000, MIB, MIB + 1, 3 * MIB, 20 * MIB]
ALIGNMENTS = [8, 16, 64, 256, 4096, 8192, 16_384, 65_536]


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


def settings_of(rng):
    return rng.choice(
        [
            Settings(),
            Settings(),
            Settings(aggressive_decommit=True),
            Settings(release_rate=1e4),
            Settings(heap_limit_mb=64, release_rate=10.0),
            Settings(max_total_thread_cache_bytes=512 * KIB, transfer_num_obj=8),
        ]
    )


def guest_of(rng, nr_threads):
    """Return a process whose break may be limited, so that memory is mapped."""
    most = rng.choice([1 << 40, 1 << 40, 24 * MIB])
    kernel = Mappings(
        refuses=lambda call: isinstance(call, Brk) and call.address > 0x5555_5555_9000 + most
    )
    guest = TcGuest(kernel=kernel, settings=settings_of(rng))
    for _ in range(1, nr_threads):
        guest.library.new_thread()
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
        elif address:
            assert usable >= size
            assert address % (16 if usable >= 16 else 8) == 0
            if op == MEMALIGN:
                assert address % argument == 0
            blocks[number] = (address, usable)
    return blocks


def assert_apart(blocks):
    ends = sorted((address, address + usable) for address, usable in blocks.values())
    for (_, end), (start, _) in pairwise(ends):
        assert end <= start, f"two blocks overlap at {start:#x}"


@settings(max_examples=25)
@given(st.integers(0, 1 << 32))
def test_blocks_never_overlap_and_every_page_is_in_one_span(seed):
    """The map, lists, sets, counts and caches agree, whatever was called by whom."""
    rng = Random(seed)
    nr_threads = rng.choice([1, 1, 3])
    guest = guest_of(rng, nr_threads)
    rows = random_rows(rng, rng.choice([20, 200, 600]), nr_threads)
    replay = guest.rows(rows, nr_threads)
    do_rows(replay, guest, in_bulk=True)

    blocks = live_blocks(rows, replay)
    assert_apart(blocks)
    guest.check(address for address, _ in blocks.values())


@settings(max_examples=15)
@given(st.integers(0, 1 << 32))
def test_all_memory_comes_back_into_spans_when_threads_have_ended(seed):
    """Only chains in transfer, and what the process's start keeps, hold pages then."""
    rng = Random(seed)
    guest = guest_of(rng, 3)
    rows = random_rows(rng, 300, 3)
    replay = guest.rows(rows, 3)
    do_rows(replay, guest, in_bulk=True)
    for address, _ in live_blocks(rows, replay).values():
        guest.free(address, thread=rng.randrange(3))
    for thread in rng.sample(range(3), 3):
        guest.end_thread(thread)

    assert [0, 0, 0] == guest.library.caches.tolist()
    guest.check([])


@settings(max_examples=25)
@given(st.integers(0, 1 << 32), st.booleans())
def test_rows_in_bulk_do_what_calls_do(seed, watched):
    """The same addresses, system calls, accesses, and the same words in memory."""
    results = []
    for in_bulk in (True, False):
        rng = Random(seed)
        nr_threads = rng.choice([1, 3])
        guest = guest_of(rng, nr_threads)
        guest.library.words.watch(on=watched)
        replay = guest.rows(random_rows(rng, 250, nr_threads), nr_threads)
        do_rows(replay, guest, in_bulk=in_bulk)
        accesses = [each.tolist() for each in guest.library.words.take_accesses()]
        results.append(
            (
                replay.address.tolist(),
                replay.usable.tolist(),
                guest.kernel.calls,
                guest.library.par.tolist(),
                guest.library.caches.tolist(),
                guest.library.words.content(),
                accesses,
            )
        )
    for bulk, single in zip(*results, strict=True):
        assert single == bulk


@pytest.mark.parametrize("seed", range(6))
def test_threads_that_wait_for_each_other_leave_the_heap_whole(seed):
    """Calls of four threads go on request by request, in any order; each lock has one holder."""
    rng = Random(seed)
    guest = guest_of(rng, 4)
    live, running, nr_begun = [], {}, 0
    while nr_begun < 500 or running:
        thread = rng.randrange(4)
        if thread not in running:
            if nr_begun >= 500:
                continue
            nr_begun += 1
            is_free = bool(live) and rng.random() < 0.48
            block = live.pop(rng.randrange(len(live))) if is_free else 0
            size = rng.choice(SIZES if rng.random() < 0.9 else LARGE)
            library = guest.library
            steps = library.free(thread, block) if is_free else library.malloc(thread, size)
            running[thread] = (guest.start(steps), is_free)
        for _ in range(rng.choice([1, 1, 2, 5])):
            call, is_free = running[thread]
            guest.go_on(call)
            if call.is_done:
                if not is_free and call.result:
                    live.append(call.result)
                del running[thread]
                break

    assert {} == guest.held
    assert len(live) == len(set(live))
    guest.check(live)
