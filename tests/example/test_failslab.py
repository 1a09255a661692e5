"""Allocations of objects that are made to fail (failslab): which, when, and what comes of it."""

import errno

import pytest
from attrs import evolve
from machines import drive, run, scenario_of
from slubs import SlubAlone

from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_NOFAIL
from mmactors.scenario.faults.config import FailPageAlloc, FailSlab, FaultsConfig

OBJECTS = ("kmalloc", "kmem_cache_create", "kmem_cache_alloc", "krealloc")
"""What only a module does, so that no process fails to begin."""


def with_faults(program, *, pages=None, **options):
    options = {"probability": 100, "ignore_gfp_wait": False, "require": OBJECTS, **options}
    faults = FaultsConfig(
        failslab=FailSlab(**options), fail_page_alloc=FailPageAlloc() if pages is None else pages
    )
    return evolve(scenario_of(program, size=32 << 20), faults=faults)


def failing(program, **options):
    """Run a program of whose objects one fails, if nothing else is said."""
    return run(with_faults(program, **options))


def refused(ran):
    return [event["cache"] for event in ran.events("fault_injection")]


def console(ran):
    return [event["msg"] for event in ran.events("console")]


def test_the_nth_object_fails_and_is_an_event():
    """Its fields are what 6.1 prints, and what was asked for; it has a counter."""
    program = ["kmalloc A size=100", "kmalloc B size=200"]
    ran = failing(program, cache_filter=("kmalloc-128", "kmalloc-256"), interval=2)
    (event,) = ran.events("fault_injection")

    assert ("failslab", 2, 100, 0, 1) == tuple(
        event[name] for name in ("name", "interval", "probability", "space", "times")
    )
    assert ("kmalloc-256", None) == (event["cache"], event["order"])
    assert 1 == ran.counters["injected_failslab"]
    assert 0 == ran.counters["injected_fail_page_alloc"]


def test_who_gets_no_object_hears_of_it():
    """NULL is -ENOMEM; nothing is printed, as nothing was looked for."""
    program = ["kmalloc A size=100", "kmalloc B size=100"]
    ran = failing(program)

    assert -errno.ENOMEM == ran.results()["kmalloc A size=100"]
    assert 0 < ran.results()["kmalloc B size=100"]
    assert [0] == [event["ptr"] for event in ran.events("kmalloc") if not event["ptr"]]
    assert [] == console(ran)


def test_the_kernels_default_lets_pass_what_may_wait():
    """ignore-gfp-wait is on: GFP_KERNEL passes."""
    program = ["kmalloc A size=100", "kmalloc B size=100 gfp=ATOMIC"]
    found = failing(program, ignore_gfp_wait=True).results()

    assert 0 < found["kmalloc A size=100"]
    assert -errno.ENOMEM == found["kmalloc B size=100 gfp=ATOMIC"]


def test_a_filter_names_the_caches():
    """Objects of all others pass, and count for nothing."""
    program = ["kmalloc A size=8", "kmalloc B size=300", "kmem_cache_create C size=300"]
    program += ["kmem_cache_alloc O cache=C", "kmem_cache_alloc P cache=C", "kmalloc D size=512"]
    ran = failing(program, cache_filter=("kmalloc-512", "C"), interval=2, times=-1)

    assert ["C", "kmalloc-512"] == refused(ran)


def test_space_is_bytes_of_objects():
    """The size of a cache's object, not what was asked for: what passes takes it off."""
    program = ["kmalloc A size=100", "kmalloc B size=100", "kmalloc C size=100"]
    ran = failing(program, space=300, cache_filter=("kmalloc-128",))

    assert -errno.ENOMEM == ran.results()["kmalloc C size=100"]
    assert 1 == len(refused(ran))


def test_what_is_as_large_as_pages_is_no_object():
    """kmalloc of more than two pages asks the page allocator, which fail_page_alloc is for."""
    program = ["kmalloc L size=64K", "kmalloc A size=8"]
    pages = FailPageAlloc(probability=100, ignore_gfp_wait=False, min_order=4)
    ran = failing(program, times=-1, pages=pages)

    assert [None, "kmalloc-8"] == refused(ran)
    assert ["fail_page_alloc", "failslab"] == [
        event["name"] for event in ran.events("fault_injection")
    ]


