"""jemalloc's rules one by one, without a machine."""

import pytest
from jemallocs import SECOND, JeGuest

from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.size_classes import (
    LARGE_MAXCLASS,
    NR_BINS,
    NR_SIZES,
    index2size,
    size2index,
    usable_aligned,
    usable_of,
)
from mmactors.malloc.library import MallocAbortError, MallocFaultError
from mmactors.malloc.mman import MADV_DONTNEED
from mmactors.malloc.request import LockMutex, Madvise, Mmap
from mmactors.units import KIB, MIB, PAGE_SIZE

ONE_ARENA = JemallocOptions(narenas=1, dirty_decay_ms=-1, muzzy_decay_ms=-1)
NO_CACHE = JemallocOptions(narenas=1, dirty_decay_ms=-1, muzzy_decay_ms=-1, tcache=False)


def new_mappings(guest):
    return [call.length for call in guest.kernel.calls if isinstance(call, Mmap)]


def test_a_class_is_the_smallest_that_holds_a_request():
    for index in range(NR_SIZES):
        size = index2size(index)
        assert size2index(size) == index
        assert size2index(size + 1) == index + 1
    assert index2size(NR_BINS) == 16 * KIB
    assert usable_of(0) == 8
    assert usable_of(LARGE_MAXCLASS + 1) == usable_of(-1) == 0


@pytest.mark.parametrize(
    ("size", "alignment", "usable"),
    [
        (1, 16, 16),
        (1, 64, 64),
        (96, 32, 96),
        (96, 64, 128),
        (1, 4096, 4096),
        (5000, 4096, 8192),
        (14_000, 2048, 14_336),
        (14_000, 4096, 16_384),
        (1, 8192, 16_384),
    ],
)
def test_an_aligned_request_gets_a_class_whose_regions_are_aligned_so(size, alignment, usable):
    assert usable_aligned(size, alignment) == usable


def test_start_up_maps_base_memory_extents_and_a_leaf_of_the_map():
    """Two probes of a page each, then 2 MiB each for the base and for extents, 4 MiB more base."""
    guest = JeGuest()
    assert new_mappings(guest) == [PAGE_SIZE, PAGE_SIZE, 2 * MIB, 2 * MIB, 4 * MIB]


def test_a_cache_is_filled_with_half_of_what_it_keeps_lowest_first():
    guest = JeGuest(options=ONE_ARENA)
    blocks = [guest.malloc(64) for _ in range(65)]
    assert [block - blocks[0] for block in blocks[:64]] == list(range(0, 64 * 64, 64))
    assert guest.taken(64) == 128, "two fills of 64"


def test_a_full_cache_gives_back_its_older_half():
    """Of 20 blocks 10; three fills have brought 30, of which 9 are still cached."""
    guest = JeGuest(options=ONE_ARENA)
    blocks = [guest.malloc(1024) for _ in range(21)]
    for block in blocks[:11]:
        guest.free(block)
    assert guest.taken(1024) == 30
    guest.free(blocks[11])
    assert guest.taken(1024) == 20


def test_what_was_freed_last_is_given_first():
    guest = JeGuest(options=ONE_ARENA)
    one, other = guest.malloc(100), guest.malloc(100)
    guest.free(one)
    guest.free(other)
    assert [guest.malloc(100), guest.malloc(100)] == [other, one]


def test_without_a_cache_the_lowest_free_region_is_given():
    guest = JeGuest(options=NO_CACHE)
    blocks = [guest.malloc(100) for _ in range(10)]
    for block in (blocks[7], blocks[2], blocks[5]):
        guest.free(block)
    assert [guest.malloc(100) for _ in range(3)] == [blocks[2], blocks[5], blocks[7]]


def test_a_slab_that_is_empty_is_given_back_at_once():
    guest = JeGuest(options=NO_CACHE)
    block = guest.malloc(4096)
    guest.free(block)
    assert guest.malloc(2048) == block, "its page serves another class"


def test_large_blocks_begin_at_random_places_of_their_first_page():
    guest = JeGuest(options=ONE_ARENA)
    offsets = {guest.malloc(20_000) % PAGE_SIZE for _ in range(30)}
    assert len(offsets) > 10
    assert all(offset % 64 == 0 for offset in offsets)


def test_blocks_above_the_largest_cached_class_are_not_cached():
    guest = JeGuest(options=ONE_ARENA)
    for size, kept in ((32 * KIB, 1), (40 * KIB, 0)):
        block = guest.malloc(size)
        guest.free(block)
        assert guest.taken(size) == kept


def test_realloc_stays_in_its_class_and_large_blocks_shrink_and_grow_in_place():
    guest = JeGuest(options=ONE_ARENA)
    small = guest.malloc(100)
    assert guest.realloc(small, 112) == small
    assert guest.realloc(small, 113) != small
    large = guest.malloc(100 * KIB)
    assert guest.realloc(large, 20 * KIB) == large
    assert guest.usable(large) == 20 * KIB
    assert guest.realloc(large, 100 * KIB) == large


def test_realloc_to_nothing_does_as_the_option_says():
    guest = JeGuest(options=ONE_ARENA)
    block = guest.malloc(100)
    assert guest.realloc(block, 0) == 0
    assert guest.malloc(100) == block
    keeps = JeGuest(options=JemallocOptions(zero_realloc="alloc"))
    assert keeps.usable(keeps.realloc(keeps.malloc(100), 0)) == 8
    aborts = JeGuest(options=JemallocOptions(zero_realloc="abort"))
    with pytest.raises(MallocAbortError, match="zero_realloc:abort set"):
        aborts.realloc(aborts.malloc(100), 0)


