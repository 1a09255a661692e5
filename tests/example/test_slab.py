"""SLAB on small cases: what has no recording, by what mm/slab.c says (mm/slab/slab)."""

import pytest
from slabs import NODE_PAGES, SlabAlone

from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_NOWAIT, GFP_THISNODE, GFP_ZERO
from mmactors.mm.slab.flags import SLAB_TYPESAFE_BY_RCU
from mmactors.mm.slab.request import KernelOopsError, TellAlloc, TellFree
from mmactors.mm.slab.slab.cache import CACHES_MAX
from mmactors.mm.slab.slab.layout import SLAB_MAX_ORDER_HI, SLAB_MAX_ORDER_LO, slab_max_order
from mmactors.mm.slab.slab.reap import REAPTIMEOUT_AC, REAPTIMEOUT_NODE
from mmactors.mm.slab.slab.slab import BootStage
from mmactors.mm.slab.slab.struct_slab import (
    ALIEN_LIMIT,
    AVAIL,
    FREE_LIMIT,
    FREE_SLABS,
    FREE_TOUCHED,
    NEXT_REAP,
    SLABS_FREE,
    TOTAL_SLABS,
)
from mmactors.mm.slab.slab_common import KMALLOC_MAX_SIZE
from mmactors.units import HZ, MIB, PAGE_SHIFT, PAGE_SIZE


def avail(alone, ac):
    return alone.slabs.view[ac + AVAIL]


def test_objects_of_another_node_wait_until_twelve_are_together():
    """The thirteenth sends them to the array that the other node's CPUs share."""
    alone = SlabAlone(nr_cpus=2, nr_nodes=2)
    s = alone.create(64)
    things = [alone.alloc(s, 1) for _ in range(ALIEN_LIMIT + 1)]
    for thing in things[:-1]:
        alone.free(s, thing, 0)
    before = avail(alone, s.alien(0, 1)), avail(alone, s.shared(1))

    alone.free(s, things[-1], 0)

    assert (before, (ALIEN_LIMIT, 0)) == ((ALIEN_LIMIT, 0), before)
    assert [things[-1]] == s.entries(s.alien(0, 1))
    assert things[:-1] == s.entries(s.shared(1))
    alone.assert_laws(s, [])


def test_without_alien_caches_an_object_goes_to_its_slab_at_once():
    """noaliencache: the other node's lock is taken for each."""
    alone = SlabAlone(nr_cpus=2, nr_nodes=2, alien_caches=False)
    s = alone.create(64)
    thing = alone.alloc(s, 1)
    slab = alone.slabs.head_of(thing)
    nr_out = s.active(slab)

    alone.free(s, thing, 0)

    assert nr_out - 1 == s.active(slab)
    alone.assert_laws(s, [])


def test_the_reaper_sends_objects_of_other_nodes_home_in_turn():
    """Each pass of a CPU looks at one node; its own has no such array."""
    alone = SlabAlone(nr_cpus=3, nr_nodes=3)
    s = alone.create(64)
    for cpu in (1, 2):
        alone.free(s, alone.alloc(s, cpu), 0)
    aliens = [s.alien(0, of) for of in (1, 2)]
    seen = []
    for _ in range(4):
        seen.append([avail(alone, ac) for ac in aliens])
        alone.reap(0)

    assert [[1, 1], [0, 1], [0, 0], [0, 0]] == seen
    alone.assert_laws(s, [])


def test_shrinking_brings_home_what_is_on_any_node():
    """All arrays are emptied, and all pages go."""
    alone = SlabAlone(nr_cpus=2, nr_nodes=2)
    s = alone.create(64)
    for cpu in (0, 1):
        for thing in [alone.alloc(s, cpu) for _ in range(30)]:
            alone.free(s, thing, 1 - cpu)

    assert not alone.shrink(s)
    assert alone.nr_pages == 0


def test_a_node_that_is_full_is_helped_by_another():
    """First by objects it has, then by a page; whoever insists on the node gets nothing."""
    alone = SlabAlone(nr_cpus=2, nr_nodes=2)
    s = alone.create(64)
    there = [alone.alloc(s, 1) for _ in range(3)]
    alone.full_nodes = {0}

    assert not alone.alloc(s, 0, gfp=GFP_KERNEL | GFP_THISNODE)
    thing = alone.alloc(s, 0)
    assert alone.slabs.node_of(thing >> PAGE_SHIFT) == 1
    assert alone.slabs.head_of(thing) == alone.slabs.head_of(there[0])
    alone.assert_laws(s, [*there, thing])


