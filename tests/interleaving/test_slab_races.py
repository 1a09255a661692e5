"""Two CPUs in the object allocator of a machine: every order, and nothing is lost."""

import pytest
from explored import explore, scenario_of

from mmactors.explore.search.verdict import Outcome

CACHE = "kmem_cache_create C size=2000"


@pytest.mark.parametrize(
    "program",
    [
        ["kmalloc A size=1K", "race", "T& kfree A", "kmalloc B size=1K", "wait"],
        [
            *(CACHE, "kmem_cache_alloc A cache=C", "kmem_cache_alloc B cache=C", "race"),
            *("T& kmem_cache_free A cache=C", "kmem_cache_free B cache=C", "wait"),
        ],
        [
            *(CACHE, "T: kmem_cache_alloc A cache=C", "T: kmem_cache_free A cache=C", "race"),
            *("T& kmem_cache_alloc A cache=C", "kmem_cache_shrink C", "wait"),
        ],
    ],
)
def test_two_cpus_in_a_cache_are_exhausted(program):
    """Frees of another's object, and a flush of what the other is about to take."""
    _, verdict = explore(scenario_of(["thread T cpu=1", *program]))

    assert Outcome.EXHAUSTED is verdict.outcome
    assert 50 < verdict.nr_schedules
