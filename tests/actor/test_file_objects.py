"""What the kernel makes for files: inodes, dentries, nodes of page caches."""

import errno

import pytest
from attrs import evolve
from machines import EXACT, events_of, run, scenario_of

from mmactors.mm.page_alloc.alloc_site import ALLOC_SITES, ALLOC_SLAB_PAGE
from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.faults.config import FailPageAlloc, FailSlab, FaultsConfig

NODE_SITES = {"xas_alloc", "xas_nomem"}
PAGES = tuple(site for site in ALLOC_SITES if site != ALLOC_SLAB_PAGE)


def nodes_after(*program, upto=None):
    """Return how many nodes a machine has when a program has run; `upto`: when a call begins.

    It sleeps at the end: nodes are freed when no reader can be in them any more.
    """
    return objects_after([*program, "sleep 1000"], NODE_SITES, "radix_tree_node", upto)


def objects_after(program, sites, cache, upto):
    log = run(scenario_of([*program, "sleep 5000"])).log
    if upto is not None:
        log = b"\n".join(log.split(b"\n")[: calls_begin(log, upto)])
    return nr_live(log, sites, cache)


def nr_live(log, sites, cache):
    """Return how many objects were made by functions and not freed into a cache."""
    made = [each for each in events_of(log, "kmem_cache_alloc") if each["call_site"] in sites]
    gone = [each for each in events_of(log, "kmem_cache_free") if each["name"] == cache]
    return sum(each["ptr"] != 0 for each in made) - len(gone)


def reclaimable_after(*program):
    """Return nr_slab_reclaimable of a machine that has run a program."""
    counters = [
        node.counters["nr_slab_reclaimable"]
        for node in run(scenario_of([*program, "sleep 1000"])).machine.inspect().nodes
    ]
    return sum(counter.snapshot for counter in counters)


def calls_begin(log, call):
    """Return the line of a log in which a system call begins."""
    text = f'"call":"{call}"'.encode()
    return next(number for number, line in enumerate(log.split(b"\n")) if text in line)


@pytest.mark.parametrize("name", ["/mnt/f", "/f"])
@pytest.mark.parametrize(
    ("calls", "nr_nodes"),
    [
        (["write f 0 4K bs=4K"], 0),
        (["write f 4K 4K bs=4K"], 1),
        (["write f 0 256K bs=4K"], 1),
        (["write f 0 260K bs=4K"], 3),
        (["write f 0 800K bs=4K"], 5),
        (["write f 16M 4K bs=4K"], 3),
        (["write f 0 4K bs=4K", "write f 16M 4K bs=4K"], 5),
        (["write f 0 800K bs=4K", "ftruncate f 260K"], 3),
        (["write f 0 800K bs=4K", "ftruncate f 256K"], 1),
        (["write f 0 800K bs=4K", "ftruncate f 4K"], 0),
        (["write f 0 800K bs=4K", "unlink {name}", "close f"], 0),
    ],
)
def test_a_page_cache_has_a_node_for_64_pages_and_one_above_for_64_nodes(name, calls, nr_nodes):
    """None for page 0 alone; what is truncated or removed gives its nodes back."""
    program = [f"open f {name} create", *(call.format(name=name) for call in calls)]

    assert nr_nodes == nodes_after(*program)


def test_pages_that_are_dropped_take_their_nodes_along():
    """Clean pages of a file on disk: the kernel keeps none of them, nor a memory of them."""
    program = ["open f /mnt/f create", "write f 0 800K bs=4K", "fsync f", "fadvise f 0 0 DONTNEED"]

    assert 0 == nodes_after(*program)


@pytest.mark.parametrize("how", ["touch A write", "madvise A POPULATE_READ"])
def test_faults_on_shared_memory_make_nodes(how):
    """They are freed with its last area."""
    program = "mmap A 400K flags=shared,anon", how, "munmap A"

    assert 3 == nodes_after(*program, upto="munmap A")
    assert 0 == nodes_after(*program)