def test_a_cpu_without_memory_of_its_own_takes_the_nearest_nodes():
    """numa_mem_id(): its array holds objects of that."""
    alone = SlabAlone(nr_cpus=2, nr_nodes=1, nr_memoryless=1, node_of_cpu=[0, 1])
    s = alone.create(64)
    thing = alone.alloc(s, 1)
    wanted = alone.alloc(s, 0, node=1)
    alone.free(s, thing, 1)

    assert s.entries(s.cpu_cache(1))[-1] == thing
    alone.assert_laws(s, [wanted])


@pytest.mark.parametrize("has_ctor", [False, True])
def test_without_a_page_nothing_is_left_behind(has_ctor):
    """Neither is for want of the array of indexes: the slab's page goes back."""
    alone = SlabAlone(merge=False)
    s = alone.create(2048, has_ctor=has_ctor)
    asked = []
    for nr_granted in range(2 if has_ctor else 1):
        alone.fails = lambda request, granted=nr_granted: (
            asked.append(request) or len(asked) > granted
        )
        asked.clear()
        assert alone.alloc(s, 0, gfp=GFP_NOWAIT | GFP_THISNODE) == 0
        assert (0, 0) == (alone.nr_pages, alone.nr_slab_pages)
        alone.assert_laws(s, [])


def test_an_index_array_is_told_of_like_any_allocation():
    """kmalloc_node for a slab, kfree when it goes."""
    alone = SlabAlone(merge=False)
    s = alone.create(2048, has_ctor=True)
    thing = alone.alloc(s)
    (told,) = alone.told
    assert isinstance(told, TellAlloc)
    assert ("cache_grow_begin", 2, 32, 0) == (
        told.site,
        told.bytes_req,
        told.bytes_alloc,
        told.node,
    )

    alone.free(s, thing)
    alone.shrink(s)

    assert [told.thing] == [each.thing for each in alone.told if isinstance(each, TellFree)]


def test_what_is_freed_twice_in_a_row_is_freed_once_where_the_kernel_is_hardened():
    """It warns once."""
    alone = SlabAlone()
    s = alone.create(64)
    thing = alone.alloc(s)
    for local in (False, True, False):
        alone.free(s, thing, local=local)

    assert s.entries(s.cpu_cache(0)).count(thing) == 1
    assert sum("__free_one" in line for line in alone.log) == 1


def test_what_is_freed_twice_is_handed_out_twice_where_it_is_not():
    """Nobody looks."""
    alone = SlabAlone(hardened=False)
    s = alone.create(64)
    thing = alone.alloc(s)
    alone.free(s, thing)
    alone.free(s, thing)

    assert (thing, thing) == (alone.alloc(s), alone.alloc(s))


def test_a_slab_that_gets_back_more_than_it_gave_kills_the_kernel():
    """The count of objects out goes below nothing: its index is written nowhere near."""
    alone = SlabAlone(hardened=False)
    s = alone.create(4096)
    thing = alone.alloc(s)
    for _ in range(3):
        alone.free(s, thing)

    with pytest.raises(KernelOopsError):
        alone.shrink(s)


def test_an_object_is_clear_if_it_is_asked_for_so():
    """GFP_ZERO, or init_on_alloc; a constructor's objects are left as they are."""
    alone = SlabAlone(init_on_alloc=False)
    s = alone.create(64)
    thing = alone.alloc(s)
    alone.slabs.bytes_view[thing : thing + 64] = bytes([7]) * 64
    alone.free(s, thing)
    kept = alone.alloc(s)
    assert alone.slabs.bytes_view[kept + 63] == 7
    alone.free(s, kept)

    assert alone.slabs.bytes_view[alone.alloc(s, gfp=GFP_KERNEL | GFP_ZERO) + 63] == 0


def test_the_array_of_indexes_lies_in_an_object_that_is_handed_out_last():
    """Whoever gets it finds no trace of it."""
    alone = SlabAlone(random=False)
    s = alone.create(1024)
    things = [alone.alloc(s) for _ in range(s.layout.num)]

    assert all(alone.slabs.bytes_view[thing] == 0 for thing in things)
    assert alone.pages.index_view[alone.slabs.head_of(things[0])] == 0


