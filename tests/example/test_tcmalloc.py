"""tcmalloc, call by call: classes, slow start, limits of caches, spans, pages given back."""

import pytest
from ptmallocs import BREAK, Mappings
from tcmallocs import DATA_AT, TcGuest

from mmactors.label import Label
from mmactors.malloc.library import MallocAbortError, MallocFaultError
from mmactors.malloc.request import (
    Brk,
    InitMutex,
    LockMutex,
    Madvise,
    Mmap,
    Munmap,
    UnlockMutex,
)
from mmactors.malloc.tcmalloc.layout import (
    CENTRAL_BYTES,
    CENTRAL_CACHE,
    CLASS_TO_PAGES,
    COUNTER,
    MAX_CACHED_BYTES,
    MAX_LENGTH,
    NUM_SPANS,
    SCAVENGE_COUNTER,
    THREAD_HEAPS,
    UNMAPPED_BYTES,
    USED_SLOTS,
)
from mmactors.malloc.tcmalloc.options.settings import Settings
from mmactors.malloc.tcmalloc.tcmalloc_par import METADATA_BYTES
from mmactors.units import GIB, KIB, MIB, ULONG_MAX

PAGE = 8 * KIB
METADATA = 8 * MIB


def guest(**settings):
    return TcGuest(settings=Settings(**settings))


def list_of(process, number, thread=0):
    return int(process.library.caches[thread]) + 32 * number


def length_of(process, number, thread=0):
    return process.int_at(list_of(process, number, thread) + 8)


def class_of(process, size):
    sizes = [process.class_size(number) for number in range(process.nr_classes())]
    return next(number for number, each in enumerate(sizes) if number and each >= size)


def central(process, number):
    return CENTRAL_CACHE + CENTRAL_BYTES * number


def locks_of(process, steps):
    """Return the locks that a call takes and gives back, until it is done."""
    running, asked = process.start(steps), []
    while not running.is_done:
        process.go_on(running)
        if isinstance(running.asked, LockMutex | UnlockMutex) and not running.is_done:
            asked.append((type(running.asked).__name__, running.asked.name))
    return asked


# -- classes -------------------------------------------------------------------------------------


def test_there_are_85_classes_as_measured():
    """shared/reference/malloc/tcmalloc_geometry.json: bytes, span bytes, blocks, batch."""
    process = guest()
    sizes = [process.class_size(number) for number in range(1, process.nr_classes())]

    assert 85 == len(sizes)
    assert [8, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240] == sizes[:16]
    assert [229376, 237568, 245760, 253952, 262144] == sizes[-5:]


@pytest.mark.parametrize(
    ("size", "span", "batch"),
    [(8, 1, 32), (1024, 1, 32), (2048, 2, 32), (4096, 2, 16), (5120, 2, 12), (262144, 32, 2)],
)
def test_a_span_holds_a_quarter_of_a_batch_and_wastes_an_eighth_at_most(size, span, batch):
    process = guest()
    number = class_of(process, size)

    assert size == process.class_size(number)
    assert span == process.peek(CLASS_TO_PAGES + 8 * number)
    assert batch == process.batch(number)


def test_a_block_of_no_bytes_is_of_the_smallest_class():
    process = guest()

    assert 8 == process.library.peek_usable_size(process.malloc(0))


# -- the process's start -------------------------------------------------------------------------


def test_the_break_is_moved_three_times_before_main():
    """Metadata of 8 MiB, spans of 1 MiB, and half a page to have these aligned."""
    process = guest()
    grown = [call.address - BREAK for call in process.kernel.calls if call.address]

    assert [METADATA, METADATA + MIB, METADATA + MIB + 4 * KIB] == grown


def test_the_first_thread_leaves_a_cache_behind_from_before_the_constructor():
    process = guest()
    first = process.peek(THREAD_HEAPS)

    assert int(process.library.caches[0]) == first
    assert process.library.words.peek(first + 0x1030), "the one that was made before is listed, too"


def test_the_map_and_three_allocators_have_taken_metadata():
    assert 3 * 128 * KIB + 2 * MIB == guest().library.par[METADATA_BYTES]


# -- a thread's cache ----------------------------------------------------------------------------


def test_a_list_is_filled_with_one_block_then_two_then_three():
    """Slow start: a span's blocks come by rising address."""
    process = guest()
    number = class_of(process, 96)
    lengths, blocks = [], []
    for _ in range(10):
        blocks.append(process.malloc(96))
        lengths.append(length_of(process, number))

    assert [0, 1, 0, 2, 1, 0, 3, 2, 1, 0] == lengths
    assert [blocks[0] + 96 * nth for nth in range(10)] == blocks


