"""What is wrong with a recording of per-CPU memory is said, never replayed."""

import gzip
import json
from pathlib import Path

import pytest
from damages import changed, judged, places_in, problems_of, put, unreadable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmactors.validate.percpu.percpu import validate_percpu

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/percpu"
FILL = gzip.decompress((REFERENCE / "512M-c1-fill-s104.json.gz").read_bytes()).decode()
MIX = gzip.decompress((REFERENCE / "256M-c1-mix-s4.json.gz").read_bytes()).decode()


def chunk(content, nth=0):
    return content["final"]["chunks"][nth]


DAMAGES = {
    "ops[0] is ['x', 0]": lambda c: c["ops"].__setitem__(0, ["x", 0]),
    "ops[0] is ['a', -4, 8, 'ffffe8ffff600000', 0]": lambda c: c["ops"][0].__setitem__(1, -4),
    "ops[0] is ['a', 3000, 8, 'far', 0]": lambda c: c["ops"][0].__setitem__(3, "far"),
    "ops[0] is ['f', 'ffffe8ffff600000', 0]": (
        lambda c: c["ops"].__setitem__(0, ["f", "ffffe8ffff600000", 0])
    ),
    "ops[1] is ['a', 3000, 8, 'ffffe8ffff600000', 0]": (
        lambda c: c["ops"].__setitem__(1, c["ops"][0])
    ),
    "atomic is 2": lambda c: c.__setitem__("atomic", 2),
    "the recording has no after_balance": lambda c: c.pop("after_balance"),
    "the recording has no final": lambda c: c.pop("final"),
    "initial.unit.unit_size is 4096": lambda c: c["initial"]["unit"].__setitem__("unit_size", 4096),
    "initial.unit.first_chunk is 0": lambda c: c["initial"]["unit"].__setitem__("first_chunk", "0"),
    "final.chunks have slots [22, 21, 21]": lambda c: chunk(c).__setitem__("slot", 22),
    "final.chunks have slots [0, 21, 23]": lambda c: chunk(c, 2).__setitem__("slot", 23),
    "final.chunks have 3 addresses": (
        lambda c: chunk(c).__setitem__("base_addr", chunk(c, 1)["base_addr"])
    ),
    "final.chunks[0].isolated is 1": lambda c: chunk(c).__setitem__("isolated", 1),
    "final.chunks[0].nr_pages is 513": lambda c: chunk(c).__setitem__("nr_pages", 513),
    "final.chunks[0].blocks are of 8 pages": lambda c: chunk(c)["blocks"][0].__setitem__(0, 2),
    "final.chunks[0].blocks[0] is a list of 1": lambda c: chunk(c)["blocks"].__setitem__(0, [1]),
    "final.chunks[0].alloc_runs has [7, 8000]": (
        lambda c: chunk(c).__setitem__("alloc_runs", [[7, 8000]])
    ),
    "final.chunks[0].populated_runs has [2, 1]": (
        lambda c: chunk(c).__setitem__("populated_runs", [[3, 1], [2, 1]])
    ),
    "final.chunks[0].bound_bits are 2": lambda c: chunk(c).__setitem__("bound_bits", [9, 9]),
    "final.chunks[0].base_addr is the text 'x'": lambda c: chunk(c).__setitem__("base_addr", "x"),
}


@pytest.mark.parametrize("found", DAMAGES)
def test_a_damaged_recording_is_refused_with_its_place(tmp_path, found):
    """Each value is named by its path."""
    assert found in problems_of(validate_percpu, changed(tmp_path, FILL, DAMAGES[found]))


@pytest.mark.parametrize("key", ["contig_hint", "scan_hint_start", "first_free", "right_free"])
def test_a_hint_beyond_its_block_is_refused(tmp_path, key):
    """Nothing is looked for outside a chunk."""

    def damage(content):
        content["initial"]["chunks"][0]["chunk_md"][key] = 9000

    problems = problems_of(validate_percpu, changed(tmp_path, FILL, damage))

    assert any("chunks[0].chunk_md has" in problem for problem in problems)


def test_a_state_that_is_none_of_the_kernels_has_an_end(tmp_path):
    """A chunk that is said to be free and is not: the kernel would look there for ever."""

    def damage(content):
        content["initial"]["chunks"][2]["alloc_runs"] = [[0, 524288]]
        content["initial"]["chunks"][1]["alloc_runs"] = [[0, 524288]]
        content["atomic"] = 0

    (result,) = validate_percpu(changed(tmp_path, FILL, damage))

    assert "each path has: recorded an end, ours none" == result.first_difference


@pytest.mark.parametrize(
    ("name", "data"),
    unreadable(FILL).items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unreadable_file_is_an_error_with_four_parts(tmp_path, name, data):
    """Whatever the bytes are, the user gets place, found, legal and advice."""
    path = tmp_path / name
    path.write_bytes(data)

    assert problems_of(validate_percpu, path)


TEXTS = (FILL, MIX)
PLACES = [
    (nth, place)
    for nth, text in enumerate(TEXTS)
    for place in places_in(json.loads(text), nr_items=6)
]


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    place=st.sampled_from(PLACES),
    value=st.sampled_from(
        [-1, 0, 1, 7, 20, 21, 512, 1024, 524288, 1 << 31, 1 << 80, None, "x", "0", []]
    ),
)
def test_any_number_may_be_wrong(tmp_path, place, value):
    """A recording with one wrong number is refused, or fails, or still passes; it never crashes."""
    nth, keys = place

    assert judged(validate_percpu, changed(tmp_path, TEXTS[nth], put(keys, value)))
