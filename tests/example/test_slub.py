"""SLUB on small cases: what is handed out, what goes back, what the kernel says (mm/slab/slub)."""

import pytest
from attrs import evolve
from slubs import SlubAlone

from mmactors.mm.page_alloc.gfp import (
    GFP_ACCOUNT,
    GFP_DIRECT_RECLAIM,
    GFP_DMA,
    GFP_KERNEL,
    GFP_NOMEMALLOC,
    GFP_NOWARN,
    GFP_RECLAIMABLE,
    GFP_ZERO,
)
from mmactors.mm.slab.flags import (
    DEBUG_DEFAULT_FLAGS,
    SLAB_ACCOUNT,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_HWCACHE_ALIGN,
    SLAB_KMALLOC,
    SLAB_NO_USER_FLAGS,
    SLAB_NOLEAKTRACE,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.slab.slab_common import (
    KMALLOC_MAX_SIZE,
    ZERO_SIZE_PTR,
    Prandom,
    random_sequence,
)
from mmactors.mm.slab.slab_memory import CACHES_MAX
from mmactors.mm.slab.slub.debug.debug_option import SlubDebug, parse_slub_debug
from mmactors.mm.slab.slub.layout import SlubConfig
from mmactors.mm.slab.slub.lists import node_partial
from mmactors.mm.slab.slub.slabinfo import SlabInfo, get_slabinfo
from mmactors.races.checkpoint import Checkpoint
from mmactors.units import PAGE_SIZE


def test_the_object_freed_last_is_handed_out_first():
    """A CPU's freelist is a stack."""
    alone = SlubAlone()
    s = alone.create(64)
    first, second = alone.alloc(s), alone.alloc(s)
    alone.free(s, first)
    alone.free(s, second)

    assert (second, first) == (alone.alloc(s), alone.alloc(s))


def test_objects_of_a_new_slab_come_in_random_order_from_a_random_place_on():
    """As random_seq says, round the slab; without SLAB_FREELIST_RANDOM by address."""
    alone = SlubAlone()
    s = alone.create(1024)
    indices = [s.index_of(alone.slabs.head_of(t), t) for t in (alone.alloc(s) for _ in range(8))]
    sequence = s.random_seq.tolist()
    begin = sequence.index(indices[0])
    plain = SlubAlone(random=False)
    t = plain.create(1024)
    start = plain.alloc(t)

    assert (sequence[begin:] + sequence[:begin])[:8] == indices
    assert [start + 1024 * nth for nth in range(1, 8)] == [plain.alloc(t) for _ in range(7)]


def test_a_random_sequence_follows_from_its_seed():
    """lib/random32.c: the same numbers for the same seed, each once."""
    assert random_sequence(7, 16) == random_sequence(7, 16) != random_sequence(8, 16)
    assert list(range(16)) == sorted(random_sequence(7, 16))
    assert 0 <= Prandom(3).below(10) < 10


def test_an_object_of_another_cpus_slab_waits_in_the_slab():
    """Only the CPU that has the slab hands it out again."""
    alone = SlubAlone(nr_cpus=2)
    s = alone.create(64)
    thing = alone.alloc(s, 0)
    alone.free(s, thing, 1)

    assert thing != alone.alloc(s, 1)
    assert thing in [alone.alloc(s, 0) for _ in range(64)]


def test_pages_that_are_not_to_be_had_are_asked_for_at_the_least_order():
    """The first request may not dip into reserves nor wait; the second is the caller's own."""
    alone = SlubAlone()
    s = alone.create(1024)
    requests = []
    alone.fails = lambda request: requests.append(request) or request.order > 0

    thing = alone.alloc(s)

    assert [s.layout.order, 0] == [request.order for request in requests]
    assert requests[0].gfp & GFP_NOMEMALLOC
    assert not requests[0].gfp & GFP_DIRECT_RECLAIM
    assert requests[1].gfp & GFP_DIRECT_RECLAIM
    assert alone.slabs.node_of(alone.slabs.head_of(thing)) == 0
    alone.assert_laws(s, [thing])


def test_without_memory_an_allocation_is_null_and_the_kernel_says_so():
    """NULL is a result; __GFP_NOWARN keeps the log silent."""
    alone = SlubAlone()
    s = alone.create(100, "few")
    alone.fails = lambda _request: True

    assert 0 == alone.alloc(s, gfp=GFP_KERNEL | GFP_NOWARN)
    assert [] == alone.log
    assert 0 == alone.alloc(s)
    assert [
        "SLUB: Unable to allocate memory on node -1, gfp=0xcc0",
        "  cache: few, object size: 100, buffer size: 104, default order: 0, min order: 0",
        "  node 0: slabs: 0, objs: 0, free: 0",
    ] == alone.log


def test_a_pointer_between_free_objects_lies_in_memory_and_is_hidden():
    """SLAB_FREELIST_HARDENED: what stands there is no address; the kernel finds it all the same."""
    seen = []
    for hardened in (False, True):
        alone = SlubAlone(hardened=hardened, random=False)
        s = alone.create(64)
        first, second = alone.alloc(s), alone.alloc(s)
        alone.free(s, first)
        alone.free(s, second)
        word = alone.slabs.memory_view[(second + s.layout.offset) >> 3]
        seen.append(word & (1 << 64) - 1)
        assert first == s.get_freepointer(second)

    assert 0xFFFF888000000000 + first == seen[0]
    assert seen[0] != seen[1]


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("hardened", [False, True])
def test_a_write_after_free_breaks_the_freelist_for_real(hardened, local):
    """The next but one allocation follows what was written; that is an oops, not an object."""
    alone = SlubAlone(hardened=hardened)
    s = alone.create(64)
    things = [alone.alloc(s) for _ in range(2)]
    for thing in things:
        alone.free(s, thing)
    alone.slabs.memory_view[(things[1] + s.layout.offset) >> 3] = 0x4141414141414141

    assert things[1] == alone.alloc(s, local=local)
    with pytest.raises(KernelOopsError, match="general protection fault"):
        alone.alloc(s, local=local)


@pytest.mark.parametrize("local", [False, True])
def test_an_object_freed_twice_in_a_row_is_a_bug(local):
    """set_freepointer refuses an object that would follow itself; an older kernel went on."""
    alone = SlubAlone()
    s = alone.create(64)
    thing = alone.alloc(s)
    alone.free(s, thing, local=local)

    with pytest.raises(KernelOopsError, match=r"kernel BUG at mm/slub.c:419!"):
        alone.free(s, thing, local=local)


def test_an_object_freed_twice_is_handed_out_twice():
    """With another free in between nothing is noticed, as in a kernel without debugging."""
    alone = SlubAlone()
    s = alone.create(64)
    first, second = alone.alloc(s), alone.alloc(s)
    for thing in (first, second, first):
        alone.free(s, thing)

    assert [first, second, first] == [alone.alloc(s) for _ in range(3)]


def test_objects_are_cleared_when_they_are_handed_out():
    """INIT_ON_ALLOC_DEFAULT_ON; without it only if __GFP_ZERO is given."""
    for init_on_alloc, gfp, expected in ((True, 0, 0), (False, 0, 7), (False, GFP_ZERO, 0)):
        for local in (False, True):
            alone = SlubAlone(init_on_alloc=init_on_alloc)
            s = alone.create(64)
            thing = alone.alloc(s)
            alone.slabs.memory_view[thing >> 3] = 7
            alone.free(s, thing, local=local)
            again = alone.alloc(s, gfp=GFP_KERNEL | gfp, local=local)

            assert (thing, expected) == (again, alone.slabs.memory_view[thing >> 3])


def test_a_slab_of_a_typesafe_cache_stays_until_nobody_reads():
    """The counters forget it at once, its pages go back after the grace period."""
    alone = SlubAlone()
    s = alone.create(64, flags=SLAB_TYPESAFE_BY_RCU)
    alone.free(s, alone.alloc(s))

    assert not alone.shrink(s)
    assert (1, 1) == (alone.nr_pages, len(alone.waiting))
    assert alone.destroy(s)
    assert [s] == list(alone.slub.caches)
    alone.grace_period()
    assert (0, ()) == (alone.nr_pages, alone.slub.caches)


def test_a_cache_with_objects_in_use_is_not_destroyed_and_the_kernel_names_them():
    """The report of kmem_cache_destroy, slab and objects."""
    alone = SlubAlone(random=False)
    s = alone.create(1024, "leaky")
    things = [alone.alloc(s) for _ in range(3)]
    alone.free(s, things[1])

    assert not alone.destroy(s)
    assert [s] == list(alone.slub.caches)
    slab = alone.slabs.head_of(things[0])
    free = f"fp=0x{0xFFFF888000000000 + things[1]:016x}"
    flags = "flags=0xfffffc0010200(slab|head|node=0|zone=1|lastcpupid=0x1fffff)"
    assert [
        "=" * 77,
        "BUG leaky (Not tainted): Objects remaining in leaky on __kmem_cache_shutdown()",
        "-" * 77,
        "",
        f"Slab 0x{0xFFFFEA0000000000 + 64 * slab:016x} objects=8 used=2 {free} {flags}",
        f"Object 0x{0xFFFF888000000000 + things[0]:016x} @offset=0",
        f"Object 0x{0xFFFF888000000000 + things[2]:016x} @offset=2048",
        "------------[ cut here ]------------",
        "kmem_cache_destroy leaky: Slab cache still has objects",
        "WARNING: CPU: 0 PID: 0 at mm/slab_common.c:493 kmem_cache_destroy",
        "---[ end trace 0000000000000000 ]---",
    ] == alone.log


def test_a_cache_that_fits_is_an_alias():
    """The number of users counts; the last one destroys it."""
    alone = SlubAlone()
    s = alone.create(60, "first")

    assert s is alone.create(64, "second")
    assert (2, 64, ["second"]) == (s.refcount, s.object_size, s.aliases)
    for other in (
        alone.create(64, "account", flags=SLAB_ACCOUNT),
        alone.create(64, "rcu", flags=SLAB_TYPESAFE_BY_RCU),
        alone.create(64, "alone", flags=SLAB_NOLEAKTRACE),
        alone.create(64, "made", has_ctor=True),
        alone.create(64, "copied", usersize=8),
        alone.create(72, "larger"),
    ):
        assert s is not other
    assert alone.create(200, flags=SLAB_HWCACHE_ALIGN).layout.align == 64
    assert alone.destroy(s)
    assert s in alone.slub.caches
    assert alone.destroy(s)
    assert s not in alone.slub.caches


def test_what_kmem_cache_create_refuses_is_none():
    """Flags that are the allocator's own, and objects that no slab holds."""
    alone = SlubAlone()

    assert alone.create(64, flags=SLAB_KMALLOC) is None
    assert alone.create(PAGE_SIZE << 11) is None
    alone.kmalloc_caches.create_caches()
    assert alone.kmem_cache_create(name="a", object_size=64, flags=SLAB_KMALLOC) is None
    assert alone.kmem_cache_create(name="b", object_size=PAGE_SIZE << 11) is None
    assert [
        "kmem_cache_create_usercopy(a) failed with error -22",
        "kmem_cache_create_usercopy(b) failed with error -22",
    ] == alone.log


def test_there_are_1024_caches_at_most():
    """As if there were no memory for another one; a number that is free again is used again."""
    alone = SlubAlone(merge=False)
    alone.kmalloc_caches.create_caches()
    while len(alone.slub.caches) < CACHES_MAX:
        s = alone.create(64)

    assert alone.kmem_cache_create(name="last", object_size=64) is None
    assert ["kmem_cache_create_usercopy(last) failed with error -12"] == alone.log
    assert alone.destroy(s)
    assert s.number == alone.kmem_cache_create(name="last", object_size=64).number


def test_a_cache_is_made_of_objects_itself():
    """Its name, struct kmem_cache, the order of its objects, a kmem_cache_node for each node."""
    alone = SlubAlone(nr_nodes=2)
    alone.kmalloc_caches.create_caches()

    s = alone.kmem_cache_create(name="a-name-of-20-letters", object_size=100)

    slabs = [alone.slabs.head_of(thing) for thing in s.own_objects]
    assert [
        "kmalloc-32",
        "kmem_cache",
        "kmalloc-192",
        "kmem_cache_node",
        "kmem_cache_node",
    ] == [alone.slub.cache_of(slab).name for slab in slabs]
    assert [0, 1] == [alone.slabs.node_of(slab) for slab in slabs[-2:]]
    assert s is alone.kmem_cache_create(name="alias", object_size=104)
    assert alone.kmem_cache_destroy(s)
    assert s in alone.slub.caches
    assert alone.kmem_cache_destroy(s)
    everything_is_free(alone)


def everything_is_free(alone):
    """Assert that no object of any cache is in use."""
    for cache in alone.slub.caches:
        alone.shrink(cache)
    alone.grace_period()
    assert (0, 0) == (alone.nr_pages, alone.nr_slab_pages)


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_cache_that_cannot_be_made_leaves_nothing_behind(nth):
    """Each of the allocations fails in turn; all before it are undone.

    What a cache is opened with makes -EINVAL of it (kmem_cache_open).
    """
    alone = SlubAlone(nr_nodes=2)
    alone.kmalloc_caches.create_caches()
    asked = []
    alone.fails = lambda request: asked.append(request) or len(asked) >= nth

    s = alone.kmem_cache_create(name="a-name-of-20-letters", object_size=100)

    assert s is None
    error = -12 if nth < 3 else -22
    text = f"kmem_cache_create_usercopy(a-name-of-20-letters) failed with error {error}"
    assert text in alone.log
    everything_is_free(alone)


def test_a_typesafe_cache_is_made_of_memory_until_nobody_reads():
    """What it is made of goes back after the last grace period."""
    alone = SlubAlone()
    alone.kmalloc_caches.create_caches()
    s = alone.kmem_cache_create(name="rcu", object_size=64, flags=SLAB_TYPESAFE_BY_RCU)
    alone.free(s, alone.alloc(s))
    assert alone.kmem_cache_destroy(s)

    assert alone.slub.caches[-1] is s
    alone.grace_period()
    assert s not in alone.slub.caches
    everything_is_free(alone)


def test_slabinfo_counts_what_cpus_have_as_active():
    """Only free objects of a node's partial slabs are not."""
    alone = SlubAlone(random=False)
    s = alone.create(1024, "counted")
    held = [alone.alloc(s) for _ in range(9)]
    expected = SlabInfo(
        name="counted",
        active_objs=16,
        num_objs=16,
        objsize=1024,
        objects_per_slab=8,
        cache_order=1,
        active_slabs=2,
        num_slabs=2,
    )
    assert expected == get_slabinfo(s)
    alone.free(s, held[0])
    alone.perform(alone.slub.flush_cpu(s.number, 0))
    assert evolve(expected, active_objs=8) == get_slabinfo(s)


@pytest.mark.parametrize(
    ("size", "gfp", "name"),
    [
        (1, 0, "kmalloc-8"),
        (65, 0, "kmalloc-96"),
        (129, 0, "kmalloc-192"),
        (193, 0, "kmalloc-256"),
        (1025, 0, "kmalloc-2k"),
        (8192, GFP_ACCOUNT, "kmalloc-cg-8k"),
        (64, GFP_RECLAIMABLE, "kmalloc-rcl-64"),
        (96, GFP_DMA | GFP_ACCOUNT, "dma-kmalloc-96"),
    ],
)
def test_kmalloc_takes_the_class_that_fits(size, gfp, name):
    """Powers of two, 96 and 192, in four kinds."""
    alone = SlubAlone()
    alone.kmalloc_caches.create_caches()
    thing = alone.kmalloc(size, gfp=GFP_KERNEL | gfp)

    assert name == alone.slub.cache_of(alone.slabs.head_of(thing)).name
    alone.kfree(thing)


def test_large_sizes_are_pages():
    """Above two pages kmalloc asks the page allocator; nothing is a size, too."""
    alone = SlubAlone()
    alone.kmalloc_caches.create_caches()
    caches = alone.kmalloc_caches
    thing = alone.kmalloc(8193)

    assert (4, 4, 4 * PAGE_SIZE) == (alone.nr_pages, alone.nr_slab_pages, caches.ksize(thing))
    alone.kfree(thing)
    assert (0, 0) == (alone.nr_pages, alone.nr_slab_pages)
    assert (ZERO_SIZE_PTR, 0) == (alone.kmalloc(0), alone.kmalloc(KMALLOC_MAX_SIZE + 1))
    for nothing in (0, ZERO_SIZE_PTR):
        alone.kfree(nothing)
        assert 0 == caches.ksize(nothing)


def test_krealloc_moves_what_does_not_fit():
    """The bytes go along, and the old object goes back."""
    alone = SlubAlone()
    alone.kmalloc_caches.create_caches()
    caches = alone.kmalloc_caches
    thing = alone.kmalloc(50)
    alone.slabs.bytes_view[thing : thing + 4] = b"abcd"

    def krealloc(thing, size):
        return alone.perform(caches.krealloc(lambda: 0, thing, size, GFP_KERNEL))

    assert thing == krealloc(thing, 64)
    moved = krealloc(thing, 65)
    assert moved != thing
    assert b"abcd\0" == bytes(alone.slabs.bytes_view[moved : moved + 5])
    assert thing == alone.kmalloc(64)
    assert ZERO_SIZE_PTR == krealloc(moved, 0)


def test_kfree_of_pages_that_nobody_allocated_says_so():
    """Nothing is freed."""
    alone = SlubAlone()
    alone.kmalloc_caches.create_caches()
    alone.kfree(0x123000)

    assert "object pointer: 0xffff888000123000" == alone.log[-1]


def test_a_snapshot_of_memory_has_the_pages_of_slabs():
    """A pointer between free objects is part of the state, and put back with it."""
    alone = SlubAlone()
    s = alone.create(64)
    first, second = alone.alloc(s), alone.alloc(s)
    alone.free(s, first)
    before = alone.memory.snapshot()
    changes = alone.memory.changes_since(before)
    untouched = changes()
    alone.free(s, second)

    assert untouched != changes()
    alone.memory.restore(before)
    assert untouched == changes()


def test_a_checkpoint_puts_everything_back():
    """What a search restores before each schedule: the same calls give the same again."""
    alone = SlubAlone(nr_cpus=2)
    s = alone.create(1000, flags=SLAB_TYPESAFE_BY_RCU)
    held = [alone.alloc(s, nth % 2) for nth in range(20)]
    checkpoint = Checkpoint(alone.slub)

    def schedule():
        found = [alone.alloc(s, nth % 2) for nth in range(30)]
        for thing in (*held, *found[:10]):
            alone.free(s, thing, 1)
        alone.create(72, "more")
        words = alone.memory.words[: alone.slabs.nr_bytes // 8].copy()
        return found, alone.slabs.words.copy(), words

    first = schedule()
    checkpoint.restore()
    again = schedule()

    assert first[0] == again[0]
    assert (first[1] == again[1]).all()
    assert (first[2] == again[2]).all()


def test_a_node_that_is_asked_for_gives_the_object():
    """The CPU's slab of another node is taken away; a node in need gets what others have."""
    alone = SlubAlone(nr_cpus=2, nr_nodes=2)
    s = alone.create(64)
    near = alone.alloc(s, 0)
    far = alone.alloc(s, 0, node=1)

    assert [0, 1] == [alone.slabs.node_of(alone.slabs.head_of(each)) for each in (near, far)]
    alone.assert_laws(s, [near, far])


def test_a_node_without_memory_is_no_node_to_ask_for():
    """The CPU's slab serves, and stays; no cache has a part of its own there (slab_nodes)."""
    alone = SlubAlone(nr_nodes=2, nr_memoryless=1)
    alone.kmalloc_caches.create_caches()
    s = alone.kmem_cache_create(name="a-name-of-20-letters", object_size=1000)
    first = alone.alloc(s, node=2)
    slab = alone.slabs.head_of(first)
    others = [alone.alloc(s, node=node) for node in (2, None, 2)]

    assert {slab} == {alone.slabs.head_of(each) for each in others}
    assert 0 == alone.slabs.node_of(slab)
    assert 5 == len(s.own_objects)
    alone.assert_laws(s, [first, *others])


def test_partial_slabs_of_a_node_that_is_asked_for_come_before_new_ones():
    """get_partial looks at that node alone; the CPU's slab of another goes to its node."""
    alone = SlubAlone(nr_cpus=2, nr_nodes=2)
    s = alone.create(1000)
    far = [alone.alloc(s, 1) for _ in range(s.layout.objects + 1)]
    near = alone.alloc(s, 0)
    alone.shrink(s)
    asked = alone.nr_asked
    found = alone.alloc(s, 0, node=1)

    assert asked == alone.nr_asked
    assert alone.slabs.head_of(far[-1]) == alone.slabs.head_of(found)
    assert [alone.slabs.head_of(near)] == list(node_partial(s, 0))
    alone.assert_laws(s, [*far, near, found])


@pytest.mark.parametrize(
    ("text", "name", "flags", "expected"),
    [
        ("", "a", 0, DEBUG_DEFAULT_FLAGS),
        ("FZ", "a", 0, SLAB_CONSISTENCY_CHECKS | SLAB_RED_ZONE),
        ("fz;p,dentry", "dentry", 0, SLAB_POISON),
        ("fz;p,dentry", "dentry2", 0, SLAB_CONSISTENCY_CHECKS | SLAB_RED_ZONE),
        (",kmalloc-*", "kmalloc-64", 0, DEBUG_DEFAULT_FLAGS),
        (",kmalloc-*", "dentry", 0, 0),
        ("-", "a", 0, 0),
        ("u", "a", SLAB_NOLEAKTRACE, SLAB_NOLEAKTRACE),
        ("u", "a", SLAB_NO_USER_FLAGS, SLAB_NO_USER_FLAGS),
        ("O", "a", 0, 0),
        (";", "a", 0, 0),
        (";;FZ", "a", 0, SLAB_CONSISTENCY_CHECKS | SLAB_RED_ZONE),
        ("p,", "a", 0, 0),
        ("f-p", "a", 0, SLAB_POISON),
        ("p,a;", "a", 0, 0),
        ("p,a;z,b", "a", 0, SLAB_POISON),
        ("p,a;;z,b", "a", 0, 0),
        ("p,a*;;z,b", "a", 0, SLAB_POISON),
        ("p,b;,a", "a", 0, SLAB_POISON),
        ("p,*;z", "a", 0, SLAB_POISON),
    ],
)
def test_slub_debug_names_flags_and_caches(text, name, flags, expected):
    """As setup_slub_debug and kmem_cache_flags read it, where names end in odd places too."""
    assert expected == parse_slub_debug(text).kmem_cache_flags(flags, name)


def test_slub_debug_o_keeps_orders_as_they_are():
    """A cache whose least order metadata would raise has none."""
    sizes = []
    for text in ("U", "UO"):
        alone = SlubAlone(debug=parse_slub_debug(text))
        layout = alone.create(4096).layout
        sizes.append((layout.min_order, bool(layout.flags & SLAB_STORE_USER)))

    assert [(1, True), (0, False)] == sizes
    assert SlubDebug() == SlubConfig().debug
