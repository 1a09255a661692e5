"""SLUB makes the caches, hands out the objects and keeps the lists that Linux 6.1 had."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmactors.mm.slab.flags import CMPXCHG_DOUBLE, OBJECT_POISON
from mmactors.mm.slab.slab_common import CacheRequest
from mmactors.mm.slab.slub.layout import SlubConfig
from mmactors.mm.slab.slub.slub_state import params_of
from mmactors.validate.slub.guest import Guest
from mmactors.validate.slub.slub import validate_slub

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/slub"
RECORDINGS = sorted(REFERENCE.glob("*.json*"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.partition(".")[0])
def test_every_object_counter_list_and_cache_is_the_recorded_one(path):
    """Replaying a recording gives each value of it."""
    (result,) = validate_slub(path)

    assert (None, result.compared) == (result.first_difference, result.equal)
    assert result.compared > 500


def recorded(name):
    return json.loads(gzip.decompress((REFERENCE / name).read_bytes()))


def test_merging_the_caches_of_one_boot_gives_those_of_the_other():
    """Without merging a boot has 199 caches; merged in their order, the 145 of the default."""
    alone = recorded("256M-c1-params-nomerge.json.gz")["system_caches"]
    merged = recorded("256M-c1-params-merge.json.gz")["system_caches"]
    guest = Guest(SlubConfig(nr_cpus=1), nr_frames=1024)

    for cache in reversed(alone):
        request = CacheRequest(
            name=cache["name"],
            object_size=cache["object_size"],
            align=cache["align"],
            flags=cache["flags"] & ~(CMPXCHG_DOUBLE | OBJECT_POISON),
            has_ctor=bool(cache["ctor"]),
            useroffset=cache["useroffset"],
            usersize=cache["usersize"],
        )
        if cache["refcount"] < 0 or "kmalloc-" in cache["name"]:
            layout = guest.slub.layout_of(request)
            guest.slub.add(request, layout, refcount=cache["refcount"])
        else:
            guest.slub.create(request)

    assert (199, 145) == (len(alone), len(merged))
    assert merged == [params_of(s) for s in reversed(guest.slub.caches)]


def test_the_uncompiled_functions_give_the_same():
    """With NUMBA_DISABLE_JIT=1 the same functions run as Python and give the same objects."""
    names = ("256M-c1-fill-s5.json", "256M-c1-partial-s5.json.gz", "512M-c2-cross-s12.json.gz")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mmactors.validate.slub.slub import validate_slub\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    (result,) = validate_slub(path)\n"
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
