"""Can a recording of SLUB fail? Its rules are broken one at a time, and a recording sees each.

Which four are, is up to the seed; `-m slow` breaks all of them.
"""

import re
from pathlib import Path

import pytest
from broken_rules import Broken, drawn, first_difference

from mmactors.mm.slab.slub import lists
from mmactors.validate.slub.slub import validate_slub

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/slub"


def no_partial(*_):
    return 0, 0
    yield


def at_the_head(s, node, slab, *, at_tail):
    lists.add_partial(s, node, slab, at_tail=False)


BROKEN = [
    Broken(
        "a node keeps five empty slabs",
        *("slub.layout", "MIN_PARTIAL", 4),
        *("256M-c1-partial-s5.json.gz", r"initial\[0\]\.params\.min_partial: .*5, ours 4"),
    ),
    Broken(
        "a CPU keeps fewer objects the larger they are",
        *("slub.layout", "_CPU_PARTIAL", ((0, 120),)),
        *("256M-c1-mix-s4.json.gz", r"initial\[0\]\.params\.cpu_partial: recorded 52, ours 120"),
    ),
    Broken(
        "objects are aligned to cache lines if they ask for it",
        *("slub.layout", "calculate_alignment", lambda _flags, align, _size: max(align, 8)),
        *("256M-c1-params-nomerge.json.gz", r"created\[\d+\]\.\w+: recorded"),
    ),
    Broken(
        "caches that fit are one",
        *("allocator", "find_mergeable", lambda *_: None),
        *("256M-c1-params-merge.json.gz", r"created\[\d+\]\.name: recorded \S+, ours lab"),
    ),
    Broken(
        "an empty slab goes if the node has enough",
        *("slub.partial", "has_enough_partial", lambda *_: False),
        *("512M-c2-cross-s12.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "a slab that leaves its CPU is the last of its node",
        *("slub.partial", "add_partial", at_the_head),
        *("256M-c1-fill-s5.json", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "partial slabs are used up before a new one is made",
        *("slub.alloc", "get_partial", no_partial),
        *("256M-c1-fill-s5.json", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "shrinking sorts what is left",
        *("slub.shrink", "SHRINK_PROMOTE_MAX", 0),
        *("256M-c1-mix-s10.json.gz", r"after_shrink\[0\]\.nodes"),
    ),
    Broken(
        "96 and 192 bytes have classes",
        *("kmalloc", "kmalloc_index", lambda size, low: max(low, (size - 1).bit_length())),
        *("256M-c1-kmalloc-s2.json.gz", r"initial has caches|initial\[\d\]\.params|ops\[\d+\]"),
    ),
    Broken(
        "a pointer stands in the middle of its object",
        *("slub.layout", "WORD", 16),
        *("256M-c1-params-nomerge.json.gz", r"system_caches\[\d+\]\.\w+: recorded"),
    ),
]
CHOSEN, OTHERS = drawn(BROKEN, seed=11)


@pytest.mark.parametrize("broken", CHOSEN, ids=str)
def test_a_kernel_without_one_rule_differs_where_the_rule_shows(monkeypatch, broken):
    """The recording fails, and says at which value first."""
    broken.break_in("mmactors.mm.slab", monkeypatch.setattr)

    assert re.match(broken.place, first_difference(validate_slub, REFERENCE / broken.recording))


@pytest.mark.slow
@pytest.mark.parametrize("broken", OTHERS, ids=str)
def test_a_kernel_without_any_other_rule_differs_where_the_rule_shows(monkeypatch, broken):
    """Those that the seed did not choose."""
    broken.break_in("mmactors.mm.slab", monkeypatch.setattr)

    assert re.match(broken.place, first_difference(validate_slub, REFERENCE / broken.recording))