def test_a_list_that_is_too_long_gives_up_a_batch():
    process = guest()
    number = class_of(process, 96)
    blocks = [process.malloc(96) for _ in range(40)]
    longest = process.int_at(list_of(process, number) + MAX_LENGTH)
    while length_of(process, number) < longest:
        process.free(blocks.pop())
    process.free(blocks.pop())

    assert 0 == length_of(process, number)
    assert longest + 1 == process.int_at(list_of(process, number) + MAX_LENGTH)


def test_a_block_that_is_freed_comes_back_first():
    process = guest()
    first, second = process.malloc(500), process.malloc(500)
    process.free(first)
    process.free(second)

    assert [second, first] == [process.malloc(500), process.malloc(500)]


def test_a_cache_with_too_many_bytes_is_looked_through_and_may_have_more():
    """It may have 64 KiB at first."""
    process = guest()
    most = int(process.library.caches[0]) + MAX_CACHED_BYTES
    assert 64 * KIB == process.int_at(most)
    blocks = [process.malloc(30_000) for _ in range(4)]
    for block in blocks:
        process.free(block)

    assert 128 * KIB == process.int_at(most)


def test_threads_take_limits_from_each_other_when_all_is_claimed():
    process = guest(max_total_thread_cache_bytes=512 * KIB)
    for _ in range(9):
        thread = process.library.new_thread()
        process.malloc(8, thread)
    limits = [process.int_at(int(cache) + MAX_CACHED_BYTES) for cache in process.library.caches]

    assert [64 * KIB] * 7 + [512 * KIB] * 3 == limits
    blocks = [process.malloc(60_000) for _ in range(3)]
    for block in blocks:
        process.free(block)
    assert 64 * KIB == process.int_at(int(process.library.caches[0]) + MAX_CACHED_BYTES)


def test_a_thread_that_ends_gives_up_its_blocks_and_its_cache_is_used_again():
    process = guest()
    thread = process.library.new_thread()
    blocks = [process.malloc(96, thread) for _ in range(6)]
    for block in blocks:
        process.free(block, thread)
    cache = int(process.library.caches[thread])
    process.end_thread(thread)

    assert 0 == process.library.caches[thread]
    other = process.library.new_thread()
    block = process.malloc(8, other)
    assert cache == process.library.caches[other]
    process.check([block])


def test_a_thread_without_a_cache_frees_into_the_central_list():
    process = guest()
    number = class_of(process, 96)
    block = process.malloc(96)
    free_before = process.peek(central(process, number) + COUNTER)
    process.free(block, process.library.new_thread())

    # All blocks of the span are free then: it goes back to the page heap.
    assert 0 == process.peek(central(process, number) + COUNTER) < free_before
    assert 0 == process.peek(central(process, number) + NUM_SPANS)


# -- transfer ------------------------------------------------------------------------------------


def test_a_batch_in_transfer_goes_to_the_next_thread_as_it_is():
    process = guest()
    number = class_of(process, 96)
    blocks = [process.malloc(96) for _ in range(1200)]
    for block in blocks:
        process.free(block)
    used = process.int_at(DATA_AT + central(process, number) + USED_SLOTS)
    assert used > 0
    thread = process.library.new_thread()
    for _ in range(33 * 16):
        process.malloc(96, thread)
        if process.int_at(DATA_AT + central(process, number) + USED_SLOTS) < used:
            break

    assert used - 1 == process.int_at(DATA_AT + central(process, number) + USED_SLOTS)
    assert 31 == length_of(process, number, thread)


# -- spans ---------------------------------------------------------------------------------------


def test_a_large_block_is_a_span_of_its_own():
    process = guest()
    block = process.malloc(256 * KIB + 1)

    assert 33 * PAGE == process.library.peek_usable_size(block)
    assert 0 == block % PAGE


def test_free_spans_join_their_neighbours():
    process = guest()
    blocks = [process.malloc(300_000) for _ in range(4)]
    for block in (blocks[0], blocks[2], blocks[1]):
        process.free(block)

    assert blocks[0] == process.malloc(3 * 37 * PAGE)


def test_the_best_fit_of_long_spans_serves_that_of_the_lower_place_first():
    process = guest()
    blocks = [
        process.malloc(size) for size in (3 * MIB, 300_000, 2 * MIB, 300_000, 2 * MIB, 300_000)
    ]
    assert 3 * MIB == process.library.peek_usable_size(blocks[0])
    for block in (blocks[0], blocks[4], blocks[2]):
        process.free(block)

    assert blocks[2] == process.malloc(2 * MIB)
    assert blocks[4] == process.malloc(2 * MIB)
    assert blocks[0] == process.malloc(2 * MIB)


