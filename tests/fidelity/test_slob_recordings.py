"""SLOB makes the caches, hands out the blocks and keeps the lists that Linux 6.1 had."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmactors.errors import UserError
from mmactors.validate.slob.slob import validate_slob

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/slob"
RECORDINGS = sorted(REFERENCE.glob("*.json*"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.partition(".")[0])
def test_every_block_counter_list_and_cache_is_the_recorded_one(path):
    """Replaying a recording gives each value of it."""
    (result,) = validate_slob(path)

    assert (None, result.compared) == (result.first_difference, result.equal)
    assert result.compared > 2000


def test_the_uncompiled_functions_give_the_same():
    """With NUMBA_DISABLE_JIT=1 the same functions run as Python and give the same blocks."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mmactors.validate.slob.slob import validate_slob\n"
        "(result,) = validate_slob(Path(sys.argv[1]))\n"
        "print(result.passed, result.first_difference)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(REFERENCE / "256M-c1-mix-s5.json.gz")],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "True None" == done.stdout.strip()


def recorded():
    return json.loads(gzip.decompress((REFERENCE / "256M-c1-mix-s10.json.gz").read_bytes()))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda it: it["initial"]["small"].append(it["initial"]["small"][0]), "initial.small"),
        (lambda it: it["initial"]["large"][0].__setitem__(1, 3), "initial.large[0] has 3 free"),
        (lambda it: it["initial"]["large"][0][2].append([0, 1]), "initial.large[0] has a block"),
        (lambda it: it["ops"].insert(0, ["f", 0, 0, 10**6, 40, *[0] * 11]), "ops[0]"),
        (lambda it: it["ops"][0].__setitem__(2, 9), "ops[0]"),
        (lambda it: it["held"].append(it["held"][0]), "held[96]"),
        (lambda it: it["caches_asked"][0].__setitem__(1, 3), "caches_asked[0]"),
        (lambda it: it["op_columns"].reverse(), "op_columns"),
        (lambda it: it["final"]["small"].append([1]), "final has page 1 without"),
    ],
)
def test_a_recording_that_cannot_be_is_refused_with_its_place(tmp_path, change, found):
    """What could not be replayed is no difference of the model."""
    content = recorded()
    change(content)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))

    with pytest.raises(UserError) as caught:
        list(validate_slob(path))

    assert any(found in problem.found for problem in caught.value.problems)
