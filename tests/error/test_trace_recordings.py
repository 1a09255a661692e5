"""Recordings of traces that are no recordings, or not ours to validate: said, never crashed on."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmactors.errors import Place, UserError
from mmactors.validate.hardware.dinero import NotModelledError, dinero_levels
from mmactors.validate.hardware.traces import read_truth, validate_trace

TRACES = Path(__file__).parent.parent / "reference" / "traces"
L1 = "-l1-isize 8K -l1-ibsize 32 -l1-dsize 8K -l1-dbsize 32"


@pytest.fixture
def recording(tmp_path):
    """Return a function that copies the smallest recording with some of its JSON changed."""

    def make(**changes):
        shutil.copy(TRACES / "true.npz", tmp_path / "true.npz")
        truth = json.loads((TRACES / "true.json").read_text())
        for name in ("cachegrind", "tlb", "dinero", "pycachesim"):
            truth[name] = []
        path = tmp_path / "true.json"
        path.write_text(json.dumps(truth | changes))
        return path

    return make


def problems_of(path):
    with pytest.raises(UserError) as caught:
        list(validate_trace(path))
    for problem in caught.value.problems:
        assert problem.found
        assert problem.legal
        assert problem.advice
        assert problem.place.file.startswith(str(path.with_suffix("")))
    return caught.value.problems


def test_missing_trace_is_named(recording):
    """A truth without its trace says which file is missing."""
    path = recording()
    path.with_suffix(".npz").unlink()

    (problem,) = problems_of(path)

    assert str(path.with_suffix(".npz")) == problem.place.file


def test_damaged_trace_is_named(recording):
    """A trace that is cut off is an error of the trace file."""
    path = recording()
    npz = path.with_suffix(".npz")
    npz.write_bytes(npz.read_bytes()[:1000])

    (problem,) = problems_of(path)

    assert str(npz) == problem.place.file


def test_json_that_ends_early_has_line_and_column(recording):
    """Truncated JSON is reported where it ends."""
    path = recording()
    path.write_text('{"accesses": 1,\n')

    (problem,) = problems_of(path)

    assert 2 == problem.place.line


def test_all_wrong_fields_are_reported_at_once(recording):
    """Every wrong field has its own problem with its path in the file."""
    path = recording(accesses="7", dinero=[{"options": 3, "result": {}}])

    found = [problem.found for problem in problems_of(path)]

    assert 2 == len(found)
    assert any("accesses" in text for text in found)
    assert any("dinero[0].options" in text for text in found)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ({"policy": "PLRU"}, "pycachesim[0].levels[0].policy is 'PLRU'"),
        ({"ways": 0}, "pycachesim[0].levels[0] has 64 sets of 0 ways"),
        ({"line": 48}, "pycachesim[0].levels[0].line is 48"),
        ({"sets": 1 << 40}, f"pycachesim[0].levels[0] has {1 << 40} sets of 8 ways"),
    ],
)
def test_level_that_pycachesim_refuses_is_refused(recording, level, expected):
    """What the tool cannot have recorded is an error of the file."""
    usual = {"name": "L1", "sets": 64, "ways": 8, "line": 64, "policy": "LRU"}
    geometry = {
        "levels": [usual | level],
        "write_back": True,
        "write_allocate": True,
        "stats": {},
    }

    (problem,) = problems_of(recording(pycachesim=[geometry]))

    assert expected == problem.found


@pytest.mark.parametrize(
    ("field", "value", "reason"), [("policy", "RR", "random"), ("sets", 48, "no power of two")]
)
def test_level_that_is_not_modelled_is_listed_as_not_validated(recording, field, value, reason):
    """A geometry that is the tool's but not ours is a case of its own that never passes."""
    usual = {"name": "L1", "sets": 64, "ways": 8, "line": 64, "policy": "LRU"}
    geometry = {
        "levels": [usual | {field: value}],
        "write_back": True,
        "write_allocate": True,
        "stats": {},
    }

    results = list(validate_trace(recording(pycachesim=[geometry])))

    assert ["true/trace", "true/pycachesim[0]"] == [result.case for result in results]
    assert [True, False] == [result.passed for result in results]
    assert reason in results[1].not_validated


