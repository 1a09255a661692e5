"""Recordings damaged at random end in a verdict or in problems, never in an exception."""

import pytest
from mutations import end_of, write_mutation

CONTENTS = {}


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_a_mutated_recording_ends_as_validate_says(tmp_path, first):
    """100 of them, the same each time; `python -m fuzz recording` in tests/ goes on."""
    for seed in range(first, first + 25):
        path = write_mutation(seed, tmp_path, CONTENTS)

        assert end_of(path) in ("equal", "differs", "not validated", "refused")
