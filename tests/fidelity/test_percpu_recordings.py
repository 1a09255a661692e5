"""The per-CPU allocator hands out the places, and keeps the chunks and hints that Linux 6.1 had."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmactors.validate.percpu.percpu import validate_percpu

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/percpu"
RECORDINGS = sorted(REFERENCE.glob("*.json*"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.partition(".")[0])
def test_every_place_list_counter_bit_and_hint_is_the_recorded_one(path):
    """Replaying a recording gives each value of it."""
    (result,) = validate_percpu(path)

    assert (None, result.compared) == (result.first_difference, result.equal)
    assert result.compared > 5000


def test_the_uncompiled_functions_give_the_same():
    """With NUMBA_DISABLE_JIT=1 the same functions run as Python and give the same places."""
    names = ("256M-c1-mix-s4.json.gz", "512M-c1-fill-s104.json.gz")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mmactors.validate.percpu.percpu import validate_percpu\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    (result,) = validate_percpu(path)\n"
        "    print(result.passed, result.first_difference)\n"
    )

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *(str(REFERENCE / name) for name in names)],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ["True None"] * len(names) == done.stdout.splitlines()
