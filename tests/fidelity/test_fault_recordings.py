"""Recorded page faults: counters of each operation, and LRU lists explained by their phase."""

import json
from pathlib import Path

import pytest

from mmactors.mm.fault import handle_mm_fault
from mmactors.mm.page_table.page_table import PTE_LEVEL
from mmactors.validate.userland.faults import validate_faults

REFERENCE = Path(__file__).parents[1] / "reference/linux-6.1/userland/faults"


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*.json")), ids=lambda path: path.stem)
def test_every_counter_is_the_recorded_one(path):
    """Determined counters, and sizes of LRU lists once the phase is known, equal the recorded."""
    (result,) = validate_faults(path)

    assert (None, None, True) == (result.not_validated, result.first_difference, result.passed)


def test_a_machine_whose_faults_begin_with_the_lowest_table_does_not_pass(monkeypatch):
    """SIGBUS would leave a table where the kernel has none."""
    monkeypatch.setattr(handle_mm_fault, "PMD_LEVEL", PTE_LEVEL)

    (result,) = validate_faults(REFERENCE / "sigbus_no_table.json")

    assert not result.passed
    assert result.first_difference is not None
    assert "VmPTE" in result.first_difference


def test_a_number_that_no_phase_explains_is_a_difference(tmp_path):
    """One page more on a list, in the middle of the case: no fill of the batch gives that."""
    case = json.loads((REFERENCE / "mlock.json").read_text())
    case["ops"][9]["vmstat"]["nr_inactive_anon"] += 1
    (tmp_path / "mlock.json").write_text(json.dumps(case))

    (result,) = validate_faults(tmp_path / "mlock.json")

    assert not result.passed
    assert result.first_difference is not None
    assert "nr_inactive_anon" in result.first_difference


@pytest.mark.parametrize(
    ("operations", "reason"),
    [
        (
            ["open F /mnt/f1m ro", "read F 0 4K bs=4K"],
            "reading and writing files is not supported yet: read F 0 4K bs=4K",
        ),
    ],
)
def test_a_case_that_reads_files_is_listed_with_the_reason(tmp_path, operations, reason):
    """It is not validated, never passed."""
    case = json.loads((REFERENCE / "mlock.json").read_text())
    case["op_list"][: len(operations)] = operations
    (tmp_path / "mlock.json").write_text(json.dumps(case))

    (result,) = validate_faults(tmp_path / "mlock.json")

    assert reason == result.not_validated
    assert not result.passed
