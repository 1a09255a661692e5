"""Two CPUs in SLAB and SLOB: every order, with values that tell states apart, and told in words."""

import pytest
from explored import explore, scenario_of

from mmactors.explore.search.verdict import Outcome
from mmactors.races.objects import MachineObjects

COLUMNS = {"slab": ("kmem_cache_cpu", "kmem_cache_node", "slab["), "slob": ("slob", "slab[")}
"""What each of them has that has values."""
CACHE = "kmem_cache_create C size=2000"
PROGRAMS = (
    ["kmalloc A size=1K", "race", "T& kfree A", "kmalloc B size=1K", "wait"],
    [
        *(CACHE, "kmem_cache_alloc A cache=C", "kmem_cache_alloc B cache=C", "race"),
        *("T& kmem_cache_free A cache=C", "kmem_cache_free B cache=C", "wait"),
    ],
    [
        *(CACHE, "T: kmem_cache_alloc A cache=C", "T: kmem_cache_free A cache=C", "race"),
        *("T& kmem_cache_alloc A cache=C", "kmem_cache_shrink C", "wait"),
    ],
)


def searched(slab, program, *, more=""):
    more = f"kernel: {{slab: {slab}}}\n{more}"
    return explore(scenario_of(["thread T cpu=1", *program], more=more))[1]


@pytest.mark.parametrize("slab", COLUMNS)
@pytest.mark.parametrize("program", PROGRAMS, ids=["kmalloc", "frees", "shrink"])
def test_two_cpus_are_exhausted_whether_states_are_told_apart_or_not(slab, program, monkeypatch):
    """Without values all schedules are tried: no fewer, and what came of them is the same."""
    merged = searched(slab, program, more="sanitize: {objects: true, leaks: true}\n")
    find = MachineObjects._find

    def find_none(objects, name):
        if name != "slob_lock" and name.startswith(COLUMNS[slab]):
            raise KeyError(name)
        return find(objects, name)

    monkeypatch.setattr(MachineObjects, "_find", find_none)
    every = searched(slab, program, more="sanitize: {objects: true, leaks: true}\n")

    assert Outcome.EXHAUSTED is merged.outcome is every.outcome
    assert 1 < merged.nr_schedules <= every.nr_schedules


@pytest.mark.parametrize(
    ("slab", "told"),
    [
        ("slab", ("array of kmalloc-128 on cpu1", "active of slab", "free of slab")),
        ("slob", ("free blocks of page ", " bytes at ")),
    ],
)
def test_what_allocators_hold_is_told_in_words(slab, told):
    """Of a use after free that one order of two shows."""
    program = ["kmalloc A size=100", "race", "T& kfree A", "poke A value=7", "wait"]

    verdict = searched(slab, program, more="sanitize: {objects: true}\n")

    seen = [each for row in verdict.failure.story.rows for each in row.seen]
    text = "\n".join(f"{each.thing}: {each.before} → {each.after}" for each in seen)
    assert Outcome.FAILED is verdict.outcome
    assert [word for word in told if word not in text] == []
