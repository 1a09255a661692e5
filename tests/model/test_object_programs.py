"""The right kernel under random programs of its object caches: no checker has anything to say.

The programs make no mistakes: each thread frees what it has allocated, once, into the cache it is
from, and touches its own bytes. Pages and objects that are refused are part of it.
"""

import pytest
from programs.documents import CHILD, draw_of_module, write
from programs.judge import judge
from programs.words import FIRST

from mmactors.workload.operation.all import OPERATIONS

NR_PROGRAMS = 240
NR_PARTS = 24
PARTS = [*range(12), *(pytest.param(part, marks=pytest.mark.slow) for part in range(12, NR_PARTS))]
SLAB_VERBS = (
    *("kmem_cache_create", "kmem_cache_alloc", "kmem_cache_alloc", "kmem_cache_free"),
    *("kmem_cache_shrink", "kmem_cache_destroy", "kmalloc", "kmalloc", "kzalloc", "krealloc"),
    *("kfree", "poke", "poke", "peek"),
    *(verb for verb in OPERATIONS if verb.startswith("percpu_ref_")),
    *(verb for verb in OPERATIONS if "percpu" in verb or verb.startswith("per_cpu_")),
)
OTHER_VERBS = ("mmap", "munmap", "touch", "mprotect", "madvise")


def drawn(seed):
    """Return a document: some threads on some CPUs, objects, and here and there a failure."""
    return draw_of_module(
        seed, verbs=SLAB_VERBS * 3 + OTHER_VERBS, cpus=(1, 2, 2, 3), faults=("fail_page_alloc",)
    )


@pytest.mark.parametrize("part", PARTS)
def test_the_right_kernel_is_silent_under_programs_that_make_no_mistake(part):
    """240 programs, a few a part; with and without checkers they do the same.

    Half of the parts are for `-m slow`.
    """
    for seed in range(part, NR_PROGRAMS, NR_PARTS):
        text = write(drawn(seed))
        verdict = judge(text)

        assert not verdict.is_failure, f"seed {seed}: {verdict.group}\n{verdict.detail}\n{text}"
        assert verdict.word != "refused", f"seed {seed}: {verdict.detail}"


def test_the_programs_use_every_operation_on_objects():
    """By the first thread and by others; most of them many objects."""
    texts = [text for seed in range(40) for text in drawn(seed)["processes"][0]["program"]]
    by_first = {text.split()[0] for text in texts}
    by_others = {text.split()[1] for text in texts if text.startswith(("T", CHILD))}

    assert {*SLAB_VERBS} <= by_first & by_others
    assert FIRST not in by_first
