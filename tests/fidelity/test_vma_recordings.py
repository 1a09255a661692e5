"""Recorded address spaces: what the mechanisms give is what Linux 6.1 gave."""

import json
from pathlib import Path

import pytest

from mmactors.errors import UserError
from mmactors.mm.area import pgprot
from mmactors.mm.area.overcommit import Overcommit
from mmactors.mm.area.pkeys import Pkeys
from mmactors.mm.area.vm_flags import VM_WRITE
from mmactors.mm.fault import file_fault
from mmactors.mm.fault.fault import VM_FAULT_SIGBUS
from mmactors.mm.syscall import mincore, mlock, mmap, mremap
from mmactors.units import PAGE_SIZE
from mmactors.validate.userland.vma import validate_vma

REFERENCE = Path(__file__).parents[1] / "reference/linux-6.1/userland"
RECORDINGS = sorted(REFERENCE.glob("vma/*.json"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_every_determined_value_is_the_recorded_one(path):
    """Results, faults, signals, maps texts, sizes and resident pages equal the recorded ones."""
    (result,) = validate_vma(path)

    assert (None, None, True) == (result.not_validated, result.first_difference, result.passed)


def page_align_that_does_not_wrap(nr_bytes):
    return -(-nr_bytes // PAGE_SIZE) * PAGE_SIZE


def insert_no_pfn(_mm, _vma, _fault):
    yield from ()
    return VM_FAULT_SIGBUS


@pytest.mark.parametrize(
    ("case", "place", "name", "broken"),
    [
        ("wrap_munlock", mlock, "page_align", page_align_that_does_not_wrap),
        ("wrap_mremap", mremap, "page_align", page_align_that_does_not_wrap),
        ("exec_only", Pkeys, "with_execute_only", lambda keys: keys),
        ("exec_only", pgprot, "arch_vma_access_permitted", lambda *_, **__: True),
        ("touch_vvar", file_fault, "_insert_pfn", insert_no_pfn),
        ("mincore_vvar", mincore, "_can_do_mincore", lambda _vma: True),
        ("overcommit_never", Overcommit, "_is_enough", lambda *_, **__: True),
        ("overcommit_never", mmap, "OVERCOMMIT_NEVER", None),
        ("overcommit_never", mmap, "is_accountable_mapping", lambda flags: flags & VM_WRITE != 0),
    ],
)
def test_a_mechanism_with_one_rule_broken_is_told_from_the_kernel(
    monkeypatch, case, place, name, broken
):
    """Each of these rules is what makes its recording equal."""
    monkeypatch.setattr(place, name, broken)

    (result,) = validate_vma(REFERENCE / f"vma/{case}.json")

    assert (None, False) == (result.not_validated, result.passed)


def test_a_changed_recording_is_told_with_its_place(tmp_path):
    """The first value that differs is named, and the case has not passed."""
    case = json.loads((REFERENCE / "vma/brk.json").read_text())
    case["ops"][1]["ret"] = 8192
    (tmp_path / "brk.json").write_text(json.dumps(case))

    (result,) = validate_vma(tmp_path / "brk.json")

    assert (False, "ops[1].ret: recorded 8192, ours 4096") == (
        result.passed,
        result.first_difference,
    )


def test_a_case_that_needs_more_is_listed_with_the_reason(tmp_path):
    """An operation that is not modelled makes the case not validated, never passed."""
    case = json.loads((REFERENCE / "vma/brk.json").read_text())
    case["op_list"][0] = case["ops"][0]["op"] = "cgcreate g"
    (tmp_path / "brk.json").write_text(json.dumps(case))

    (result,) = validate_vma(tmp_path / "brk.json")

    assert ("cgcreate is not simulated yet", False) == (result.not_validated, result.passed)


def test_what_is_no_case_is_a_users_error(tmp_path):
    """A JSON object without the fields of a case names all that are missing."""
    (tmp_path / "x.json").write_text('{"case": "x"}')

    with pytest.raises(UserError) as error:
        list(validate_vma(tmp_path / "x.json"))

    missing = [problem.found.rpartition(" ")[2] for problem in error.value.problems]
    assert ["topic", "guest", "op_list", "ops", "begin"] == missing
