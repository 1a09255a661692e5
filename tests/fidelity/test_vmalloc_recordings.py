"""vmalloc hands out the addresses, and keeps the areas and the tree, that Linux 6.1 had."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from vmallocs import VmallocAlone

from mmactors.mm.vmalloc.kernel_mapping import VMALLOC_START
from mmactors.mm.vmalloc.purge import vm_unmap_aliases
from mmactors.mm.vmalloc.vmalloc import vmalloc
from mmactors.mm.vmalloc.vmalloc_state import dump_space
from mmactors.mm.vmalloc.vmap_ram import vm_map_ram, vm_unmap_ram
from mmactors.units import MIB, PAGE_SIZE, ULONG_MAX
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


def recorded_by(alone, tmp_path, operations):
    """Return the result of a recording of what a model without a machine does."""
    content = {
        "topic": "vmalloc",
        "cpus": alone.space.nr_cpus,
        "lazy_max_pages": alone.space.lazy_max_pages(),
        "boot": {"mem": "512M"},
        "initial": dump_space(alone.space),
        "ops": [],
    }
    for kind, size, do in operations:
        address = do()
        text = f"{address & ULONG_MAX:x}" if address else None
        content["ops"].append([kind, 0, size, text, alone.space.lazy_nr])
    content["final"] = dump_space(alone.space)
    alone.perform(vm_unmap_aliases(alone.space))
    content["after_unmap_aliases"] = dump_space(alone.space)
    path = tmp_path / "recording.json"
    path.write_text(json.dumps(content))
    (result,) = validate_vmalloc(path)
    return result


def test_where_the_recorder_ran_is_seen_by_the_blocks(tmp_path):
    """A recording does not say on which CPU an operation ran; that of another one is found, too."""
    alone = VmallocAlone(nr_cpus=3)
    space = alone.space
    mapped = []

    def map_on(cpu, nr_pages):
        alone.cpu = cpu
        mapped.append((alone.perform(vm_map_ram(space, alone.this_cpu, [-1] * nr_pages)), nr_pages))
        return mapped[-1][0]

    def unmap_first():
        address, nr_pages = mapped.pop(0)
        alone.perform(vm_unmap_ram(space, address, nr_pages))
        return address

    operations = []
    for cpu, nr_pages in [(0, 3), (0, 64), (2, 60), (1, 1), (2, 64), (2, 64), (0, 64), (2, 64)] * 3:
        size = nr_pages * PAGE_SIZE
        operations.append(("vm_map_ram", size, partial(map_on, cpu, nr_pages)))
        if len(operations) % 3 == 0:
            operations.append(("vm_unmap_ram", mapped_size(operations), unmap_first))

    result = recorded_by(alone, tmp_path, operations)

    assert (None, result.compared) == (result.first_difference, result.equal)


def mapped_size(operations):
    """Return how large what is unmapped next is: they go in the order in which they came."""
    nr_unmapped = sum(kind == "vm_unmap_ram" for kind, _, _ in operations)
    return [size for kind, size, _ in operations if kind == "vm_map_ram"][nr_unmapped]


def test_an_allocation_without_pages_leaves_its_addresses_lazily_freed(tmp_path):
    """The recording says that it failed, and how many pages are lazy then."""
    alone = VmallocAlone()

    def fail():
        alone.fails_in = 5
        address = alone.perform(vmalloc(alone.space, alone.this_cpu, MIB, caller="test"))
        alone.fails_in = None
        return address

    result = recorded_by(alone, tmp_path, [("vmalloc", MIB, fail)])

    lazy = (VMALLOC_START, VMALLOC_START + MIB + PAGE_SIZE)
    assert (None, [lazy]) == (result.first_difference, alone.flushed)
