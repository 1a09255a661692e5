"""Can a recording of vmalloc fail? Its rules are broken one at a time, and a recording sees each.

Which four are, is up to the seed; `-m slow` breaks all of them.
"""

import re
from pathlib import Path

import pytest
from broken_rules import Broken, drawn, first_difference

from mmactors.mm.vmalloc import area_fit, area_tree, lazy
from mmactors.mm.vmalloc.request import CondResched
from mmactors.validate.vmalloc.vmalloc import validate_vmalloc

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/vmalloc"


def nothing(*_):
    return
    yield


def first_with_all_of_it(areas, head, size, align, vstart, vend):
    """Look for no more than what is asked for, wherever it begins."""
    free, _ = area_fit.find_fit(areas, head, size + align - (align == 1), 1, vstart, vend)
    if not free:
        return 0, 0
    start = max(areas[free + area_tree.START], vstart)
    return free, (start + align - 1) // align * align


def at_once(space, area):
    """Free an area without waiting for a flush."""
    return lazy.free_vmap_area(space, area)


def insert_without_merging(areas, head, area):
    area_tree.insert_area(areas, head, area)
    return area, 0


BROKEN = [
    Broken(
        "an area has a guard page",
        *("vm_area", "VM_NO_GUARD", -1),
        *("512M-c1-mix-s1.json.gz", r"ops\[\d+\]: recorded \('vmalloc'"),
    ),
    Broken(
        "the lowest of areas on the way down is taken if the aligned request fits",
        *("alloc_area", "find_fit", first_with_all_of_it),
        *("512M-c1-kinds-s3.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "areas are freed lazily",
        *("lazy", "free_vmap_area_noflush", at_once),
        *("512M-c1-lifo-s1.json", r"ops\[\d+\]: recorded \('vfree'"),
    ),
    Broken(
        "too many lazily freed pages are purged",
        *("lazy", "_SCHEDULE_DRAIN", CondResched()),
        *("512M-c1-areas-s3.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "free areas beside one another are one",
        *("lazy", "merge_or_add", insert_without_merging),
        *("512M-c1-mix-s1.json.gz", r"(ops\[\d+\]|final\.\w+ has|final\.lazy\[\d+\]): recorded"),
    ),
    Broken(
        "areas for devices are aligned to their size",
        *("vm_area", "VM_IOREMAP", 0),
        *("512M-c1-kinds-s3.json.gz", r"ops\[\d+\]: recorded \('get_vm_area'"),
    ),
    Broken(
        "a block has 256 pages with room for 8192 CPUs",
        *("vmap_ram", "VMAP_BBMAP_BITS", 512),
        *("512M-c1-ram-s1.json.gz", r"ops\[\d+\]: recorded \('vm_(un)?map_ram'"),
    ),
    Broken(
        "a block of which all that was handed out is unmapped goes with a purge",
        *("purge", "purge_fragmented_blocks_allcpus", nothing),
        *("512M-c1-ram-s1.json.gz", r"(ops\[\d+\]|final|after_unmap_aliases)"),
    ),
]
CHOSEN, OTHERS = drawn(BROKEN, seed=12)


@pytest.mark.parametrize("broken", CHOSEN, ids=str)
def test_a_kernel_without_one_rule_differs_where_the_rule_shows(monkeypatch, broken):
    """The recording fails, and says at which value first."""
    broken.break_in("mmactors.mm.vmalloc", monkeypatch.setattr)

    assert re.match(broken.place, first_difference(validate_vmalloc, REFERENCE / broken.recording))


@pytest.mark.slow
@pytest.mark.parametrize("broken", OTHERS, ids=str)
def test_a_kernel_without_any_other_rule_differs_where_the_rule_shows(monkeypatch, broken):
    """Those that the seed did not choose."""
    broken.break_in("mmactors.mm.vmalloc", monkeypatch.setattr)

    assert re.match(broken.place, first_difference(validate_vmalloc, REFERENCE / broken.recording))
