"""What is wrong with a recording of the page allocator is said, never replayed."""

import json
from pathlib import Path

import pytest
from damages import changed, judged, places_in, problems_of, put, unreadable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmactors.validate.buddy.buddy import validate_buddy

THP = (
    Path(__file__).parent.parent / "reference/linux-6.1/kernel/buddy/256M-c1-thp-s1.json"
).read_text()


def zone(content, nth=1):
    return content["initial"]["zones"][nth]


DAMAGES = {
    "ops[1] is ['x', 0]": lambda c: c["ops"].__setitem__(1, ["x", 0]),
    "ops[0] is ['a', 7, 9, 1, 33280]": lambda c: c["ops"][0].__setitem__(1, 7),
    "ops[0] is ['a', 0, 9, 99, 33280]": lambda c: c["ops"][0].__setitem__(3, 99),
    "ops[0] is ['a', 0, 9, 1, 33281], a block that cannot be": (
        lambda c: c["ops"][0].__setitem__(4, 33281)
    ),
    "initial.zones is empty": lambda c: c["initial"].__setitem__("zones", []),
    "initial.zones[1].pcp[0].count is 61, but the lists have 60 pages": (
        lambda c: zone(c)["pcp"][0].__setitem__("count", 61)
    ),
    "initial.zones[1].pcp[0].free_factor is 99": (
        lambda c: zone(c)["pcp"][0].__setitem__("free_factor", 99)
    ),
    "initial.zones[0].start_pfn is -1 and spanned 4095, on node 0": (
        lambda c: zone(c, 0).__setitem__("start_pfn", -1)
    ),
    "initial.zones[0].pageblocks has 3 digits for 8 pageblocks": (
        lambda c: zone(c, 0).__setitem__("pageblocks", "000")
    ),
    "gfp_flags[0] is 0x3": lambda c: c["gfp_flags"].__setitem__(0, 3),
    "ops[0] is ['a', 0, 11, 1, 33280]": lambda c: c["ops"][0].__setitem__(2, 11),
    "ops[1] is ['a', 0, 0]": lambda c: c["ops"].__setitem__(1, ["a", 0, 0]),
    "initial.zones has a zone twice: [(0, 0), (0, 0)]": lambda c: zone(c).__setitem__("idx", 0),
    "final.zones has zones [(0, 0)], initial.zones [(0, 0), (0, 1)]": (
        lambda c: c["final"]["zones"].pop()
    ),
    "initial.zones[0].pcp has 0 CPUs": lambda c: zone(c, 0).__setitem__("pcp", []),
    "initial.zonelists has no list of node 3": lambda c: c.__setitem__("cpu_node", {"0": 3}),
    "initial.zonelists[0] is [(0, 4)], but the zones are [(0, 0), (0, 1)]": (
        lambda c: c["initial"]["zonelists"].__setitem__("0", [[0, 4]])
    ),
    "initial.zones[1].idx is 9": lambda c: (
        zone(c).__setitem__("idx", 9),
        c["final"]["zones"][1].__setitem__("idx", 9),
    ),
    "initial.zones[1].lowmem_reserve has 0 numbers": (
        lambda c: zone(c).__setitem__("lowmem_reserve", [])
    ),
    "initial.zones[0].pageblocks has a type that does not exist": (
        lambda c: zone(c, 0).__setitem__("pageblocks", "77777777")
    ),
    "initial.zones[1].free[0] is of order 11 and type 1": (
        lambda c: zone(c)["free"][0].__setitem__("order", 11)
    ),
    "initial.zones[1].free[0].pfns has 3: not aligned, outside the zone, or free twice": (
        lambda c: zone(c)["free"][0].__setitem__("pfns", [3])
    ),
    "initial.zones[1].movable has 9 pages at 1, outside the zone": (
        lambda c: zone(c).__setitem__("movable", [[1, 9]])
    ),
    "initial.zones[1].pcp is of CPUs [5], not of the 1": (
        lambda c: zone(c)["pcp"][0].__setitem__("cpu", 5)
    ),
    "initial.zones[1].pcp[0].batch is 0, high 517, stat_threshold 4": (
        lambda c: zone(c)["pcp"][0].__setitem__("batch", 0)
    ),
    "initial.zones[1].pcp[0].lists has a list '14'": (
        lambda c: zone(c)["pcp"][0]["lists"].__setitem__("14", [])
    ),
    "topic is 'slub'": lambda c: c.__setitem__("topic", "slub"),
}


@pytest.mark.parametrize("found", DAMAGES)
def test_a_damaged_recording_is_refused_with_its_place(tmp_path, found):
    """The error names the first thing that is wrong, by its path in the file."""
    path = changed(tmp_path, THP, DAMAGES[found])

    assert found in problems_of(validate_buddy, path)


def test_a_page_that_is_freed_twice_is_refused(tmp_path):
    """A free of a page that is free is an error of the recording."""
    path = changed(tmp_path, THP, lambda content: content["ops"].append(content["ops"][-1]))

    assert "but pages of it are free" in problems_of(validate_buddy, path)[0]


def test_all_errors_of_form_are_given_at_once(tmp_path):
    """A missing field and a wrong type are both reported."""

    def damage(content):
        del zone(content)["managed"]
        zone(content, 0)["present"] = "many"

    assert 2 == len(problems_of(validate_buddy, changed(tmp_path, THP, damage)))


@pytest.mark.parametrize(
    ("name", "data"),
    unreadable(THP).items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unreadable_file_is_an_error_with_four_parts(tmp_path, name, data):
    """Whatever the bytes are, the user gets place, found, legal and advice."""
    path = tmp_path / name
    path.write_bytes(data)

    assert problems_of(validate_buddy, path)


PATHS = list(places_in(json.loads(THP), nr_items=3, kind=int))


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    place=st.sampled_from(PATHS), value=st.sampled_from([-1, 0, 1, 7, 1 << 40, 1 << 80, None, "x"])
)
def test_any_number_may_be_wrong(tmp_path, place, value):
    """A recording with one wrong number is refused, or fails, or still passes; it never crashes."""

    assert judged(validate_buddy, changed(tmp_path, THP, put(place, value)))
