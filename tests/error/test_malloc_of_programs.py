"""What programs ask of malloc in a wrong way: check says it."""

import pytest

import mmactors


@pytest.mark.parametrize(
    ("operation", "found"),
    [
        ("free b", "b is not the name of a range here"),
        ("free", "free: pointer is missing"),
        ("malloc b -5", "length is '-5'"),
        ("malloc b", "length is missing"),
        ("malloc_trim x", "pad is 'x'"),
        ("mallopt M_FOO 3", "parameter is 'M_FOO'"),
        ("mallopt M_MXFAST 0x100000000", "value is '0x100000000'"),
        ("calloc b -1 8", "members is '-1'"),
    ],
)
def test_what_is_no_call_of_malloc_is_told_before_the_run(operation, found):
    """With its place, what is legal and what to try."""
    with pytest.raises(mmactors.UserError) as caught:
        mmactors.load({"processes": [{"name": "p", "program": ["malloc a 10", operation]}]})
    (problem,) = caught.value.problems

    assert found in problem.found
    assert problem.legal
    assert problem.advice
