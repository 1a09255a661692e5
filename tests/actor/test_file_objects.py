"""What the kernel makes for files: nodes of page caches."""

import errno

import pytest
from attrs import evolve
from machines import events_of, run, scenario_of

from mmactors.mm.page_alloc.alloc_site import ALLOC_SITES, ALLOC_SLAB_PAGE
from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.faults.config import FailPageAlloc, FaultsConfig

NODE_SITES = {"xas_alloc", "xas_nomem"}
PAGES = tuple(site for site in ALLOC_SITES if site != ALLOC_SLAB_PAGE)


def nodes_after(*program, upto=None):
    """Return how many nodes a machine has when a program has run; `upto`: when a call begins.

    It sleeps at the end: nodes are freed when no reader can be in them any more.
    """
    log = run(scenario_of([*program, "sleep 1000"])).log
    if upto is not None:
        log = b"\n".join(log.split(b"\n")[: calls_begin(log, upto)])
    made = [
        each["ptr"]
        for each in events_of(log, "kmem_cache_alloc")
        if each["call_site"] in NODE_SITES
    ]
    gone = [
        each["ptr"]
        for each in events_of(log, "kmem_cache_free")
        if each["name"] == "radix_tree_node"
    ]
    return len(made) - len(gone)


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
