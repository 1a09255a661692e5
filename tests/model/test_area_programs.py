"""The right kernel under random programs of its own mappings: no checker has anything to say.

The programs make no mistakes: each thread gives back what it was given, once and the way it was
given, touches its own bytes, and frees no page that is mapped. Pages and objects that are refused
are part of it.
"""

import pytest
from programs.documents import CHILD, draw_of_module, write
from programs.judge import judge
from programs.words import FIRST, GIVES_BACK, MAKES_AREAS

NR_PROGRAMS = 48
NR_PARTS = 16
AREA_VERBS = (
    *(MAKES_AREAS * 2),
    *(*GIVES_BACK, *GIVES_BACK, "vm_unmap_aliases"),
    *("poke", "poke", "peek", "alloc_pages", "free_pages"),
)
OTHER_VERBS = ("mmap", "munmap", "touch", "kmalloc", "kfree")


def drawn(seed):
    """Return a document: some threads on some CPUs, areas, and here and there a failure."""
    return draw_of_module(
        seed,
        verbs=AREA_VERBS * 2 + OTHER_VERBS,
        cpus=(1, 2, 3, 3),
        faults=("fail_page_alloc", "failslab"),
    )


@pytest.mark.parametrize("part", range(NR_PARTS))
def test_the_right_kernel_is_silent_under_programs_that_make_no_mistake(part):
    """48 programs, a few a part; with and without checkers they do the same."""
    for seed in range(part, NR_PROGRAMS, NR_PARTS):
        text = write(drawn(seed))
        verdict = judge(text)

        assert not verdict.is_failure, f"seed {seed}: {verdict.group}\n{verdict.detail}\n{text}"
        assert verdict.word != "refused", f"seed {seed}: {verdict.detail}"


def test_the_programs_use_every_operation_on_areas():
    """By the first thread and by others."""
    texts = [text for seed in range(40) for text in drawn(seed)["processes"][0]["program"]]
    by_first = {text.split()[0] for text in texts}
    by_others = {text.split()[1] for text in texts if text.startswith(("T", CHILD))}

    assert {*AREA_VERBS} <= by_first & by_others
    assert FIRST not in by_first