@pytest.mark.parametrize(
    ("program", "call", "result"),
    [
        (["open f /f create", "write f 0 16K bs=16K"], "write", 4096),
        (["open f /mnt/f create", "write f 0 16K bs=16K"], "write", 4096),
        (["open f /mnt/f create", "write f 4K 16K bs=16K"], "write", -errno.ENOMEM),
        (["mmap A 16K flags=shared,anon", "madvise A POPULATE_WRITE"], "madvise", -errno.ENOMEM),
        (["open f /mnt/f create", "ftruncate f 16K", "read f 8K 4K bs=4K"], "read", -errno.ENOMEM),
    ],
)
def test_without_memory_for_a_node_no_page_comes_into_the_cache(program, call, result):
    """A write ends short, populating with ENOMEM; the page that nobody could find is free again."""
    fault = FailPageAlloc(
        probability=100, times=-1, require=(call,), reject=PAGES, min_order=0, ignore_gfp_wait=False
    )
    scenario = scenario_of(program)
    ran = run(
        evolve(
            scenario,
            faults=FaultsConfig(fail_page_alloc=fault),
            sanitize=SanitizeConfig.everything(),
        )
    )

    assert result == ran.results()[program[-1]]
    assert {"alloc_slab_page"} == {each["site"] for each in ran.events("fault_injection")}
    assert () == ran.machine.findings()


def kept_after(*program, upto=None):
    """Return how many inodes in memory, on disk, and dentries a machine has, as `nodes_after`."""
    return tuple(
        objects_after(program, {site}, cache, upto)
        for site, cache in (
            ("shmem_alloc_inode", "shmem_inode_cache"),
            ("ext4_alloc_inode", "ext4_inode_cache"),
            ("__d_alloc", "dentry"),
        )
    )


@pytest.mark.parametrize(
    ("program", "kept"),
    [
        (["open f /f create"], (1, 0, 1)),
        (["open f /f create", "open g /f", "close f", "close g", "open f /f"], (1, 0, 1)),
        (["open f /f create", "unlink /f"], (1, 0, 1)),
        (["open f /f create", "unlink /f", "close f"], (0, 0, 0)),
        (["open f /f create", "close f", "unlink /f"], (0, 0, 0)),
        (["open f /f"], (0, 0, 0)),
        (["unlink /f"], (0, 0, 0)),
        (["open f /mnt/f create", "close f"], (0, 1, 1)),
        (["open f /mnt/f create", "close f", "unlink /mnt/f"], (0, 0, 1)),
        (["open f /mnt/f create", "unlink /mnt/f", "close f"], (0, 0, 0)),
        (["open f /mnt/f", "open f /mnt/f", "unlink /mnt/f"], (0, 0, 1)),
        (["open f /mnt/f", "open f /mnt/f create"], (0, 1, 1)),
        (
            ["open f /f create", "ftruncate f 8K", "mmap A 8K file=f flags=shared", "close f"],
            (1, 0, 1),
        ),
        (
            [
                "open f /f create",
                "ftruncate f 8K",
                "mmap A 8K file=f flags=shared",
                "close f",
                "unlink /f",
            ],
            (1, 0, 1),
        ),
        (["mmap A 16K flags=shared,anon"], (1, 0, 1)),
        (["mmap A 16K flags=shared,anon", "fork c", "munmap A"], (1, 0, 1)),
        (["mmap A 16K flags=shared,anon", "munmap A"], (0, 0, 0)),
    ],
)
def test_a_file_is_an_inode_and_a_dentry_as_long_as_somebody_can_reach_it(program, kept):
    """What was opened stays known; a name without a file stays where it is a disk's."""
    assert kept == kept_after(*program, "sleep 1000", upto="sleep 5000")


