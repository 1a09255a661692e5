"""What is wrong with a recording of vmalloc is said, never replayed."""

import json
from pathlib import Path

import pytest
from damages import changed, judged, places_in, problems_of, put
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmactors.validate.vmalloc.vmalloc import validate_vmalloc

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/vmalloc"
LIFO = (REFERENCE / "512M-c1-lifo-s1.json").read_text()


def tree(content):
    return content["initial"]["free_tree"]


def swap_first_two(content):
    free = content["initial"]["free"]
    free[0], free[1] = free[1], free[0]


def blacken_a_red(content):
    next(area for area in reversed(tree(content)) if area[2] == "r")[2] = "b"


DAMAGES = {
    "ops[0] is a list of 1": lambda c: c["ops"].__setitem__(0, ["vmalloc"]),
    "ops[0][0] is the text 'malloc'": lambda c: c["ops"][0].__setitem__(0, "malloc"),
    "ops[0][3] is the text '0x10'": lambda c: c["ops"][0].__setitem__(3, "0x10"),
    "ops[0] is vmalloc of 4096, at 10": lambda c: c["ops"][0].__setitem__(3, "10"),
    "ops[1] is vfree of 4096, at no address": lambda c: c["ops"][1].__setitem__(3, None),
    "ops[0] is vmalloc of 281474976710656": lambda c: c["ops"][0].__setitem__(2, 1 << 48),
    "cpus is 0": lambda c: c.__setitem__("cpus", 0),
    "initial.lazy_pages is 7": lambda c: c["initial"].__setitem__("lazy_pages", 7),
    "initial.free[1] is 1 to ffffc90000000000": swap_first_two,
    "initial.free_tree has 52 areas": lambda c: tree(c).pop(),
    "initial.free_tree[0] is red": lambda c: tree(c)[0].__setitem__(2, "r"),
    "black areas on its ways down": blacken_a_red,
    "initial.free_tree[1] is ['ffffc90000075000', 9, 'b']": lambda c: tree(c)[1].__setitem__(1, 9),
    "initial.busy[1] begins at ffffc90000004000": (
        lambda c: c["initial"]["busy"][1].__setitem__(0, "ffffc90000004000")
    ),
    "initial.busy[0] is a list of 3": (
        lambda c: c["initial"]["busy"][0].__setitem__(slice(2, None), ["rom"])
    ),
}


@pytest.mark.parametrize("found", DAMAGES)
def test_a_damage_is_told_with_its_place(tmp_path, found):
    """Where it is, what stands there, what may, what to try."""
    problems = problems_of(validate_vmalloc, changed(tmp_path, LIFO, DAMAGES[found]))

    assert any(found in problem for problem in problems), problems


def test_an_operation_that_ends_the_kernel_is_a_difference(tmp_path):
    """Unmapping what is not mapped is a BUG() of the kernel, and what it says is shown."""

    def unmap(content):
        content["ops"][0] = ["vm_unmap_ram", 0, 4096, "ffffc900f0000000", 0]

    (result,) = validate_vmalloc(changed(tmp_path, LIFO, unmap))

    assert result.first_difference.endswith("NULL pointer dereference, address: 0000000000000000")


VALUES = (
    *(-1, 0, 1, 7, 4096, 1 << 31, 1 << 48, 1 << 80, None, "x", "r", "vunmap", "1", "f" * 16, []),
    *("ffffc90000055000", "ffffffffffffe000", "vm_unmap_ram", "vmalloc_aligned"),
)
PLACES = list(places_in(json.loads(LIFO)))


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    place=st.sampled_from(PLACES),
    value=st.sampled_from(VALUES),
)
def test_any_value_may_be_wrong(tmp_path, place, value):
    """A recording with one wrong value is refused, or fails, or still passes; it never crashes."""

    assert judged(validate_vmalloc, changed(tmp_path, LIFO, put(place, value)))
