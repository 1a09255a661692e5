"""What is wrong with a recording of SLOB, or of three allocators beside each other, is said."""

import gzip
import json
from pathlib import Path

import pytest
from damages import changed, judged, places_in, problems_of, put, unreadable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmactors.validate.slab_compare.slab_compare import validate_slab_compare
from mmactors.validate.slob.slob import validate_slob

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel"


def recorded(name):
    return gzip.decompress((REFERENCE / name).read_bytes()).decode()


FILL = recorded("slob/256M-c1-fill-s5.json.gz")
_PARAMS = json.loads(recorded("slob/256M-c1-params.json.gz"))
PARAMS = json.dumps({**_PARAMS, "created": _PARAMS["created"][:300]})
COMPARED = recorded("slab-compare/256M-c1-fill-s5.json.gz")
ALL = [(validate_slob, FILL), (validate_slob, PARAMS), (validate_slab_compare, COMPARED)]
PLACES = [
    (nth, place)
    for nth, (_, text) in enumerate(ALL)
    for place in places_in(json.loads(text), nr_items=4)
]


@pytest.mark.parametrize("validate", [validate_slob, validate_slab_compare])
@pytest.mark.parametrize(
    ("name", "data"),
    unreadable(FILL).items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unreadable_file_is_an_error_with_four_parts(tmp_path, validate, name, data):
    """Whatever the bytes are, the user gets place, found, legal and advice."""
    path = tmp_path / name
    path.write_bytes(data)

    assert problems_of(validate, path)


def test_a_new_page_that_cannot_be_one_is_no_memory(tmp_path):
    """A page of -1 is none, and nothing is written to where it would be."""
    (result,) = validate_slob(changed(tmp_path, FILL, put(("ops", 2, 5), -1)))

    assert result.first_difference.startswith("ops[2]")
    assert "ours (-1, 0, 0, -1, 0, 0, 0, " in result.first_difference


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    at=st.sampled_from(PLACES),
    value=st.sampled_from([-1, 0, 1, 7, 2472, 65535, 1 << 31, 1 << 40, 1 << 80, None, "x", []]),
)
def test_any_value_may_be_wrong(tmp_path, at, value):
    """A recording with one wrong value is refused, or fails, or still passes; it never crashes."""
    nth, place = at
    validate, text = ALL[nth]

    assert judged(validate, changed(tmp_path, text, put(place, value)))
