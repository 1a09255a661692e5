"""ptmalloc's ways: where a block comes from, where it goes, and what that asks of the kernel."""

import pytest
from heap_walk import Walk
from ptmallocs import BREAK, MAIN_ARENA, Guest

from mmactors.malloc.ptmalloc.bins import bin_index
from mmactors.malloc.ptmalloc.chunk import PTRDIFF_MAX, request2size
from mmactors.malloc.ptmalloc.malloc_par import MMAP_THRESHOLD, N_MMAPS, TRIM_THRESHOLD
from mmactors.malloc.request import Brk, Madvise, Mmap, Mremap, Munmap
from mmactors.rules import Rules

FIRST = BREAK + 0x2A0
"""The first block: before it is the main thread's cache."""
TOP = MAIN_ARENA + 0x60
SYSTEM_MEM = MAIN_ARENA + 0x888
NO_TCACHE = {"tcache_count": 0}


def malloc(guest, *sizes, thread=0):
    return [guest.call(guest.library.malloc(thread, size)) for size in sizes]


def free(guest, *blocks, thread=0):
    for block in blocks:
        guest.call(guest.library.free(thread, block))


def check(guest, *live):
    Walk(guest.library, {each: guest.library.peek_usable_size(each) for each in live}).check()


@pytest.mark.parametrize(
    ("request_", "size"),
    [(0, 32), (24, 32), (25, 48), (1032, 1040), (PTRDIFF_MAX, 16 - (1 << 63)), (-1, 0)],
)
def test_a_chunk_has_room_for_its_size_and_is_a_multiple_of_16(request_, size):
    assert size == request2size(request_)


@pytest.mark.parametrize(
    ("size", "index"),
    [(32, 2), (1008, 63), (1024, 64), (3135, 96), (3136, 97), (10752, 112), (1 << 20, 126)],
)
def test_bins_are_wider_for_larger_chunks(size, index):
    assert index == bin_index(size)


def test_the_first_call_makes_a_cache_and_asks_for_a_top():
    guest = Guest()

    assert [FIRST] == malloc(guest, 24)
    assert [Brk(0), Brk(BREAK + 0x21000)] == guest.kernel.calls


def test_the_cache_gives_back_what_was_freed_last_until_it_has_seven():
    guest = Guest()
    blocks = malloc(guest, *[24] * 9)

    free(guest, *blocks)

    # Seven are cached; two are in the fastbin, of which one is moved to the cache.
    assert [*blocks[6::-1], blocks[8], blocks[7]] == malloc(guest, *[24] * 9)


def test_a_free_chunk_joins_its_neighbours_and_the_top():
    guest = Guest(environment=NO_TCACHE)
    first, second, third, _ = malloc(guest, 200, 200, 200, 24)

    free(guest, first, third, second)

    assert [first] == malloc(guest, 600)
    check(guest, first, third + 208)


def test_a_small_request_goes_on_in_the_last_remainder():
    guest = Guest(environment=NO_TCACHE)
    large, _ = malloc(guest, 2000, 24)
    free(guest, large)

    first, second = malloc(guest, 100, 200)

    assert (large, large + 112) == (first, second)


def test_the_best_fit_is_taken_and_of_equal_ones_the_second():
    guest = Guest()
    sizes = [1100, 24, 1500, 24, 1100, 24, 1300, 24]
    blocks = malloc(guest, *sizes)
    free(guest, *blocks[::2])
    malloc(guest, 100_000)

    assert [blocks[4]] == malloc(guest, 1100)
    assert [blocks[6]] == malloc(guest, 1200)


def test_a_large_free_empties_fastbins_and_trims():
    guest = Guest(environment=NO_TCACHE)
    small, large = malloc(guest, 24, 120_000)
    (more,) = malloc(guest, 120_000)
    free(guest, small)

    assert [] == guest.made(guest.library.free(0, large))
    made = guest.made(guest.library.free(0, more))

    # All is free but the cache's chunk; the top keeps 128 KiB and less than a page.
    assert [Brk(BREAK + 0x21000)] == made
    check(guest)


def test_what_is_large_is_mapped_and_teaches_what_is_large():
    guest = Guest()
    malloc(guest, 24)

    (block,) = malloc(guest, 200_000)
    assert Mmap(length=200_704, prot=3, flags=0x22) == guest.kernel.calls[-1]
    assert 200_704 - 16 == guest.library.peek_usable_size(block)
    assert 1 == guest.library.par[N_MMAPS]
    free(guest, block)

    assert Munmap(address=block - 16, length=200_704) == guest.kernel.calls[-1]
    assert 200_704 == guest.library.par[MMAP_THRESHOLD]
    assert 2 * 200_704 == guest.library.par[TRIM_THRESHOLD]
    assert isinstance(guest.made(guest.library.malloc(0, 200_000))[0], Brk)


def test_a_mapped_block_changes_its_size_by_mremap():
    guest = Guest()
    (block,) = malloc(guest, 200_000)

    grown = guest.call(guest.library.realloc(0, block, 500_000))

    call = guest.kernel.calls[-1]
    assert Mremap(address=block - 16, old_length=200_704, new_length=503_808, flags=1) == call
    assert 503_808 - 16 == guest.library.peek_usable_size(grown)
    assert [] == guest.made(guest.library.realloc(0, grown, 500_100))