def test_the_first_pages_are_given_back_after_two_gibibytes_were_freed():
    """Settings are not read yet when the heap grows first: it puts off the next look."""
    process = guest()
    assert (1 << 18) - 1 == process.peek(SCAVENGE_COUNTER), "one page was freed since"
    advised, nr_frees = [], 0
    while not advised:
        nr_frees += 1
        advised = process.made(process.library.free(0, process.malloc(64 * MIB)))

    assert 2 * GIB == (nr_frees + 1) * 64 * MIB, "what the heap grew by is freed first"
    assert [Madvise] == [type(call) for call in advised]
    assert advised[0].length == process.peek(UNMAPPED_BYTES)
    # 1000 pages are to be freed for each that was given back, but not more than 2**20.
    assert min(1000 * advised[0].length // PAGE, 1 << 20) == process.peek(SCAVENGE_COUNTER)


def test_nothing_is_given_back_at_a_rate_of_zero():
    process = guest(release_rate=0.0)
    for _ in range(40):
        assert [] == process.made(process.library.free(0, process.malloc(64 * MIB)))


def test_all_is_given_back_at_once_with_aggressive_decommit():
    process = guest(aggressive_decommit=True)
    block = process.malloc(MIB)
    (call,) = process.made(process.library.free(0, block))

    assert (block, MIB) == (call.address, call.length)
    assert block == process.malloc(MIB), "its addresses stay"


def test_memory_is_mapped_where_the_break_cannot_move():
    """More than is needed is mapped to have it aligned, and given back."""
    process = TcGuest()
    process.kernel.refuses = lambda call: isinstance(call, Brk) and call.address
    calls = process.made(process.library.malloc(0, 3 * MIB))

    assert [Brk, Mmap, Munmap] == [type(call) for call in calls][:3]
    assert 3 * MIB + PAGE - 4 * KIB == calls[1].length
    later = process.made(process.library.malloc(0, 5 * MIB))
    assert Brk not in {type(call) for call in later}, "it is not tried again"


def test_both_ways_are_tried_again_after_both_have_failed():
    process = TcGuest()
    process.kernel.refuses = lambda call: isinstance(call, Mmap) or bool(call.address)
    assert 0 == process.malloc(3 * MIB)
    process.kernel.refuses = lambda _: False

    assert process.malloc(3 * MIB)
    assert isinstance(process.kernel.calls[-1], Brk)


def test_a_heap_limit_gives_back_first_then_refuses():
    process = guest(heap_limit_mb=24)
    block = process.malloc(8 * MIB)
    process.free(block)
    calls = process.made(process.library.malloc(0, 9 * MIB))

    assert Madvise in {type(call) for call in calls}
    assert 0 == process.malloc(20 * MIB)


# -- calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "usable"),
    [
        (100, 112, 112),  # It stays.
        (100, 56, 112),
        (100, 55, 64),  # Below half of what it has.
        (100, 113, 144),  # By less than a quarter: by a quarter.
        (100, 200, 208),
        (300_000, 303_104, 303_104),
        (300_000, 303_105, 385_024),
    ],
)
def test_realloc_moves_a_block_that_grows_or_shrinks_by_much(old, new, usable):
    process = guest()
    block = process.malloc(old)
    moved = process.call(process.library.realloc(0, block, new))

    assert usable == process.library.peek_usable_size(moved)
    assert (moved == block) == (usable == process.library.peek_usable_size(block))


def test_realloc_of_nothing_allocates_and_to_nothing_frees():
    process = guest()
    block = process.call(process.library.realloc(0, 0, 100))
    assert block
    assert 0 == process.call(process.library.realloc(0, block, 0))
    assert block == process.malloc(100)


def test_calloc_clears_all_of_a_block():
    process = guest()
    block = process.malloc(112)
    process.library.words.store(block + 104, 7)
    process.free(block)

    assert block == process.call(process.library.calloc(0, 5, 20))
    assert 0 == process.library.words.peek(block + 104)
    assert 0 == process.call(process.library.calloc(0, 1 << 32, 1 << 32)), "the product wraps"


@pytest.mark.parametrize(
    ("alignment", "size", "usable"),
    [
        (64, 65, 128),
        (4096, 1, 4096),
        (8192, 9000, 16384),
        (65536, 100, PAGE),
        (MIB, MIB + 1, MIB + PAGE),
    ],
)
def test_memalign_rounds_a_size_up_or_cuts_a_span(alignment, size, usable):
    process = guest()
    process.malloc(300_000)
    block = process.call(process.library.memalign(0, alignment, size))

    assert 0 == block % alignment
    assert usable == process.library.peek_usable_size(block)


