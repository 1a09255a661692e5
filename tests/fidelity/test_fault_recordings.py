"""Recorded page faults: counters of each operation, and LRU lists explained by one phase."""

import json
from pathlib import Path

import pytest

from mmactors.validate.faults import validate_faults

REFERENCE = Path(__file__).parents[1] / "reference/linux-6.1/userland/faults"


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*.json")), ids=lambda path: path.stem)
def test_every_counter_is_the_recorded_one(path):
    """Determined counters, and sizes of LRU lists once the phase is known, equal the recorded."""
    (result,) = validate_faults(path)

    assert (None, None, True) == (result.not_validated, result.first_difference, result.passed)


def test_a_number_that_no_phase_explains_is_a_difference(tmp_path):
    """One page more on a list, in the middle of the case: no fill of the batch gives that."""
    case = json.loads((REFERENCE / "mlock.json").read_text())
    case["ops"][9]["vmstat"]["nr_inactive_anon"] += 1
    (tmp_path / "mlock.json").write_text(json.dumps(case))

    (result,) = validate_faults(tmp_path / "mlock.json")

    assert not result.passed
    assert result.first_difference is not None
    assert "nr_inactive_anon" in result.first_difference


def test_a_case_with_files_on_disk_is_listed_with_the_reason(tmp_path):
    """It is not validated, never passed."""
    case = json.loads((REFERENCE / "mlock.json").read_text())
    case["op_list"][0] = "open F /mnt/f1m ro"
    (tmp_path / "mlock.json").write_text(json.dumps(case))

    (result,) = validate_faults(tmp_path / "mlock.json")

    assert "files on disk are not supported yet: open F /mnt/f1m ro" == result.not_validated
    assert not result.passed
