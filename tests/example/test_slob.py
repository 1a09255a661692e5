"""SLOB on small cases: what has no recording, by what mm/slob.c of 6.1 says."""

import errno

import pytest
from slobs import HEADER, SlobAlone

from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.slab.flags import (
    SLAB_HWCACHE_ALIGN,
    SLAB_NOLEAKTRACE,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.slab.slab_common import ZERO_SIZE_PTR, CacheRequest
from mmactors.units import PAGE_SHIFT, PAGE_SIZE


def half_words(alone, address, count):
    """Return what stands in memory, as units of 2 bytes."""
    view = alone.slob.memory.bytes_view
    return [
        int.from_bytes(view[at : at + 2], "little", signed=True)
        for at in range(address, address + 2 * count, 2)
    ]


def store(alone, address, *values):
    """Write units of 2 bytes, as who holds a stale pointer may."""
    for nth, value in enumerate(values):
        at = address + 2 * nth
        alone.slob.memory.bytes_view[at : at + 2] = value.to_bytes(2, "little", signed=True)


def blocks(alone, block):
    return alone.heap.page(block.begin >> PAGE_SHIFT).blocks


def test_free_blocks_say_in_memory_how_long_they_are_and_what_follows():
    """A long one its length, then the next one's offset; one of 2 bytes minus that offset."""
    alone = SlobAlone()
    two, four = alone.create(2, "two"), alone.create(4, "four")
    two.align = four.align = 0
    first, second, third = (alone.alloc(s) for s in (two, four, two))

    alone.free(first)
    alone.free(third)

    assert ((0, 1), (3, 2045)) == blocks(alone, second)
    assert [-3] == half_words(alone, first.begin, 1)
    assert [2045, 2048] == half_words(alone, third.begin, 2)


def test_what_is_freed_joins_its_neighbours_and_an_empty_page_goes():
    """Both of them at once; what was cut off to align the next header, too."""
    alone = SlobAlone()
    a, b, c, d = (alone.kmalloc(92) for _ in range(4))
    for block in (a, c):
        alone.free(block)
    assert ((0, 52), (102, 54), (206, 1842)) == blocks(alone, b)

    alone.free(b)
    assert ((0, 156), (206, 1842)) == blocks(alone, d)
    alone.free(d)

    assert (0, 0) == (alone.nr_pages, alone.nr_slab_pages)
    assert [[], [], []] == [alone.heap.list_of(nth) for nth in range(3)]


def test_a_page_that_was_full_comes_back_to_the_list_of_what_is_freed():
    """Whatever list it was on: the second kind of block decides, if it goes first."""
    alone = SlobAlone()
    big = alone.alloc(alone.create(4000, "large"))
    little = alone.perform(alone.heap.alloc(alone.this_cpu, 96, 0, 8, None))
    assert little >> PAGE_SHIFT != big.begin >> PAGE_SHIFT, "it is searched in the list of small"
    rest = alone.perform(alone.heap.alloc(alone.this_cpu, 2000, 0, 8, None))

    alone.perform(alone.heap.free(alone.this_cpu, rest, 2000))

    assert [1, 0, 1] == [len(alone.heap.list_of(nth)) for nth in range(3)]


@pytest.mark.parametrize("node", [0, 1])
def test_a_request_for_a_node_takes_pages_of_that_node_only(node):
    """A page of the other one has room; without a node it is taken."""
    alone = SlobAlone(nr_cpus=2, nr_nodes=2)
    other = alone.kmalloc(100, 1 - node)

    found = alone.kmalloc(100, 1 - node, node=node)
    anywhere = alone.kmalloc(100, node)

    of = [alone.slob.memory.node_of(each.begin >> PAGE_SHIFT) for each in (other, found)]
    assert [1 - node, node] == of
    assert anywhere.begin >> PAGE_SHIFT == found.begin >> PAGE_SHIFT, "the search ended there"


def test_an_object_that_readers_may_see_is_freed_alone_after_they_have_left():
    """Its length stands behind it, with the callback; until then nothing else is there."""
    alone = SlobAlone()
    s = alone.create(40, flags=SLAB_TYPESAFE_BY_RCU)
    objects = [alone.alloc(s) for _ in range(3)]
    assert 64 == s.size

    alone.free(objects[0])
    alone.free(objects[2])
    assert [64] == half_words(alone, objects[0].begin + 40 + 16, 1)
    alone.assert_laws(objects)
    alone.grace_period()

    alone.assert_laws(objects[1:2])
    assert ((0, 32), (64, 1984)) == blocks(alone, objects[1])


def test_a_length_that_was_overwritten_frees_what_it_says():
    """kmem_rcu_free counts back from the callback by it."""
    alone = SlobAlone()
    s = alone.create(40, flags=SLAB_TYPESAFE_BY_RCU)
    objects = [alone.alloc(s) for _ in range(3)]
    alone.free(objects[1])
    store(alone, objects[1].begin + 40 + 16, 32)

    alone.grace_period()

    assert ((48, 16), (96, 1952)) == blocks(alone, objects[0])


@pytest.mark.parametrize(
    ("size", "usable"), [(1, 2), (7, 8), (100, 100), (4087, 4088), (4088, 4096), (5000, 8192)]
)
def test_ksize_is_what_was_asked_for_in_whole_units_or_pages(size, usable):
    alone = SlobAlone()

    assert usable == alone.common.ksize(alone.kmalloc(size).thing)


def test_nothing_is_asked_for_and_freed_without_a_page():
    alone = SlobAlone()

    thing = alone.perform(alone.common.kmalloc(alone.this_cpu, 0, GFP_KERNEL))
    for each in (0, thing):
        alone.perform(alone.common.kfree(alone.this_cpu, each))

    assert (ZERO_SIZE_PTR, 0) == (thing, alone.nr_pages)
    assert (0, 0) == (alone.common.ksize(0), alone.common.ksize(ZERO_SIZE_PTR))


def test_krealloc_keeps_the_bytes_and_stays_where_they_fit():
    alone = SlobAlone()
    block = alone.kmalloc(100)
    view = alone.slob.memory.bytes_view
    view[block.thing : block.thing + 100] = bytes(range(100))

    same = alone.perform(alone.common.krealloc(alone.this_cpu, block.thing, 60, GFP_KERNEL))
    more = alone.perform(alone.common.krealloc(alone.this_cpu, same, 300, GFP_KERNEL))

    assert same == block.thing != more
    assert bytes(range(60)) == view[more : more + 60].tobytes()


def test_zeros_are_written_only_if_they_are_asked_for():
    """What a freed block held, and the words of the free list, are still there otherwise."""
    alone = SlobAlone()
    s = alone.create(64)
    kept, block = alone.alloc(s), alone.alloc(s)
    view = alone.slob.memory.bytes_view
    for gfp, left in ((GFP_KERNEL, True), (GFP_KERNEL | GFP_ZERO, False)):
        view[block.begin : block.begin + 64] = b"\xa5" * 64
        alone.free(block)
        again = alone.alloc(s, gfp=gfp)
        assert again.begin == block.begin
        assert left == any(view[again.begin : again.begin + 64])
    alone.assert_laws([kept, again])


def test_without_pages_there_is_nothing_and_nothing_is_left():
    """Neither of objects, nor of bytes, nor of what a cache is made of."""
    alone = SlobAlone()
    alone.fails = lambda _request: True
    s = alone.create(5000)

    request = CacheRequest(name="c", object_size=40)
    made = alone.perform(alone.common.kmem_cache_create(alone.this_cpu, request))

    assert [None] * 4 == [alone.alloc(s), alone.kmalloc(100), alone.kmalloc(9000), made]
    assert [f"kmem_cache_create_usercopy(c) failed with error {-errno.ENOMEM}"] == alone.log
    assert 0 == alone.nr_pages


def test_flags_that_slob_does_not_know_are_forgotten_and_others_refused():
    alone = SlobAlone()
    flags = SLAB_RECLAIM_ACCOUNT | SLAB_HWCACHE_ALIGN | SLAB_NOLEAKTRACE

    s = alone.create(100, flags=flags)

    assert (SLAB_HWCACHE_ALIGN | SLAB_NOLEAKTRACE, 64, 100) == (s.flags, s.align, s.size)
    assert alone.create(100, "again", flags=flags) is not s, "caches are not merged"
    assert alone.create(100, "odd", flags=1 << 27) is None


def test_an_object_freed_to_another_cache_is_freed_as_that_says():
    """Nobody notices: what lies behind it is free now, and in use."""
    alone = SlobAlone()
    small, large = alone.create(64, "small"), alone.create(128, "large")
    first, second, third = (alone.alloc(small) for _ in range(3))

    alone.perform(alone.slob.kmem_cache_free(large, alone.this_cpu, first.thing))

    assert (0, 64) == blocks(alone, third)[0]
    assert second.begin == alone.alloc(small).begin + 64


def test_a_block_freed_twice_lets_the_next_search_go_round_for_ever():
    """Its free block follows itself; the watchdog finds the CPU."""
    alone = SlobAlone()
    s, wide = alone.create(64), alone.create(200, "wide")
    kept, block = alone.alloc(s), alone.alloc(s)
    alone.alloc(s)
    alone.free(block)
    alone.free(block)

    with pytest.raises(KernelOopsError, match="soft lockup - CPU#0"):
        alone.alloc(wide)

    assert kept.begin != block.begin


def test_a_store_into_a_free_block_leads_the_search_out_of_memory():
    """The kernel dies of the page fault: in the last page an offset leads beyond memory."""
    alone = SlobAlone()
    s = alone.create(64)
    last = (alone.pages.nr_frames - 1) << PAGE_SHIFT
    alone.pages.refcount[1 : alone.pages.nr_frames - 1] = 1
    kept, block = alone.alloc(s), alone.alloc(s)
    assert last == kept.begin & -PAGE_SIZE
    alone.free(block)
    store(alone, block.begin, 1, 32767)

    with pytest.raises(KernelOopsError, match="unable to handle page fault for address"):
        alone.alloc(alone.create(200, "wide"))


def test_an_object_freed_when_its_page_is_gone_follows_a_null_pointer():
    """virt_to_slab finds no slab; struct slab has the free units at 40."""
    alone = SlobAlone()
    s = alone.create(64)
    block = alone.alloc(s)
    alone.free(block)

    with pytest.raises(KernelOopsError, match=r"NULL pointer dereference, address: 0+28"):
        alone.free(block)


def test_kfree_of_an_object_of_a_cache_takes_for_its_size_what_lies_before_it():
    """8 bytes before it there is no header but the end of another object."""
    alone = SlobAlone()
    s = alone.create(64)
    first, second = alone.alloc(s), alone.alloc(s)
    store(alone, second.begin - HEADER, 24, 0)

    alone.perform(alone.common.kfree(alone.this_cpu, second.thing))

    assert (28, 16) == blocks(alone, first)[0]


def test_every_step_is_taken_under_slob_lock_and_changes_nothing():
    """Asked for or not, the same blocks; a new page is opened in a section of its own."""
    plain, stepped = SlobAlone(), SlobAlone(wants_step=True)
    for alone in (plain, stepped):
        alone.held = [alone.kmalloc(size) for size in (40, 700, 1500, 40)]
        alone.free(alone.held.pop(1))

    assert plain.held == stepped.held
    assert ([], "search the pages", "open a page", "free a block") == (
        plain.steps,
        stepped.steps[0],
        stepped.steps[1],
        stepped.steps[-1],
    )