def test_objects_come_in_random_order_if_the_kernel_is_built_so():
    """random_seq, from a place on; without, by address from the end of the batch."""
    alone, plain = SlabAlone(), SlabAlone(random=False)
    s, ordered = alone.create(512), plain.create(512)
    slab = alone.slabs.head_of(alone.alloc(s))
    entries = s.entries(s.cpu_cache(0))
    indices = [s.index_of(slab, thing) for thing in entries]
    place = s.random_seq.index(indices[0])
    rotated = [*s.random_seq[place:], *s.random_seq[:place]]

    assert indices == rotated[: len(indices)]
    first = plain.alloc(ordered)
    assert ordered.index_of(plain.slabs.head_of(first), first) == ordered.layout.num - 1


def test_typesafe_slabs_wait_for_readers():
    """They are no one's by then, but their pages stay."""
    alone = SlabAlone()
    s = alone.create(64, flags=SLAB_TYPESAFE_BY_RCU)
    alone.free(s, alone.alloc(s))
    alone.shrink(s)
    waiting = alone.nr_pages
    index_pages = waiting - 1
    alone.grace_period()

    assert s.nr_slabs == 0
    assert alone.nr_pages == index_pages


def reaped(alone, s, *, passes=1):
    for _ in range(passes):
        alone.jiffies += REAPTIMEOUT_NODE
        alone.reap(0)
    return alone.slabs.view[s.node(0) + FREE_SLABS]


def with_free_slabs(count):
    """Return a cache of which many slabs are free, and none is looked for any more."""
    alone = SlabAlone(merge=False)
    s = alone.create(4096)
    things = [alone.alloc(s) for _ in range(60)]
    for thing in things:
        alone.free(s, thing)
    view, n = alone.slabs.view, s.node(0)
    view[n + FREE_TOUCHED] = view[n + NEXT_REAP] = 0
    assert view[n + FREE_SLABS] >= count
    return alone, s


def test_a_fifth_of_what_may_be_free_goes_from_the_tail_in_whole_slabs():
    """free_limit is 25 here, and a slab has one object: five."""
    alone, s = with_free_slabs(20)
    before = s.node_slabs(0, SLABS_FREE)
    assert alone.slabs.view[s.node(0) + FREE_LIMIT] == 25
    # The CPU's array was used, which the first pass only notes.
    assert reaped(alone, s) == len(before) - 5

    assert before[:-5] == s.node_slabs(0, SLABS_FREE)


def test_free_slabs_that_were_looked_for_stay_for_one_more_pass():
    """free_touched is cleared instead."""
    alone, s = with_free_slabs(20)
    alone.slabs.view[s.node(0) + FREE_TOUCHED] = 1
    before = alone.slabs.view[s.node(0) + FREE_SLABS]

    assert reaped(alone, s) == before
    assert alone.slabs.view[s.node(0) + FREE_TOUCHED] == 0


def test_a_node_is_due_every_four_seconds():
    """Between, only the CPU's own array is looked at."""
    alone, s = with_free_slabs(20)
    reaped(alone, s)
    left = alone.slabs.view[s.node(0) + FREE_SLABS]
    assert alone.slabs.view[s.node(0) + NEXT_REAP] == alone.jiffies + 4 * HZ
    alone.jiffies += REAPTIMEOUT_AC
    alone.reap(0)

    assert alone.slabs.view[s.node(0) + FREE_SLABS] >= left