@pytest.mark.parametrize("other", ["open g /mnt/f", "open g /mnt/f create", "unlink /mnt/f"])
def test_who_looks_a_name_up_while_its_file_is_made_keeps_no_dentry_of_its_own(other):
    """Both begin at once, and find no dentry at hand."""
    maker = ["open f /mnt/f create", "close f", "sleep 1000", "unlink /mnt/f", "sleep 1000"]
    scenario = evolve(
        scenario_of(maker, [other, "sleep 9000"], cpus=2, **EXACT),
        sanitize=SanitizeConfig.everything(),
    )
    ran = run(scenario)

    assert () == ran.machine.findings()


def test_what_is_left_of_a_run_are_the_files_that_have_names():
    """Their pages, nodes, inodes and dentries; what was removed and is not in use has gone."""
    program = [
        *("open f /f create", "write f 0 800K bs=4K", "open g /g create", "write g 0 800K bs=4K"),
        *("unlink /g", "mmap A 400K flags=shared,anon", "touch A write", "fork c"),
        *("c: touch A read", "c: exit", "reap", "close g", "munmap A", "sleep 1000"),
    ]

    assert (1, 0, 1) == kept_after(*program)
    assert 5 == nodes_after(*program)


def test_the_pages_of_file_objects_are_reclaimable():
    """Those of nodes, dentries and inodes of disks, not of inodes in memory."""
    before = reclaimable_after()
    small = reclaimable_after("open f /mnt/f create", "write f 0 4K bs=4K")
    large = reclaimable_after("open f /mnt/f create", "write f 0 16M bs=4K")

    assert before < small < large


@pytest.mark.parametrize(
    ("program", "site", "result"),
    [
        (["open f /f create"], "__d_alloc", -errno.ENOMEM),
        (["open f /f create"], "shmem_alloc_inode", -errno.ENOSPC),
        (["open f /mnt/f create"], "ext4_alloc_inode", -errno.ENOMEM),
        (["unlink /f"], "__d_alloc", -errno.ENOMEM),
        (["mmap A 16K flags=shared,anon"], "__d_alloc", -errno.ENOMEM),
        (["mmap A 16K flags=shared,anon"], "shmem_alloc_inode", -errno.ENOSPC),
    ],
)
def test_without_memory_for_its_objects_there_is_no_file(program, site, result):
    """shmem_mknod and __shmem_file_setup call it a lack of space; nothing is kept or promised."""
    fault = FailSlab(probability=100, require=(site,), ignore_gfp_wait=False)
    scenario = evolve(
        scenario_of([*program, "sleep 1000"]),
        faults=FaultsConfig(failslab=fault),
        sanitize=SanitizeConfig.everything(),
    )
    ran = run(scenario)

    assert result == ran.results()[program[0]]
    assert () == ran.machine.findings()
    assert 0 == nr_live(ran.log, {"shmem_alloc_inode"}, "shmem_inode_cache")
    # A disk was asked whether it has the file: that it has not is remembered.
    assert (site == "ext4_alloc_inode") == nr_live(ran.log, {"__d_alloc"}, "dentry")


@pytest.mark.parametrize("path", ["/shm/f", "/data/f"])
def test_nodes_that_are_lost_with_their_file_are_no_leak_of_the_kernel(path):
    """Two nodes are made for a page far away, the third never is: as 6.1 leaves them behind."""
    program = [f"open F {path} create", "write F 1G 4K bs=4K", f"unlink {path}", "close F"]
    scenario = evolve(
        scenario_of(program),
        sanitize=SanitizeConfig.everything(),
        faults=FaultsConfig(
            failslab=FailSlab(
                probability=100,
                space=1500,
                times=-1,
                ignore_gfp_wait=False,
                cache_filter=("radix_tree_node",),
            )
        ),
    )
    done = run(scenario)

    assert 2 == nr_live(done.log, NODE_SITES, "radix_tree_node")
    assert () == done.machine.findings()
