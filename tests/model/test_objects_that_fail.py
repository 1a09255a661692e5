"""No slab can be had, from the n-th page on, for each n in turn: nothing of a module's is left.

The programs free all that they were given. What is looked for at the end: objects that somebody has
still, slabs that are on no list, counters that lie, pages that nobody knows.
"""

import errno
from functools import cache

import pytest
from attrs import evolve
from machines import drive, scenario_of

from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.faults.config import FailPageAlloc, FaultsConfig

NOTHING = "nothing but the start of a process"
MANY = 300
"""No program has so many pages."""
OPERATIONS = {
    NOTHING: ["nop"],
    "kmalloc": ["kmalloc A size=3000", "kfree A"],
    "kzalloc": ["kzalloc A size=3000 gfp=ATOMIC", "kfree A"],
    "kmalloc of pages": ["kmalloc A size=64K", "kmalloc B size=256K", "kfree A", "kfree B"],
    "krealloc": ["kmalloc A size=100", *(f"krealloc A size={n}" for n in (500, 8000, 40000, 0))],
    "caches": [
        "kmem_cache_create C size=5000",
        "kmem_cache_create D size=300 flags=typesafe_by_rcu,account",
        "kmem_cache_create E size=40 flags=red_zone,poison,store_user,consistency_checks",
        "kmem_cache_create F size=5000",
        *("kmem_cache_alloc A cache=C", "kmem_cache_alloc B cache=D", "kmem_cache_alloc G cache=E"),
        *("kmem_cache_free A cache=C", "kmem_cache_free B cache=D", "kmem_cache_free G cache=E"),
        *("kmem_cache_shrink C", "kmem_cache_destroy D", "kmem_cache_destroy E"),
        *("kmem_cache_destroy F", "kmem_cache_destroy C", "sleep 20"),
    ],
    "many": [
        "kmem_cache_create C size=2000",
        *(f"kmem_cache_alloc A{n} cache=C" for n in range(40)),
        *(f"kmem_cache_free A{n} cache=C" for n in (*range(0, 40, 2), *range(1, 40, 2))),
        "kmem_cache_destroy C",
    ],
    "on another CPU": [
        *("thread T cpu=1", "T: kmem_cache_create C size=2000"),
        *(f"T: kmem_cache_alloc A{n} cache=C" for n in range(12)),
        *(f"kmem_cache_free A{n} cache=C" for n in range(12)),
        *("T: kmem_cache_shrink C", "kmem_cache_destroy C"),
    ],
}
"""Each has every operation that allocates objects, or frees them, of its kind."""


def end_of(program, *, nr_pass, times):
    """Return how many allocations failed; nothing may be left."""
    fault = FailPageAlloc(
        probability=100,
        space=nr_pass,
        times=times,
        min_order=0,
        ignore_gfp_wait=False,
        require=("alloc_slab_page",),
    )
    scenario = scenario_of(list(program), size=32 << 20, cpus=2)
    scenario = evolve(
        scenario, faults=FaultsConfig(fail_page_alloc=fault), sanitize=SanitizeConfig.everything()
    )
    driven = drive(scenario)
    sanitizer = driven.wired.sanitizer
    assert sanitizer is not None
    sanitizer.at_rest()
    assert sanitizer.objects is not None
    used = [each for each in sanitizer.objects.records.values() if each.freed is None]

    assert [] == list(map(str, sanitizer.findings))
    assert [] == [str(each) for each in used if each.is_named]
    assert not {s.name for s in driven.kernel.slab.caches} & set("CDEF")
    for event in driven.events("sys_exit"):
        legal = {-errno.ENOMEM, -errno.EINVAL} if event["ret"] < 0 else {event["ret"]}
        assert event["ret"] in legal, event
    return len(driven.events("fault_injection"))


@pytest.mark.parametrize("times", [1, 2, 100])
@pytest.mark.parametrize("name", OPERATIONS)
def test_whatever_slab_cannot_be_had_nothing_is_left(name, times):
    """Once, so that a smaller slab is tried; twice, so that it fails; from then on all."""
    first = 0 if name == NOTHING else nr_at_start()
    nr_pass = first
    while end_of(OPERATIONS[name], nr_pass=nr_pass, times=times):
        nr_pass += 1
        assert nr_pass < MANY, "a program has so many pages"

    assert nr_pass > first, "something failed"


@cache
def nr_at_start():
    """Return how many pages are asked for before a program does something: all start alike."""
    least, most = 0, MANY
    while most - least > 1:
        nr_pass = (least + most) // 2
        has_failed = end_of(OPERATIONS[NOTHING], nr_pass=nr_pass, times=1)
        least, most = (nr_pass, most) if has_failed else (least, nr_pass)
    return most
