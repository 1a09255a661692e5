"""Recordings damaged at random end in a verdict or in problems, never in an exception."""

import pytest
from mutations import end_of, write_mutation

CONTENTS = {}


@pytest.mark.parametrize("first", range(0, 300, 75))
def test_a_mutated_recording_ends_as_validate_says(tmp_path, first):
    """300 of them, the same each time: equal, differs, not validated, or refused."""
    for seed in range(first, first + 75):
        path = write_mutation(seed, tmp_path, CONTENTS)

        assert end_of(path) in ("equal", "differs", "not validated", "refused")