def test_krealloc_that_gets_nothing_keeps_the_old_one():
    """And the module frees it once."""
    program = ["kmalloc A size=8", "krealloc A size=100", "kfree A", "kmalloc B size=8"]
    ran = failing(program, require=("krealloc",))

    assert -errno.ENOMEM == ran.results()["krealloc A size=100"]
    assert [0, True] == [ran.results()["kfree A"], ran.results()["kmalloc B size=8"] > 0]


@pytest.mark.parametrize(
    ("nth", "cache", "error"),
    [(1, "kmalloc-16", -12), (2, "kmalloc-32", -22), (3, "kmem_cache_node", -22), (4, None, 0)],
)
def test_a_cache_of_mine_is_made_of_objects_that_may_fail(nth, cache, error):
    """All but struct kmem_cache itself, whose cache is the first; 6.1 calls most of it -EINVAL."""
    program = ["kmem_cache_create a_cache_of_mine size=1000 flags=poison", "kmalloc A size=1000"]
    filtered = ("kmalloc-16", "kmalloc-32", "kmem_cache_node", "kmem_cache")
    ran = failing(program, require=(), cache_filter=filtered, interval=nth)
    text = f"kmem_cache_create_usercopy(a_cache_of_mine) failed with error {error}"

    assert ([cache] if cache else []) == refused(ran)
    assert (-errno.ENOMEM if error else 0) == ran.results()[program[0]]
    assert bool(error) == (text in console(ran))


def test_functions_say_whose_objects_fail():
    """Those of a cache's parts, too; `reject` lets a function pass."""
    program = ["kmem_cache_create a_cache_of_mine size=1000 flags=poison"]
    seq = failing(program, require=("cache_random_seq_create",))
    other = failing(program, reject=("kmem_cache_create_usercopy",))

    assert ["kmalloc-32"] == refused(seq) == refused(other)
    assert "SLUB: Unable to initialize free list for a_cache_of_mine" in console(seq)


def test_a_page_fault_that_was_refused_an_object_is_tried_again():
    """6.1 lets it fault once more (pagefault_out_of_memory): nobody dies, both are counted."""
    program = ["mmap A 4K", "touch A write"]
    ran = failing(program, require=("touch",), cache_filter=("anon_vma", "anon_vma_chain"))

    assert 1 == len(refused(ran))
    assert () == ran.machine.deaths()
    assert ["failed"] == [
        event["kind"] for event in ran.events("page_fault_end") if event["kind"] == "failed"
    ]


@pytest.mark.parametrize("nth", range(1, 5))
def test_a_cache_of_which_a_part_failed_leaves_nothing_behind(nth):
    """Name, order of objects, and the parts on two nodes; each in turn, all before are undone."""
    alone = SlubAlone(nr_nodes=2, may_fail=True)
    alone.kmalloc_caches.create_caches()
    nr_caches, asked = len(alone.slub.caches), []
    alone.refuses = lambda allocation: asked.append(allocation) or len(asked) == nth

    assert alone.kmem_cache_create(name="a-name-of-20-letters", object_size=100) is None
    assert nth == len(asked)
    assert nr_caches == len(alone.slub.caches)
    for cache in alone.slub.caches:
        alone.shrink(cache)
    assert 0 == alone.nr_pages


def test_an_object_that_must_not_fail_is_not_asked_for():
    """__GFP_NOFAIL passes, and struct kmem_cache."""
    alone = SlubAlone(may_fail=True)
    alone.kmalloc_caches.create_caches()
    s = alone.create(64)
    boot = next(cache for cache in alone.slub.caches if cache.name == "kmem_cache")
    alone.refuses = lambda _allocation: True

    assert 0 == alone.alloc(s)
    assert 0 < alone.alloc(s, gfp=GFP_KERNEL | GFP_NOFAIL)
    assert 0 < alone.alloc(boot)
    assert 1 == s.nr_slabs


def test_what_is_asked_for_and_never_fails_changes_nothing():
    """The path that asks is the twin of the one that does not."""
    program = ["kmalloc A size=100", "kmalloc B size=100", "kfree A", "kfree B", "kmalloc C size=9"]
    plain = run(scenario_of(program, size=32 << 20))

    assert plain.log == failing(program, interval=1 << 30).log
    assert drive(with_faults(program, probability=0)).log == plain.log