def test_cache_that_cannot_be_built_is_refused(recording):
    """A cachegrind geometry with ways that do not divide the size."""
    geometry = {"I1": [1000, 3, 64], "D1": [8192, 2, 64], "LL": [65536, 4, 64], "counts": [0] * 9}

    problems = problems_of(recording(cachegrind=[geometry]))

    assert all("cachegrind[0].l1i" in problem.found for problem in problems)


def test_tlb_that_cannot_be_built_is_refused(recording):
    """A TLB whose entries are no multiple of its ways."""
    geometry = {
        "itlb": [10, 4],
        "dtlb": [16, 4],
        "stlb": [64, 4],
        "page_shift": 12,
        "counts": [0] * 9,
    }

    (problem,) = problems_of(recording(tlb=[geometry]))

    assert "tlb[0].itlb has 10 entries of 4 ways" == problem.found


@pytest.mark.parametrize(("field", "value"), [("page_shift", 13), ("stlb", [48, 4])])
def test_tlb_that_no_machine_has_is_listed_as_not_validated(recording, field, value):
    """Page sizes that x86-64 lacks, and numbers of sets that no address bits choose."""
    usual = {"itlb": [16, 4], "dtlb": [16, 4], "stlb": [64, 4], "page_shift": 12}

    results = list(validate_trace(recording(tlb=[usual | {field: value, "counts": [0] * 9}])))

    assert ["true/trace", "true/tlb[0]"] == [result.case for result in results]
    assert results[1].not_validated is not None


def test_counts_without_their_fields_are_refused(recording):
    """Nine counts need nine names."""
    geometry = {"I1": [8192, 2, 64], "D1": [8192, 2, 64], "LL": [65536, 4, 64], "counts": [0] * 8}

    (problem,) = problems_of(recording(cachegrind=[geometry]))

    assert problem.found.startswith("cachegrind[0].counts has 8 counts")


def test_truth_of_another_tool_is_listed_as_not_validated(recording):
    """A set of truth that nothing is known of is named, and never passes."""
    results = list(validate_trace(recording(gem5=[])))

    assert ["true/trace", "true/gem5"] == [result.case for result in results]
    assert not results[1].passed


@pytest.mark.parametrize(
    "options",
    [
        "",
        "-l1-dsize 8K -l1-dbsize 32",
        "-l2-usize 8K -l2-ubsize 32",
        f"{L1} -l1-drepl x",
        f"{L1} -l1-dassoc 1000",
        f"{L1} -l1-dassoc",
        f"{L1} -l9-usize 8K",
        f"{L1} --verbose",
        "-l1-usize 9K -l1-ubsize 32",
        "-l1-usize 8K -l1-ubsize 33",
        "-l1-usize 8K",
        f"-l1-usize 8K -l1-ubsize 32 {L1.replace('l1', 'l2')}",
        f"{L1} -informat p",
    ],
)
def test_command_line_that_dinero_refuses_is_refused(options):
    """Each is a four-part error that names the option."""
    with pytest.raises(UserError) as caught:
        dinero_levels(Place("true.json"), "dinero[0]", options)

    assert all("dinero[0].options" in problem.found for problem in caught.value.problems)


@pytest.mark.parametrize(
    "options",
    ["-l1-dsbsize 16", "-l1-drepl r", "-l1-ifetch m", "-skipcount 5", "-flushcount 1K"],
)
def test_command_line_that_is_not_modelled_is_told_apart(options):
    """Sub-blocks, random replacement, prefetching and parts of traces are dineroIV's, not ours."""
    with pytest.raises(NotModelledError):
        dinero_levels(Place("true.json"), "dinero[0]", f"{L1} {options}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    field=st.sampled_from(["accesses", "counts", "cachegrind", "tlb", "dinero", "pycachesim"]),
    value=JSON,
)
def test_any_json_is_read_or_refused(recording, field, value):
    """Whatever stands in a field, reading ends with a truth or with problems."""
    path = recording(**{field: value})

    with contextlib.suppress(UserError):
        read_truth(path)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=40))
def test_any_bytes_are_refused(recording, data):
    """Bytes that are no JSON object are an error with four parts."""
    path = recording()
    path.write_bytes(data)

    assert problems_of(path)
