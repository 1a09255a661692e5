"""SLAB makes the caches, hands out the objects, keeps the arrays and lists that Linux 6.1 had."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmactors.validate.slab.slab import validate_slab

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/slab"
RECORDINGS = sorted(REFERENCE.glob("*.json*"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.partition(".")[0])
def test_every_object_counter_array_list_and_cache_is_the_recorded_one(path):
    """Replaying a recording gives each value of it."""
    (result,) = validate_slab(path)

    assert (None, result.compared) == (result.first_difference, result.equal)
    assert result.compared > 500


def test_the_uncompiled_functions_give_the_same():
    """With NUMBA_DISABLE_JIT=1 the same functions run as Python and give the same objects."""
    names = ("256M-c1-fill-s5.json", "512M-c2-cross-s32.json.gz", "256M-c1p2-reap-s22.json.gz")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mmactors.validate.slab.slab import validate_slab\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    (result,) = validate_slab(path)\n"
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
