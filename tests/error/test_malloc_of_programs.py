"""What programs ask of malloc in a wrong way: check says it."""

import errno

import pytest
from machines import run, scenario_of

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


def test_addresses_that_are_used_up_are_enomem():
    """mmap finds no gap, and an arena is no way out; what is in use stays so."""
    machine = run(
        scenario_of(
            [
                *("put /proc/sys/vm/overcommit_memory 1", "malloc a 60T", "malloc b 60T"),
                *("malloc c 30T", "malloc d 20T", "touch a 0..1 write", "free a", "free c"),
                *("free b", "free d", "malloc e 20T"),
            ]
        )
    )
    found = {call.split()[1]: ret for call, ret in machine.results().items() if "malloc" in call}

    assert -errno.ENOMEM == found["b"]
    assert min(found["a"], found["c"], found["d"], found["e"]) > 0
    assert "ok" == machine.machine.summary().verdict