def free_limits(nr_cpus, node_of_cpu, nr_nodes, stage):
    """Return by node how many batches count."""
    alone = SlabAlone(nr_cpus=nr_cpus, nr_nodes=nr_nodes, node_of_cpu=node_of_cpu)
    alone.slab.stage = stage
    s = alone.create(64)
    found = [alone.slabs.view[s.node(node) + FREE_LIMIT] for node in range(nr_nodes)]
    return [(limit - s.layout.num) // s.layout.batchcount for limit in found]


@pytest.mark.parametrize(
    ("cpus", "nr_nodes", "none", "first", "everybody"),
    [
        ([0], 1, [1], [2], [2]),
        ([0, 0], 1, [2], [2], [3]),
        ([0, 0, 0, 0], 1, [4], [4], [5]),
        ([0, 1], 2, [1, 1], [2, 1], [2, 2]),
        ([0, 0, 1, 1], 2, [2, 2], [2, 2], [3, 3]),
        ([0], 2, [1, 1], [2, 1], [2, 1]),
    ],
)
def test_a_cache_counts_the_cpus_that_were_there(cpus, nr_nodes, none, first, everybody):
    """A CPU that comes up counts, for all caches, those of its node that came before it."""
    stages = (BootStage.NONE, BootStage.FIRST_CPU, BootStage.ALL)
    found = [free_limits(len(cpus), cpus, nr_nodes, stage) for stage in stages]

    assert [none, first, everybody] == found


def test_small_machines_have_small_slabs():
    """Up to 32 MiB one page, unless an object needs more."""
    assert (SLAB_MAX_ORDER_LO, SLAB_MAX_ORDER_HI) == (
        slab_max_order(32 * MIB),
        slab_max_order(32 * MIB + PAGE_SIZE),
    )


def test_a_cache_takes_its_own_memory_and_gives_it_back():
    """Name, struct kmem_cache, order of objects; on each node two arrays and kmem_cache_node."""
    alone = SlabAlone(nr_cpus=2, nr_nodes=2, merge=False)
    s = alone.kmem_cache_create(name="mine", object_size=64)
    asked = [(each.site, each.bytes_req) for each in alone.told]

    assert asked == [
        ("kmem_cache_create_usercopy", 5),
        ("kmem_cache_create_usercopy", 144),
        ("cache_random_seq_create", 4 * 64),
        *[
            ("setup_kmem_cache_node", size)
            for _ in range(2)
            for size in (16, 24 + 8 * 12, 16 + 8 * 480, 120)
        ],
    ]
    assert alone.kmem_cache_destroy(s)
    for cache in alone.slab.caches:
        alone.shrink(cache)
    assert alone.nr_pages == 0


@pytest.mark.parametrize("nth", range(10))
def test_a_cache_of_which_a_part_cannot_be_had_leaves_nothing(nth):
    """Whichever allocation fails: -ENOMEM, and all before it is given back."""
    alone = SlabAlone(nr_cpus=2, nr_nodes=2, merge=False, may_fail=True)
    asked = []
    alone.refuses = lambda allocation: asked.append(allocation) or len(asked) == nth + 1

    assert alone.kmem_cache_create(name="mine", object_size=64) is None
    assert "kmem_cache_create_usercopy(mine) failed with error -12" in alone.log
    allocated = [each.thing for each in alone.told if isinstance(each, TellAlloc) and each.thing]
    freed = [each.thing for each in alone.told if isinstance(each, TellFree) and each.thing]
    assert sorted(allocated) == sorted(freed)
    for cache in alone.slab.caches:
        alone.shrink(cache)
    assert alone.nr_pages == 0


def test_a_cache_whose_objects_no_slab_holds_is_refused():
    """-E2BIG, as no order is high enough."""
    alone = SlabAlone()

    assert alone.kmem_cache_create(name="huge", object_size=2 * KMALLOC_MAX_SIZE) is None
    assert "kmem_cache_create_usercopy(huge) failed with error -7" in alone.log


def test_caches_may_be_used_up():
    """The model has room for some; a number is used again."""
    alone = SlabAlone(merge=False)
    left = CACHES_MAX - len(alone.slab.caches)
    caches = [alone.create(64, f"c{nth}") for nth in range(left)]
    assert None not in caches
    assert alone.create(64, "more") is None

    assert alone.destroy(caches[7])
    assert alone.create(64, "more").number == caches[7].number


def test_caches_that_fit_share_slabs():
    """Merging is that of all allocators; an alias makes the objects larger."""
    alone = SlabAlone()
    s = alone.create(60, "first")

    assert alone.create(64, "second") is s
    assert s.object_size == 64


def test_a_cache_with_objects_in_use_is_not_destroyed():
    """Its slabs stay, and the kernel says so."""
    alone = SlabAlone(merge=False)
    s = alone.create(64)
    thing = alone.alloc(s)

    assert not alone.destroy(s)
    assert any("still has objects" in line for line in alone.log)
    alone.assert_laws(s, [thing])
    assert alone.slabs.view[s.node(0) + TOTAL_SLABS] == 1


def test_nodes_have_pages_of_their_own():
    """A sanity check of the pages that these tests hand out."""
    alone = SlabAlone(nr_cpus=2, nr_nodes=2)
    s = alone.create(64)

    assert alone.alloc(s, 0) >> PAGE_SHIFT < NODE_PAGES <= alone.alloc(s, 1) >> PAGE_SHIFT
