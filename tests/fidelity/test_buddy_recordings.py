"""The page allocator gives the PFNs and the final states that Linux 6.1 gave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmactors.validate.buddy.buddy import validate_buddy
from mmactors.validate.buddy.buddy_recording import read_recording

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/buddy"
RECORDINGS = sorted(REFERENCE.glob("*.json*"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.partition(".")[0])
def test_every_pfn_and_the_final_state_are_the_recorded_ones(path):
    """Replaying a recording gives each PFN and all of the final state."""
    (result,) = validate_buddy(path)

    assert (None, result.compared) == (result.first_difference, result.equal)


def test_a_recording_is_compared_value_by_value():
    """Each allocation counts as one value, and the state adds its own."""
    path = REFERENCE / "256M-c1-thp-s1.json"
    recording, _ = read_recording(path)
    nr_allocations = sum(op[0] == "a" for op in recording.ops)

    (result,) = validate_buddy(path)

    assert (209, True, True) == (
        nr_allocations,
        result.compared > nr_allocations + 60,
        result.passed,
    )


def test_the_uncompiled_functions_give_the_same():
    """With NUMBA_DISABLE_JIT=1 the same functions run as Python and give the same PFNs."""
    names = ("256M-c1-lifo-s2.json.gz", "256M-c1-large-s2.json.gz", "256M-c1-zones-s2.json.gz")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mmactors.validate.buddy.buddy import validate_buddy\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    (result,) = validate_buddy(path)\n"
        "    print(result.passed, result.first_difference)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, *(str(REFERENCE / name) for name in names)],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ["True None"] * len(names) == done.stdout.splitlines()