def test_a_mapped_block_that_the_kernel_does_not_move_is_copied():
    guest = Guest()
    (block,) = malloc(guest, 200_000)
    guest.kernel.refuses = lambda call: isinstance(call, Mremap)

    assert block == guest.call(guest.library.realloc(0, block, 150_000))
    grown = guest.call(guest.library.realloc(0, block, 300_000))

    assert grown not in {0, block}
    assert Munmap(address=block - 16, length=200_704) == guest.kernel.calls[-1]


def test_realloc_shrinks_in_place_grows_into_the_next_chunk_and_else_moves():
    guest = Guest(environment=NO_TCACHE)
    block, after, last = malloc(guest, 500, 500, 24)
    free(guest, after)

    assert block == guest.call(guest.library.realloc(0, block, 900))
    assert block == guest.call(guest.library.realloc(0, block, 100))
    assert block != guest.call(guest.library.realloc(0, block, 5000))
    assert 0 == guest.call(guest.library.realloc(0, last, 0))


def test_memalign_gives_back_what_is_before_and_behind():
    guest = Guest()

    block = guest.call(guest.library.memalign(0, 4096, 5000))

    assert block % 4096 == 0
    assert 5000 <= guest.library.peek_usable_size(block) < 5040
    assert 0 == guest.call(guest.library.memalign(0, 1 << 62, 1 << 62))
    assert 0 == guest.call(guest.library.memalign(0, (1 << 63) + 1, 8))
    assert guest.call(guest.library.memalign(0, 48, 8)) % 64 == 0


def test_a_size_over_ptrdiff_max_is_refused_without_a_call():
    guest = Guest()
    malloc(guest, 24)
    library = guest.library
    calls = [
        lambda: library.malloc(0, 1 << 63),
        lambda: library.calloc(0, 1 << 40, 1 << 40),
        lambda: library.realloc(0, FIRST, 1 << 63),
    ]

    assert [[]] * 3 == [guest.made(call()) for call in calls]
    assert [0] * 3 == [guest.call(call()) for call in calls]


def test_a_break_that_somebody_else_moved_leaves_a_fence():
    guest = Guest(environment=NO_TCACHE)
    _, block = malloc(guest, 100_000, 1000)
    top_size = guest.library.words.load(guest.library.words.load(TOP) + 8) & ~7
    guest.library.memory.curbrk += 0x3000
    guest.kernel.program_break += 0x3000

    (beyond,) = malloc(guest, 60_000)

    assert beyond - 16 == BREAK + 0x21000 + 0x3000
    # The old top is free but for two fences of 16 bytes each; the gap counts as ours.
    old_top = block - 16 + 1008
    assert top_size - 32 == guest.library.words.load(old_top + 8) & ~7
    fences = old_top + top_size - 32, old_top + top_size - 16
    assert [16, 17] == [guest.library.words.load(fence + 8) for fence in fences]
    assert guest.library.words.load(SYSTEM_MEM) == guest.kernel.program_break - BREAK


def test_where_the_break_cannot_grow_the_top_goes_on_in_a_mapping():
    guest = Guest()
    malloc(guest, 100_000)
    guest.kernel.refuses = lambda call: isinstance(call, Brk)

    (block,) = malloc(guest, 60_000)
    malloc(guest, 130_000)

    mapped = next(call for call in guest.kernel.calls if isinstance(call, Mmap))
    assert mapped.length == 1 << 20
    assert not BREAK <= block < guest.kernel.program_break
    assert 1 == sum(isinstance(call, Mmap) for call in guest.kernel.calls)


def test_without_memory_malloc_returns_null_and_goes_on_later():
    guest = Guest()
    malloc(guest, 100_000)
    guest.kernel.refuses = lambda call: True
    assert [0, 0] == malloc(guest, 60_000, 1 << 20)

    guest.kernel.refuses = lambda call: False
    (block,) = malloc(guest, 60_000)

    check(guest, block, FIRST)


def test_calloc_writes_only_what_may_be_dirty():
    guest = Guest()
    malloc(guest, 100_000)
    guest.library.words.watch(on=True)

    guest.call(guest.library.calloc(0, 1, 60_000))
    written = max(guest.library.words.take_accesses()[1].tolist()) >> 1

    # What the top had; the break's new pages are zero.
    assert 34_000 < written < 35_000


def test_a_thread_that_ends_frees_what_it_cached():
    guest = Guest()
    thread = guest.library.new_thread()
    blocks = malloc(guest, *[24] * 5, thread=thread)
    free(guest, *blocks, thread=thread)

    guest.call(guest.library.end_thread(thread))

    check(guest)
    assert 0 == guest.library.tcache[thread]


def test_malloc_trim_gives_back_pages_inside_the_heap():
    guest = Guest(environment={"mmap_threshold": 1 << 25})
    block, _ = malloc(guest, 100_000, 24)
    free(guest, block)

    made = guest.made(guest.library.malloc_trim(0, 0))

    assert [Madvise, Brk] == [type(call) for call in made]


def test_a_child_frees_what_its_parent_allocated():
    guest = Guest()
    (block,) = malloc(guest, 100)

    child = Guest()
    child.library = guest.library.fork(1)
    free(child, block)

    assert [block] == malloc(child, 100)
    assert [block + 112] == malloc(guest, 100)


def test_a_size_that_wraps_finds_a_block_in_the_cache_of_old():
    """CVE-2017-17426: from 2.26 to 2.27 malloc(SIZE_MAX) returned a small cached block."""
    old = Guest(rules=Rules(malloc_checks_size_before_tcache=False))
    (block,) = malloc(old, 24)
    free(old, block)

    assert [block] == malloc(old, (1 << 64) - 1)
    assert [0] == malloc(Guest(), (1 << 64) - 1)
