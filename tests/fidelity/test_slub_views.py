"""/proc/slabinfo and /sys/kernel/slab have the bytes that Linux 6.1 printed of the same caches."""

import gzip
import json
from pathlib import Path

import pytest
from attrs import evolve
from slubs import SlubAlone

from mmactors.mm.boot.boot import MemoryConfig, boot_zones
from mmactors.mm.boot.boot_log import boot_log
from mmactors.mm.boot.cmdline import parse_command_line
from mmactors.mm.slab.flags import CMPXCHG_DOUBLE, OBJECT_POISON, SLAB_RED_ZONE
from mmactors.mm.slab.slab_common import CacheRequest
from mmactors.mm.slab.slub.slub_state import load_cache, params_of
from mmactors.mm.slab.slub.sysfs import folder_of, folders_of, links_of
from mmactors.observe.proc.of_slab import slabinfo_of, sys_slab_text
from mmactors.observe.proc.slab import ATTRIBUTES
from mmactors.units import MIB, PAGE_SIZE

FOLDER = Path(__file__).parent.parent / "reference/linux-6.1/kernel/slub-views"
NAMES = sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))
COUNTS = {
    "objects",
    "objects_partial",
    "partial",
    "cpu_slabs",
    "slabs",
    "total_objects",
    "slabs_cpu_partial",
}
"""Files that tell what a cache has, which is recorded of the module's own caches only."""
DERIVED = CMPXCHG_DOUBLE | OBJECT_POISON


def recorded(name):
    return json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))


def caches_of(content):
    """Return the parameters of all caches, oldest first."""
    rows = content["caches"]
    return [dict(zip(content["cache_columns"], row, strict=True)) for row in reversed(rows)]


def allocator_of(content):
    """Return an allocator that has the guest's caches, and what its module's caches had."""
    boot = content["boot"]
    arguments = parse_command_line(boot["append"]).slab
    config = arguments.slub_config(nr_cpus=boot["cpus"], nr_cpu_ids=content["slub"]["nr_cpu_ids"])
    pages = int(boot["mem"].removesuffix("M")) * MIB // PAGE_SIZE
    alone = SlubAlone(
        nr_cpus=boot["cpus"], nr_nodes=boot["nodes"], nr_pages=pages // boot["nodes"], config=config
    )
    for params in caches_of(content):
        request = CacheRequest(
            name=params["name"],
            object_size=params["object_size"],
            align=params["align"],
            flags=params["flags"] & ~DERIVED,
            has_ctor=bool(params["ctor"]),
            useroffset=params["useroffset"],
            usersize=params["usersize"],
        )
        layout = alone.slub.layout_of(request)
        # Where an alias has let the object grow since, its pointer stays where it was.
        s = alone.slub.add(
            request, evolve(layout, offset=params["offset"]), refcount=params["refcount"]
        )
        s.inuse = params["inuse"]
        for alias, folder in content["links"].items():
            if folder == folder_of(s):
                alone.slub.names[alias] = s
        if s.name in content["states"]:
            load_cache(s, content["states"][s.name])
    return alone


@pytest.fixture(params=NAMES, scope="module")
def guest(request):
    """A recorded guest and the allocator that was loaded with it."""
    content = recorded(request.param)
    return content, allocator_of(content)


def test_options_of_the_command_line_are_what_the_kernel_made_of_them(guest):
    """Numbers are those of its variables; the parameters of all caches follow from them."""
    content, alone = guest
    config = alone.slabs.config

    assert [config.min_order, config.max_order, config.min_objects] == [
        content["slub"][name] for name in ("min_order", "max_order", "min_objects")
    ]
    for params, s in zip(caches_of(content), alone.slub.caches, strict=True):
        if not s.flags & SLAB_RED_ZONE:
            params["red_left_pad"] = 0  # With slub_debug=O what is not used any more stays there.
        assert params == {name: params_of(s)[name] for name in params}, s.name


def test_slabinfo_has_the_kernels_bytes(guest):
    """All of a line whose cache was loaded; of others what does not depend on what they have."""
    content, alone = guest
    ours, theirs = slabinfo_of(alone.slub).splitlines(), content["slabinfo"].splitlines()

    assert theirs[:2] == ours[:2]
    for mine, line in zip(ours[2:], theirs[2:], strict=True):
        if words_of(line)[0] in content["states"]:
            assert line == mine
        else:
            assert without_counts(line) == without_counts(mine)


def words_of(line):
    """Return a line of slabinfo as name, which may have blanks, and 15 words."""
    return line.rsplit(None, 15)


def without_counts(line):
    """Return the words of a line of slabinfo but for how many objects and slabs there are."""
    return [word for nth, word in enumerate(words_of(line)) if nth not in (1, 2, 13, 14)]


def test_each_cache_has_the_kernels_files_with_the_kernels_bytes(guest):
    """Files that count are compared where the state was recorded."""
    content, alone = guest
    folders = folders_of(alone.slub)
    names = content["file_columns"]

    assert sorted(content["files"]) == sorted(folders)
    assert names == sorted(ATTRIBUTES)
    for folder, texts in content["files"].items():
        is_loaded = folders[folder].name in content["states"]
        for name, text in zip(names, texts, strict=True):
            if (name in COUNTS and not is_loaded) or "[viewrec]" in text:
                continue
            if name == "ctor" and folder not in OURS_WITH_CTOR:
                continue
            ours = sys_slab_text(alone.slub, f"{folder}/{name}")
            assert (f"{text}\n" if text else "") == ours, (folder, name)


OURS_WITH_CTOR = (
    *("anon_vma", "inode_cache", "radix_tree_node", "shmem_inode_cache", "sighand_cache"),
    *("views-plain", "kmalloc-64", "vm_area_struct"),
)
"""Caches whose constructors, or that they have none, are known."""


def test_names_of_caches_that_are_shared_lead_to_what_they_agree_in(guest):
    """Their own names, and those of aliases."""
    content, alone = guest

    assert content["links"] == links_of(alone.slub)


def test_a_file_is_found_by_each_of_its_caches_names():
    """By an alias, too; what is no cache or no file is not there."""
    alone = allocator_of(recorded("256M-c1"))

    texts = [
        sys_slab_text(alone.slub, f"{name}/objects")
        for name in (":0000904", "views-one", "views-alias")
    ]
    assert ["45 N0=45\n"] * 3 == texts
    for path in ("views-two/objects", "views-one/nothing", "views-one", "", "views-one/"):
        assert sys_slab_text(alone.slub, path) is None, path


@pytest.mark.parametrize("name", NAMES)
def test_the_log_of_boot_tells_of_options_as_the_kernel_does(name):
    """What it skips, what takes precedence, and with what SLUB begins, in the kernel's order."""
    content = recorded(name)
    boot = content["boot"]
    config = MemoryConfig(
        size=int(boot["mem"].removesuffix("M")) * MIB,
        nr_nodes=boot["nodes"],
        cmdline=boot["append"] or None,
    )
    booted = boot_zones(config, tuple(cpu % boot["nodes"] for cpu in range(boot["cpus"])))
    said = [line for line in boot_log(booted) if "SL" in line.upper().split("COMMAND LINE")[0]]

    assert content["log"] == [line for line in said if "slub_debug=" not in line]
