"""vmalloc hands out the addresses, and keeps the areas and the tree, that Linux 6.1 had."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmactors.validate.vmalloc.vmalloc import validate_vmalloc

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/vmalloc"
RECORDINGS = sorted(REFERENCE.glob("*.json*"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.partition(".")[0])
def test_every_address_counter_area_and_the_tree_are_the_recorded_ones(path):
    """Replaying a recording gives each value of it."""
    (result,) = validate_vmalloc(path)

    assert (None, result.compared) == (result.first_difference, result.equal)
    assert result.compared > 1000


def test_the_uncompiled_functions_give_the_same():
    """With NUMBA_DISABLE_JIT=1 the same functions run as Python and give the same addresses."""
    names = ("512M-c1-kinds-s3.json.gz", "512M-c1-lifo-s1.json")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mmactors.validate.vmalloc.vmalloc import validate_vmalloc\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    (result,) = validate_vmalloc(path)\n"
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
