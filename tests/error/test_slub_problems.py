"""What is wrong with a recording of SLUB is said, never replayed."""

import gzip
import json
from pathlib import Path

import pytest
from damages import changed, judged, places_in, problems_of, put, unreadable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmactors.validate.slub.slub import validate_slub

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/slub"
FILL = (REFERENCE / "256M-c1-fill-s5.json").read_text()
PARTIAL = gzip.decompress((REFERENCE / "256M-c1-partial-s5.json.gz").read_bytes()).decode()
KMALLOC = gzip.decompress((REFERENCE / "256M-c1-kmalloc-s2.json.gz").read_bytes()).decode()
_PARAMS = json.loads(gzip.decompress((REFERENCE / "256M-c1-params-merge.json.gz").read_bytes()))
PARAMS = json.dumps({**_PARAMS, "created": _PARAMS["created"][:300]})


def node(content, name="final"):
    return content[name][0]["nodes"][0]


def slab(content):
    return content["final"][0]["cpus"][0]["slab"]


DAMAGES = {
    "ops[1][0] is the text 'x'": lambda c: c["ops"].__setitem__(1, ["x", 0]),
    "ops[1] is ['a', 0]": lambda c: c["ops"].__setitem__(1, ["a", 0]),
    "final[0].nodes[0].partial[0] has no free objects": (
        lambda c: node(c)["partial"][0].update(inuse=8, freelist=[])
    ),
    "ops[0] is ['a', 7, 25712, 2, 1, 0]": lambda c: c["ops"][0].__setitem__(1, 7),
    "ops[0] is ['a', 0, 99999999, 2, 1, 0]": lambda c: c["ops"][0].__setitem__(2, 99999999),
    "ops[0] is ['f', 0, 25712, 2, 1, 0]": lambda c: c["ops"][0].__setitem__(0, "f"),
    "ops[1] is ['a', 0, 25712, 2, 1, 0]": lambda c: c["ops"].__setitem__(1, c["ops"][0]),
    "size is 0": lambda c: c.__setitem__("size", 0),
    "align is 24": lambda c: c.__setitem__("align", 24),
    "boot.mem is the text 'much'": lambda c: c["boot"].__setitem__("mem", "much"),
    "boot.cpus is 0": lambda c: c["boot"].__setitem__("cpus", 0),
    "initial is a list of 0": lambda c: c.__setitem__("initial", []),
    "final has 2 caches": lambda c: c["final"].append(c["final"][0]),
    "initial[0].random_seq has 3 numbers": (
        lambda c: c["initial"][0].__setitem__("random_seq", [0, 1, 1])
    ),
    "node_start_pfn is [0, 0]": lambda c: c.__setitem__("node_start_pfn", [0, 0]),
    "cpu_node is [1]": lambda c: c.__setitem__("cpu_node", {"0": 1}),
    "final[0].nodes are [1]": lambda c: node(c).__setitem__("node", 1),
    "final[0].nodes[0].nr_partial is 6": (lambda c: node(c).__setitem__("nr_partial", 6)),
    "final[0].cpus are [3]": lambda c: c["final"][0]["cpus"][0].__setitem__("cpu", 3),
    "final[0].cpus[0].slab.inuse is 7": lambda c: slab(c).__setitem__("inuse", 7),
    "final[0].cpus[0].slab.frozen is 0": lambda c: slab(c).__setitem__("frozen", 0),
    "final[0].cpus[0].slab.pfn is 25889": lambda c: slab(c).__setitem__("pfn", 25889),
    "final[0].cpus[0].slab has free objects [1, 1]": (
        lambda c: slab(c).__setitem__("cpu_freelist", [1, 1])
    ),
    "final[0].nodes[0].partial[1].pfn is 25712": (
        lambda c: node(c)["partial"][1].__setitem__("pfn", 25712)
    ),
    "final[0].nodes[0].partial[0].objects is 5": (
        lambda c: node(c)["partial"][0].__setitem__("objects", 5)
    ),
    "initial[0].params has no offset": lambda c: c["initial"][0]["params"].pop("offset"),
}


@pytest.mark.parametrize("found", DAMAGES)
def test_a_damaged_recording_is_refused_with_its_place(tmp_path, found):
    """The error names what is wrong by its path in the file."""
    assert found in problems_of(validate_slub, changed(tmp_path, FILL, DAMAGES[found]))


PARAM_DAMAGES = {
    "created_columns has not asked": lambda c: c["created_columns"].__setitem__(-1, "wanted"),
    "created[2] has 3 values": lambda c: c["created"].__setitem__(2, [1, 2, 3]),
    "created[0], asked, is the text '1/3/none/0'": lambda c: c["created"][0].__setitem__(
        -1, "1/3/none/0"
    ),
    "created[0], asked, is the text '1/0/SOFT/0'": lambda c: c["created"][0].__setitem__(
        -1, "1/0/SOFT/0"
    ),
    "created[0], size, is 1": lambda c: c["created"][0].__setitem__(1, 1),
    "system_caches[0].align is 24": lambda c: c["system_caches"][0].__setitem__("align", 24),
    "slub.max_order is 11": lambda c: c["slub"].__setitem__("max_order", 11),
}


@pytest.mark.parametrize("found", PARAM_DAMAGES)
def test_a_damaged_table_of_caches_is_refused_with_its_place(tmp_path, found):
    """Rows are named by their number, values by their column."""
    assert found in problems_of(validate_slub, changed(tmp_path, PARAMS, PARAM_DAMAGES[found]))


@pytest.mark.parametrize(
    ("name", "data"),
    unreadable(FILL).items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unreadable_file_is_an_error_with_four_parts(tmp_path, name, data):
    """Whatever the bytes are, the user gets place, found, legal and advice."""
    path = tmp_path / name
    path.write_bytes(data)

    assert problems_of(validate_slub, path)


TEXTS = (FILL, PARTIAL, KMALLOC, PARAMS)
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

    assert judged(validate_slub, changed(tmp_path, TEXTS[nth], put(keys, value)))
