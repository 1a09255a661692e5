"""What is wrong with a recording of SLAB is said, never replayed."""

import gzip
import json
from pathlib import Path

import pytest
from damages import changed, judged, places_in, problems_of, put
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmactors.validate.slab.slab import validate_slab

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/slab"


def recorded(name):
    return json.loads(gzip.decompress((REFERENCE / name).read_bytes()))


FILL = (REFERENCE / "256M-c1-fill-s5.json").read_text()
SHARED = json.dumps(recorded("256M-c1p2-reap-s22.json.gz"))
_PARAMS = recorded("256M-c1-params.json.gz")
PARAMS = json.dumps({**_PARAMS, "created": _PARAMS["created"][:300]})


def final(content, nth=1):
    return content["final"][nth]


DAMAGES = {
    "ops[1] is ['x', 0]": lambda c: c["ops"].__setitem__(1, ["x", 0]),
    "ops[0] is ['a', 7, 0, ": lambda c: c["ops"][0].__setitem__(1, 7),
    "ops[0] is ['f', 0, 0, ": lambda c: c["ops"][0].__setitem__(0, "f"),
    "ops[0] is ['a', 0, 3, ": lambda c: c["ops"][0].__setitem__(2, 3),
    "ops[0] is ['af', 0, 0, ": lambda c: c["ops"][0].__setitem__(0, "af"),
    "ops[1] is ['a', 0, 0, ": lambda c: c["ops"].__setitem__(1, c["ops"][0]),
    "ops[0] is ['a', 0, 0, 0, 2048, 9326, 1, 9": lambda c: c["ops"][0].__setitem__(7, 9),
    "op_columns are a list of 16": lambda c: c["op_columns"].pop(),
    "boot.mem is the text 'much'": lambda c: c["boot"].__setitem__("mem", "much"),
    "caches_asked[0] is [0, 0, 2]": lambda c: c["caches_asked"][0].__setitem__(0, 0),
    "caches_asked[0] is [2048, 24, 2]": lambda c: c["caches_asked"][0].__setitem__(1, 24),
    "initial is a list of 0": lambda c: c.__setitem__("initial", []),
    "final has a list of 3": lambda c: c["final"].append(c["final"][0]),
    "held[0] is not in use": lambda c: c["held"].append([0, 0, 2048, 1, 0]),
    "final[1].cpus are [3]": lambda c: final(c)["cpus"][0].__setitem__("cpu", 3),
    "final[1].cpus[0].avail is 0": lambda c: final(c)["cpus"][0].__setitem__("avail", 0),
    "final[1].cpus[0].entries has a list of": (
        lambda c: final(c)["cpus"][0]["entries"].__setitem__(0, [1, 1])
    ),
    "final[1].partial[0] has page 70000": lambda c: final(c)["partial"][0].__setitem__(0, 70000),
    "final[1].partial[0] has offset 4000": (lambda c: final(c)["partial"][0].__setitem__(1, 4000)),
    "final[1].partial[0] has 124 objects out": (
        lambda c: final(c)["partial"][0].__setitem__(2, 124)
    ),
    "final[1].partial[0] has its indexes at 7": (
        lambda c: final(c)["partial"][0].__setitem__(3, 7)
    ),
    "final[1].partial[0] has free indexes": (
        lambda c: final(c)["partial"][0][4].__setitem__(0, 124)
    ),
    "final[1].full[1] has page": (
        lambda c: final(c)["full"][1].__setitem__(0, final(c)["full"][0][0])
    ),
    "initial[0].params has no colour_off": lambda c: c["initial"][0]["params"].pop("colour_off"),
}


@pytest.mark.parametrize("found", DAMAGES)
def test_a_damaged_recording_is_refused_with_its_place(tmp_path, found):
    """The error names what is wrong by its path in the file."""
    problems = problems_of(validate_slab, changed(tmp_path, FILL, DAMAGES[found]))

    assert any(problem.startswith(found) for problem in problems), problems


def test_a_shared_array_is_looked_at_like_that_of_a_cpu(tmp_path):
    """It may be null, or an array."""
    path = changed(tmp_path, SHARED, put(("final", 0, "shared", "avail"), 7))

    assert problems_of(validate_slab, path) == ["final[0].shared.avail is 7"]


PARAM_DAMAGES = {
    "created_columns has not asked": lambda c: c["created_columns"].__setitem__(-1, "wanted"),
    "created[2] has 3 values": lambda c: c["created"].__setitem__(2, [1, 2, 3]),
    "created[0], asked, is the text '1/3/0'": lambda c: c["created"][0].__setitem__(-1, "1/3/0"),
    "created[0], asked, is the text '1/0/32'": lambda c: c["created"][0].__setitem__(-1, "1/0/32"),
    "created[0], size, is 1": lambda c: c["created"][0].__setitem__(1, 1),
    "system_caches[0].align is 24": lambda c: c["system_caches"][0].__setitem__("align", 24),
    "slab.slab_max_order is 11": lambda c: c["slab"].__setitem__("slab_max_order", 11),
}


@pytest.mark.parametrize("found", PARAM_DAMAGES)
def test_a_damaged_table_of_caches_is_refused_with_its_place(tmp_path, found):
    """Rows are named by their number, values by their column."""
    assert found in problems_of(validate_slab, changed(tmp_path, PARAMS, PARAM_DAMAGES[found]))


TEXTS = (FILL, SHARED, PARAMS)
PLACES = [
    (nth, place)
    for nth, text in enumerate(TEXTS)
    for place in places_in(json.loads(text), nr_items=4, kind=int)
]


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    place=st.sampled_from(PLACES),
    value=st.sampled_from([-1, 0, 1, 7, 8, 25720, 1 << 31, 1 << 40, 1 << 80, None, "x", []]),
)
def test_any_number_may_be_wrong(tmp_path, place, value):
    """A recording with one wrong number is refused, or fails, or still passes; it never crashes."""
    nth, keys = place

    assert judged(validate_slab, changed(tmp_path, TEXTS[nth], put(keys, value)))