@pytest.mark.parametrize("size", [ULONG_MAX, ULONG_MAX - 1000, 1 << 63, (1 << 63) - 1, 1 << 48])
def test_sizes_that_no_process_has_room_for_are_refused(size):
    """The kernel is asked nevertheless, for less than 2**64 bytes."""
    process = TcGuest(
        kernel=Mappings(
            refuses=lambda call: (
                getattr(call, "length", 0) > 1 << 46
                or (isinstance(call, Brk) and call.address > 1 << 47)
            )
        )
    )
    assert 0 == process.malloc(size)
    assert 0 == process.call(process.library.memalign(0, 1 << 20, size))
    assert process.malloc(MIB)


def test_what_is_no_block_is_refused_by_its_address():
    process = guest()
    with pytest.raises(MallocAbortError, match="Attempt to free invalid pointer 0x1000"):
        process.free(0x1000)
    with pytest.raises(MallocAbortError, match="Attempt to realloc invalid pointer 0x1000"):
        process.call(process.library.realloc(0, 0x1000, 10))


def test_a_link_that_leads_nowhere_is_followed():
    """Nothing is checked: the program has written to a block that it has freed."""
    process = guest()
    first, second = process.malloc(500), process.malloc(500)
    process.free(first)
    process.free(second)
    process.library.words.store(second, -8 & ULONG_MAX)
    assert second == process.malloc(500)

    with pytest.raises(MallocFaultError):
        process.malloc(500)


def test_there_is_no_way_on_without_memory_for_structures():
    """8 MiB of them are there when main() begins: caches of some 1400 threads."""
    process = TcGuest()
    process.kernel.refuses = lambda call: isinstance(call, Mmap) or bool(call.address)

    def let_threads_come():
        for _ in range(2000):
            process.malloc(8, process.library.new_thread())

    with pytest.raises(MallocAbortError, match="Out of memory trying to allocate internal"):
        let_threads_come()


# -- locks and forks -----------------------------------------------------------------------------


def test_a_miss_takes_the_lock_of_the_class_then_that_of_the_page_heap():
    process = guest()

    assert [
        ("LockMutex", "central_cache.lock"),
        ("UnlockMutex", "central_cache.lock"),
        ("LockMutex", "pageheap_lock"),
        ("UnlockMutex", "pageheap_lock"),
        ("LockMutex", "central_cache.lock"),
        ("UnlockMutex", "central_cache.lock"),
    ] == locks_of(process, process.library.malloc(0, 2000))
    process.malloc(2000)
    assert [] == locks_of(process, process.library.malloc(0, 2000))


def labels_of(process, steps):
    """Return what a call says of its steps, until it is done."""
    running, told = process.start(steps), []
    while not running.is_done:
        process.go_on(running)
        if isinstance(running.asked, Label) and not running.is_done:
            told.append([name for name, _ in running.asked.touches])
    return told


def test_a_search_is_told_what_each_lock_guards():
    process = guest()
    process.asks_for_steps = True
    number = class_of(process, 2000)

    assert [
        [f"central_list[0][{number}]"],
        ["page_heap[0]"],
        [f"central_list[0][{number}]"],
    ] == labels_of(process, process.library.malloc(0, 2000))


def test_a_search_is_told_of_the_look_at_other_classes_without_a_lock():
    """Who has no slot left for a batch takes one of the class whose turn it is."""
    process = guest()
    process.asks_for_steps = True
    blocks = [process.malloc(8) for _ in range(2000)]
    told = [labels_of(process, process.library.free(0, block)) for block in blocks]

    assert ["central_list[0]"] in [names for each in told for names in each]


def test_a_fork_takes_all_locks_and_its_child_begins_without():
    process = guest()
    block = process.malloc(96)
    children = []

    def fork():
        yield from process.library.before_fork()
        assert 87 == len(process.held), "85 classes, that of no blocks, and the page heap"
        children.append(process.library.fork(2))
        yield from process.library.after_fork()

    process.call(fork())
    assert {} == process.held
    (child,) = children
    freed = list(child.begin_child(0))
    assert {InitMutex} == {type(request) for request in freed}
    assert 87 == len(freed)
    assert child.free_hit(0, block)
    assert block == child.malloc_hit(0, 96)
    assert 0 == process.library.caches.size - child.caches.size
    assert block != process.malloc(96), "the parent has it still"
