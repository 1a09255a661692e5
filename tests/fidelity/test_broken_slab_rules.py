"""Can a recording of SLAB fail? Its rules are broken one at a time, and a recording sees each.

Which four are, is up to the seed; `-m slow` breaks all of them.
"""

import re
from pathlib import Path

import pytest
from broken_rules import Broken, drawn, first_difference

from mmactors.mm.slab.slab import slab_page
from mmactors.mm.slab.slab.struct_slab import COLOUR_NEXT
from mmactors.validate.slab.slab import validate_slab

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/slab"


def first_released_first(s, this_cpu, slabs):
    return slab_page.slabs_destroy(s, this_cpu, slabs[::-1])


BROKEN = [
    Broken(
        "an array holds fewer objects the larger they are",
        *("layout", "_LIMITS", ((0, 120),)),
        *("256M-c1-params.json.gz", r"system_caches\[\d+\]\.limit: recorded 54, ours 120"),
    ),
    Broken(
        "an array that was not used gets sixteen objects",
        *("alloc", "BATCHREFILL_LIMIT", 120),
        *("256M-c1-reap-s1.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "what CPUs share comes before slabs",
        *("alloc", "transfer_objects", lambda *_: 0),
        *("512M-c2-cross-s32.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "a node keeps no more free objects than free_limit",
        *("array_cache", "_surplus", lambda *_: []),
        *("256M-c1-fill-s4.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "the index array of the slab that left last is freed first",
        *("free", "slabs_destroy", first_released_first),
        *("256M-c1-fill-s5.json", r"(ops|final)\[\d+\]"),
    ),
    Broken(
        "slabs differ in where their first object lies",
        *("slab_page", "_next_colour", lambda *_: 0),
        *("256M-c1-mix-s5.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "indexes lie in a free object if they can",
        *("layout", "_object_freelist", lambda *_: None),
        *("256M-c1-params.json.gz", r"system_caches\[\d+\]\.\w+: recorded"),
    ),
    Broken(
        "indexes lie elsewhere if that saves a half",
        *("layout", "_off_slab", lambda *_: None),
        *("256M-c1-params.json.gz", r"system_caches\[\d+\]\.\w+: recorded"),
    ),
    Broken(
        "what can be reclaimed has the smallest slabs",
        *("layout", "SLAB_RECLAIM_ACCOUNT", 0),
        *("256M-c1-params.json.gz", r"(created|system_caches)\[\d+\]\.\w+: recorded"),
    ),
    Broken(
        "early caches count no CPU",
        *("slab", "_NO_CPU_YET", 2),
        *("256M-c1p2-mix-s24.json.gz", r"initial\[3\]\.params\.free_limit: recorded 184"),
    ),
    Broken(
        "the reaper takes a fifth of an array",
        *("array_cache", "_DRAINED_FRACTION", 4),
        *("256M-c1p2-reap-s22.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "the reaper spares free slabs that objects were taken from",
        *("reap", "FREE_TOUCHED", COLOUR_NEXT),
        *("256M-c1-reap-s1.json.gz", r"final\[0\]\.node\.free_touched: recorded 0, ours 1"),
    ),
]
CHOSEN, OTHERS = drawn(BROKEN, seed=12)


@pytest.mark.parametrize("broken", CHOSEN, ids=str)
def test_a_kernel_without_one_rule_differs_where_the_rule_shows(monkeypatch, broken):
    """The recording fails, and says at which value first."""
    broken.break_in("mmactors.mm.slab.slab", monkeypatch.setattr)

    assert re.match(broken.place, first_difference(validate_slab, REFERENCE / broken.recording))


@pytest.mark.slow
@pytest.mark.parametrize("broken", OTHERS, ids=str)
def test_a_kernel_without_any_other_rule_differs_where_the_rule_shows(monkeypatch, broken):
    """Those that the seed did not choose."""
    broken.break_in("mmactors.mm.slab.slab", monkeypatch.setattr)

    assert re.match(broken.place, first_difference(validate_slab, REFERENCE / broken.recording))
