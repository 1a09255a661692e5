"""Recorded traces: every number of cachegrind, a TLB simulator, dineroIV and pycachesim is ours."""

from pathlib import Path

import pytest

from mmactors.validate.hardware.traces import validate_trace

TRACES = Path(__file__).parent.parent / "reference" / "traces"
SMALL = ("list_chase", "matmul_avx2", "true")
NAMES = sorted(path.stem for path in TRACES.glob("*.json"))
CASES = ("trace", "cachegrind", "tlb", "dinero", "pycachesim")


@pytest.mark.parametrize("name", SMALL)
def test_every_number_of_a_small_trace_is_ours(name):
    """All geometries of all four sets of truth, on the objects that runs use."""
    assert_all_equal(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SMALL])
def test_every_number_of_a_trace_is_ours(name):
    """The same for the longer traces."""
    assert_all_equal(name)


def assert_all_equal(name):
    results = list(validate_trace(TRACES / f"{name}.json"))

    assert [None] * len(results) == [result.first_difference for result in results]
    assert [f"{name}/{case}" for case in CASES] == [result.case for result in results]
    assert all(result.passed for result in results)


def test_there_are_sixteen_traces():
    """None was lost on the way into the repository."""
    assert 16 == len(NAMES)
    assert set(SMALL) < set(NAMES)