def test_memalign_refuses_what_is_no_power_of_two():
    guest = JeGuest()
    assert guest.memalign(48, 100) == guest.memalign(0, 100) == 0
    assert guest.memalign(64 * KIB, 100) % (64 * KIB) == 0


def test_requests_that_no_class_holds_get_nothing():
    guest = JeGuest()
    assert guest.malloc(LARGE_MAXCLASS + 1) == guest.malloc((1 << 64) - 1) == 0
    assert guest.calloc(1 << 40, 1 << 40) == 0


def test_threads_are_spread_over_arenas_with_the_fewest_threads():
    guest = JeGuest(nr_cpus=1, options=JemallocOptions(narenas=3))
    for thread in range(1, 5):
        assert guest.new_thread() == thread
        guest.malloc(100, thread)
    assert [guest.arena_of_thread(thread) for thread in range(5)] == [0, 1, 2, 0, 1]
    guest.call(guest.library.end_thread(3))
    assert guest.malloc(100, guest.new_thread())
    assert guest.arena_of_thread(5) == 0


def test_four_arenas_for_each_cpu_and_one_for_huge_blocks():
    guest = JeGuest(nr_cpus=2)
    for _ in range(20):
        guest.malloc(100, guest.new_thread())
    arenas = {guest.arena_of_thread(thread) for thread in range(21)}
    assert arenas == set(range(8))
    guest.malloc(8 * MIB)
    assert guest.library.arenas.at(8), "huge_arena_ind"


def test_a_block_goes_back_to_the_arena_that_it_came_from():
    guest = JeGuest(options=JemallocOptions(narenas=2, tcache=False))
    guest.new_thread()
    guest.malloc(100, thread=1)
    block = guest.malloc(100)
    guest.free(block, thread=1)
    assert guest.malloc(100) == block


def test_a_thread_that_only_frees_gets_no_cache():
    guest = JeGuest(options=ONE_ARENA)
    block = guest.malloc(100)
    taken = guest.taken(100)
    guest.free(block, guest.new_thread())
    assert guest.taken(100) == taken - 1, "it went straight to its bin"
    guest.malloc(500, thread=1)
    guest.free(guest.malloc(100), thread=1)
    assert guest.library.heap_bytes().cached > 0


def test_a_thread_that_ends_gives_its_cache_back():
    guest = JeGuest(options=ONE_ARENA)
    thread = guest.new_thread()
    guest.free(guest.malloc(100, thread), thread)
    before = guest.taken(100)
    guest.call(guest.library.end_thread(thread))
    assert before > 0 == guest.taken(100)
    late = guest.malloc(100)
    guest.free(late, thread)


def test_unused_blocks_leave_a_cache_as_others_come_and_go():
    """Every 64 KiB one bin is looked at: three quarters of what it never needed go."""
    guest = JeGuest(options=ONE_ARENA)
    for block in [guest.malloc(100) for _ in range(100)]:
        guest.free(block)
    before = guest.taken(100)
    for _ in range(4000):
        guest.free(guest.malloc(4096))
    assert guest.taken(100) < before // 2


def test_a_free_of_a_stranger_faults():
    guest = JeGuest()
    with pytest.raises(MallocFaultError):
        guest.free(0x1234_5000)


def test_a_double_free_is_not_seen_and_gives_a_block_twice():
    guest = JeGuest(options=ONE_ARENA)
    block = guest.malloc(100)
    guest.free(block)
    guest.free(block)
    assert [guest.malloc(100), guest.malloc(100)] == [block, block]


def test_calloc_of_used_pages_lets_the_kernel_clear_them():
    guest = JeGuest(options=ONE_ARENA)
    guest.free(guest.malloc(MIB))
    nr_before = len(guest.kernel.calls)
    assert guest.calloc(1, MIB)
    (call,) = guest.kernel.calls[nr_before:]
    assert isinstance(call, Madvise)
    assert call.advice == MADV_DONTNEED
    assert call.length == MIB + PAGE_SIZE


def test_dirty_pages_go_after_a_time():
    guest = JeGuest(options=JemallocOptions(narenas=1, dirty_decay_ms=1000))
    blocks = [guest.malloc(100 * KIB) for _ in range(20)]
    for block in blocks:
        guest.free(block)
    nr_before = len(guest.kernel.calls)
    for _ in range(12):
        guest.kernel.now_ns += SECOND // 4
        for _ in range(1000):
            guest.free(guest.malloc(100 * KIB))
    purged = sum(
        call.length for call in guest.kernel.calls[nr_before:] if isinstance(call, Madvise)
    )
    assert purged >= MIB


def test_a_miss_locks_its_bin_and_a_hit_locks_nothing():
    guest = JeGuest(options=ONE_ARENA)
    names = []
    for _ in range(2):
        running = guest.start(guest.library.malloc(0, 700))
        asked = []
        while not running.is_done:
            guest.go_on(running)
            if isinstance(running.asked, LockMutex) and running.waits_for is not None:
                asked.append(running.asked.name)
        names.append(asked)
    assert names[0].count("bin") == 2, "before and after the new slab"
    assert "extents_dirty" in names[0]
    assert names[1] == []


def test_two_threads_fill_their_caches_from_one_bin_at_the_same_time():
    """Whoever comes second uses the slab that the first has brought; no block is given twice."""
    guest = JeGuest(options=ONE_ARENA)
    guest.malloc(8, guest.new_thread())
    running = [guest.start(guest.library.malloc(thread, 320)) for thread in range(2)]
    while not all(each.is_done for each in running):
        for each in running:
            if not each.is_done:
                guest.go_on(each)
    blocks = [each.result for each in running]
    blocks += [guest.malloc(320, thread) for thread in (0, 1) * 60]
    assert len(set(blocks)) == len(blocks)
