"""Object caches: what is handed out again, and when memory goes."""

import pytest

from mmactors.mm.slab.kmem_cache import MIN_PARTIAL, KmemCache, SlabObject


def test_the_last_object_freed_is_handed_out_first():
    """As it was left: the constructor does not run again, the generation has grown by two."""
    cache, made = new_cache()
    first, second = cache.alloc(), cache.alloc()
    nr_made = len(made)
    generation = first.generation

    cache.free(second)
    cache.free(first)

    assert cache.alloc() is first
    assert (nr_made, generation + 2) == (len(made), first.generation)


def test_an_object_cannot_be_freed_twice():
    """The free list would have it twice, and hand it out to two."""
    cache, _ = new_cache()
    thing = cache.alloc()
    cache.free(thing)

    with pytest.raises(AssertionError, match=r"things\[0\] is freed twice"):
        cache.free(thing)


def test_memory_of_a_type_safe_cache_goes_after_a_grace_period():
    """Objects of a slab that is given back are still readable until then."""
    callbacks = []
    cache, _ = new_cache(typesafe_by_rcu=True, call_rcu=callbacks.append)
    things = [cache.alloc() for _ in range(2 * (MIN_PARTIAL + 2))]

    for thing in things:
        cache.free(thing)
    before = [thing.is_gone for thing in things]
    for callback in callbacks:
        callback()
    gone = [thing.number for thing in things if thing.is_gone]

    assert not any(before)
    assert [10, 11, 12, 13] == gone
    assert not cache.objects.keys() & set(gone)


def test_a_slab_that_is_gone_hands_nothing_out():
    """Its numbers are not used again."""
    cache, _ = new_cache()
    things = [cache.alloc() for _ in range(2 * (MIN_PARTIAL + 1))]
    for thing in things:
        cache.free(thing)

    again = [cache.alloc() for _ in things]

    assert not any(thing.is_gone for thing in again)
    assert len(things) == len({thing.number for thing in again})


def new_cache(**how):
    """Return a cache of two objects a slab, and all objects that it makes."""
    made = []

    def ctor(number):
        made.append(SlabObject(number=number))
        return made[-1]

    return KmemCache(name="things", objects_per_slab=2, ctor=ctor, **how), made
