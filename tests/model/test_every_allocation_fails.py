"""Each allocation that a program makes is made to fail once, and gives back what it had.

For n = 1, 2, 3 ... the n-th allocation fails, until the program runs without a failure. All
sanitizers are on: no page is lost, counters agree with what they count, no lock is left held, and
what the caller sees is 6.1's. Then the same with several failures in a run.
"""

from functools import cache
from itertools import count

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import objects_left, run, scenario_of

from mmactors.actors.state.config import KernelConfig
from mmactors.mm.page_alloc.alloc_site import ALLOC_SITES
from mmactors.mm.slab.alloc_site import SLAB_SITES, XAS_ALLOC, XAS_NOMEM
from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.dump import dump_scenario
from mmactors.scenario.faults.config import (
    FailPageAlloc,
    FailSlab,
    FaultsConfig,
    LateIpi,
    SpuriousWakeUp,
)
from mmactors.scenario.load import parse_scenario
from mmactors.units import MIB
from mmactors.workload.operation.all import OPERATIONS

BEFORE = ["nop"]
"""A process that does nothing makes all allocations of a start."""
MANY = 200
"""No program has so many allocations."""
EVERYTHING = {"min_order": 0, "ignore_gfp_wait": False, "ignore_gfp_highmem": False}
DISK = "open f /mnt/f create"
MEMORY = "open f /f create"
CHILD = ["fork c", "c: touch A write", "touch A write", "c: exit", "reap"]

PROGRAMS = {
    "anonymous": (["mmap A 16K", "touch A read", "touch A write", "munmap A"], {}),
    "fork": (["mmap A 16K", "touch A write", *CHILD, "munmap A"], {}),
    "pinned": (["mmap A 16K", "pin A as=d", "dma d write", *CHILD, "unpin d", "memwrite A"], {}),
    "populate": (
        ["mmap A 16K flags=private,anon,populate", "mlockall 3", "mmap B 8K", "munmap B"],
        {},
    ),
    "mlock": (["mmap A 16K", "mlock A", "munlock A"], {}),
    "advice": (
        [
            "mmap A 16K",
            "madvise A POPULATE_READ",
            "madvise A POPULATE_WRITE",
            "madvise A FREE",
            "madvise A PAGEOUT",
            "madvise A DONTNEED",
            "touch A write",
        ],
        {},
    ),
    "moved": (
        [
            "mmap A 4M",
            "touch A 0..2 write",
            "touch A 512..514 write",
            "mremap A len=8M flags=maymove as=B",
            "mremap B len=2M flags=maymove,fixed addr=0x100000000000 as=C",
            "touch C 0..4 read",
        ],
        {},
    ),
    "heap": (["brk +16K", "heap H 16K", "touch H write", "mprotect H 1..1 prot=r", "brk -16K"], {}),
    "disk": (
        [
            DISK,
            "mmap S 8K",
            "write f 0 16K bs=8K from=S",
            "fsync f",
            "fadvise f 0 0 DONTNEED",
            "mmap A 16K file=f flags=private",
            "touch A read",
            "touch A write",
            "munmap A",
            "fadvise f 0 0 DONTNEED",
            "read f 0 16K bs=8K",
            "fadvise f 0 0 DONTNEED",
            "mmap B 16K file=f flags=private",
            "touch B write",
        ],
        {"on_signal": "continue"},
    ),
    "disk, shared": (
        [DISK, "ftruncate f 16K", "mmap A 16K file=f flags=shared", *CHILD, "msync A flags=sync"],
        {},
    ),
    "memory file": (
        [
            MEMORY,
            "write f 0 16K bs=8K",
            "mmap A 16K file=f flags=private",
            *CHILD,
            "read f 0 16K bs=4K",
            "ftruncate f 4K",
            "unlink /f",
        ],
        {"on_signal": "continue"},
    ),
    "shared memory": (["mmap A 16K flags=shared,anon", *CHILD, "munmap A"], {}),
    "module": (
        ["alloc_pages X order=3", "vmalloc 16K", "alloc_pages Y order=2 comp", "free_pages Y"],
        {},
    ),
    "areas": (
        [
            *("alloc_pages X order=7", "vmalloc A 2052K", "vzalloc B 16K", "vmap M block=X"),
            *("vm_map_ram R block=X count=3", "vm_map_ram S block=X", "get_vm_area G 64K"),
            *("vfree A", "vunmap M", "vm_unmap_aliases", "vfree B smp_call=1", "vunmap G"),
            *("vm_unmap_ram S", "vm_unmap_ram R", "vmalloc C 64K align=2M", "vfree C"),
        ],
        {"cpus": 2},
    ),
    "objects": (
        [
            "kmalloc X size=100",
            "kmalloc L size=64K",
            "kmem_cache_create C size=1000",
            *("kmem_cache_alloc O cache=C", "krealloc X size=3000", "kmem_cache_free O cache=C"),
            *("kzalloc Z size=200", "kfree Z"),
            *("kmem_cache_shrink C", "kmem_cache_destroy C", "kfree X", "kfree L"),
        ],
        {},
    ),
    "per-CPU memory": (
        [
            *("alloc_percpu A size=100", "alloc_percpu B size=20K", "alloc_percpu C size=32K"),
            *("per_cpu_write B of=1 offset=5000 bytes=10", "alloc_percpu D size=8 gfp=ATOMIC"),
            *("free_percpu B", "alloc_percpu E size=30K align=4096", "free_percpu A"),
            *("sleep 1", "free_percpu C", "free_percpu D", "free_percpu E", "sleep 1"),
        ],
        {"cpus": 2},
    ),
    "reference counts": (
        [
            *("kmalloc O size=64", "percpu_ref_init R release=O", "percpu_ref_get R"),
            *("percpu_ref_kill R", "percpu_ref_put R", "sleep 30", "percpu_ref_exit R"),
        ],
        {},
    ),
    "threads": (
        ["mmap A 64K", "thread T cpu=1", "T& touch A write", "touch A write order=rev", "wait"],
        {"cpus": 2},
    ),
    "loops": (["churn 2 8K touch", "mmap A 16K", "faultloop A 2", "fragment A 2"], {}),
    "C library": (
        [
            *("malloc a 100", "malloc b 200K", "thread T cpu=1", "T: malloc c 3000", "T: exit"),
            *("free b", "free a"),
        ],
        {"cpus": 2},
    ),
    "tables by RCU": (
        ["mmap A 4M", "touch A 0..1 write", "touch A 1000..1001 write", "munmap A"],
        {"kernel": KernelConfig(tables_by_rcu=True), "cpus": 2},
    ),
    "a death": (
        ["mmap A 16K", "touch A write", "fork c", "c: touch @0x1000:4K write", "reap"],
        {"on_signal": "die"},
    ),
    "nodes": (
        ["mmap A 16K", "touch A write", "cpu 1", "mmap B 16K", "touch B write"],
        {"nr_nodes": 2, "cpus": 2, "size": 128 * MIB},
    ),
    "migration": (["mmap A 16K", "touch A write", "migrate A", "idle A", "touch A write"], {}),
}
ANSWERS = {
    "mlock": {-11},
    "pin": {-12},
    "madvise": {-12},
    "fork": {-12},
    "alloc_pages": {-12},
    **{key: {-12} for key in ("vmalloc", "vzalloc", "vmap", "vm_map_ram", "get_vm_area")},
    **{key: {-22} for key in ("vm_unmap_ram", "free_vm_area")},
    "free_pages": {-22},
    "kmalloc": {-12},
    "kzalloc": {-12},
    "krealloc": {-12},
    "kmem_cache_create": {-12},
    "kmem_cache_alloc": {-12},
    "percpu_ref_init": {-12},
    "alloc_percpu": {-12},
    "per_cpu_write": {-22},
    "malloc": {-12, -14},
    "free": {-14},
    "mprotect": {-12},
    "mremap": {-12},
    "open": {-12, -28},
    "read": {-12},
    "write": {-12, -14},
    "mlockall": {-12},
    "mmap": {-12, -28},
    "munmap": {-12},
    "unlink": {-12},
}
"""What 6.1 answers when a page was refused.

An inode that there is no memory for is ENOSPC, but on disk; mlock makes EAGAIN of ENOMEM, a write
EFAULT of a source that cannot be read; mmap has mapped what it then could not populate.
"""


def made(name, **faults):
    """Return a program of PROGRAMS with faults, all sanitizers on; it passes `check`."""
    program, options = PROGRAMS[name]
    scenario = scenario_of(program, **options)
    scenario = evolve(scenario, faults=FaultsConfig(**faults), sanitize=SanitizeConfig.everything())
    parse_scenario(dump_scenario(scenario), file="a.yaml", folder=None)
    return scenario


ONE_PAGE = FailPageAlloc(probability=100, times=1, **EVERYTHING)
ONE_OBJECT = FailSlab(probability=100, times=1, ignore_gfp_wait=False)


def first_of(name, kind, fault):
    """Return which allocation of a program is the first that fails in its test.

    Machines with the same options start alike: the first of their programs has each allocation of
    the start fail, the others what comes after it. Who is linked with malloc starts otherwise.
    """
    options = PROGRAMS[name][1]
    others = [other for other, (_, same) in PROGRAMS.items() if same == options]
    if name == others[0] or name == "C library":
        return 1
    return 1 + nr_at_start(others[0], kind, fault)


@cache
def nr_at_start(name, kind, fault):
    """Return how many allocations a machine makes until its process does something."""
    scenario = scenario_of(BEFORE, **PROGRAMS[name][1])
    least, most = 0, MANY
    while most - least > 1:
        nth = (least + most) // 2
        faults = FaultsConfig(**{kind: evolve(fault, interval=nth)})
        ran = run(evolve(scenario, faults=faults))
        least, most = (nth, most) if nr_failed(ran, kind) else (least, nth)
    return least


def nr_failed(ran, kind):
    """Return how many allocations were made to fail."""
    return ran.counters[f"injected_{kind}"]


def must_be_in_order(ran):
    """Hold a run to the laws at rest, and its calls to what 6.1 answers."""
    assert () == ran.machine.findings()
    assert {} == objects_left(ran)
    refused = {event.get("span") for event in ran.events("fault_injection")}
    opened = {event["seq"]: event for event in ran.events("sys_enter")}
    for event in ran.events("sys_exit"):
        opening = opened[event["span"]]
        if event["ret"] < 0 and opening["seq"] in refused:
            assert event["ret"] in ANSWERS[event["call"].split()[0]], event


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_allocation_fails_once_and_nothing_is_lost(name):
    """The run ends, the machine is in order, the caller hears of it."""
    each_fails_once(name, "fail_page_alloc", ONE_PAGE)


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_object_fails_once_and_nothing_is_lost(name):
    """Of the kernel's own and of a module's."""
    each_fails_once(name, "failslab", ONE_OBJECT)


def each_fails_once(name, kind, fault):
    """Let one allocation after the other fail, each in a run of its own."""
    scenario = made(name, **{kind: fault})
    for nth in count(first_of(name, kind, fault)):
        ran = run(evolve(scenario, faults=FaultsConfig(**{kind: evolve(fault, interval=nth)})))
        must_be_in_order(ran)
        if not nr_failed(ran, kind):
            break
        assert nth < MANY, "a program has so many allocations"


def test_each_function_that_allocates_objects_is_made_to_fail():
    """None is left out of the programs above, and there are no others."""
    reached = set()
    for name in PROGRAMS:
        fault = FailSlab(probability=20, times=-1, ignore_gfp_wait=False)
        ran = run(made(name, failslab=fault, seed=len(name)))
        events = ran.events("fault_injection")
        right = run(made(name))
        told = right.events("kmalloc") + right.events("kmem_cache_alloc")
        asked = {event["call_site"] for event in told} | {XAS_NOMEM}
        for site in asked & set(SLAB_SITES) - reached:
            # Memory is waited for where there is none without waiting.
            sites = (XAS_ALLOC, site) if site == XAS_NOMEM else (site,)
            fault = FailSlab(
                probability=100, times=len(sites), require=sites, ignore_gfp_wait=False
            )
            events += run(made(name, failslab=fault)).events("fault_injection")
        reached |= {event["site"] for event in events}

    assert set(SLAB_SITES) == {site for site in reached if "." not in site}
    assert set(OPERATIONS) >= {site.partition(".")[2] for site in reached if "." in site}


def test_each_function_that_allocates_is_made_to_fail():
    """No site is left out of the programs above."""
    reached = set()
    for name in PROGRAMS:
        fault = FailPageAlloc(probability=100, require=tuple(ALLOC_SITES), **EVERYTHING)
        scenario = made(name, fail_page_alloc=fault)
        failed = ()
        while failed is not None:
            left = tuple(site for site in ALLOC_SITES if site not in reached)
            faults = FaultsConfig(fail_page_alloc=evolve(fault, require=left))
            ran = run(evolve(scenario, faults=faults))
            # What fails first is what a run asks for in which nothing else fails.
            failed = next((each["site"] for each in ran.events("fault_injection")), None)
            reached |= {failed} - {None}

    assert set(ALLOC_SITES) - {"p4d_alloc_one"} == reached, "four levels have no p4d tables"


@settings(max_examples=25)
@given(
    name=st.sampled_from(sorted(PROGRAMS)),
    probability=st.integers(1, 60),
    seed=st.integers(0, 1000),
    late=st.booleans(),
)
def test_any_mixture_of_faults_leaves_the_machine_in_order(name, probability, seed, late):
    """Failures in the paths that clean up after failures, late IPIs and wake-ups for nothing."""
    faults = {
        "seed": seed,
        "fail_page_alloc": FailPageAlloc(probability=probability, times=-1, **EVERYTHING),
        "failslab": FailSlab(probability=probability // 2, times=-1, ignore_gfp_wait=False),
    }
    if late:
        faults["late_ipi"] = LateIpi(probability=50, times=-1, delay=1_000_000)
        faults["spurious_wake_up"] = SpuriousWakeUp(probability=50, times=-1)

    ran = run(made(name, **faults))

    assert () == ran.machine.findings()
    assert {} == objects_left(ran)


OFF = st.fixed_dictionaries(
    {
        "interval": st.integers(1, 5),
        "space": st.integers(0, 9),
        "task_filter": st.booleans(),
        "require": st.sampled_from([(), ("fork",)]),
    }
)


@settings(max_examples=12)
@given(
    name=st.sampled_from(sorted(PROGRAMS)),
    options=OFF,
    off=st.sampled_from([{"probability": 0, "times": -1}, {"probability": 100, "times": 0}]),
)
def test_what_cannot_happen_changes_no_byte_of_the_log(name, options, off):
    """Probability 0, or no times left: the machine is the one without `faults`."""
    fault = FailPageAlloc(**EVERYTHING, **options, **off)
    late, wake_up = LateIpi(**options, **off), SpuriousWakeUp(**options, **off)
    faults = {"fail_page_alloc": fault, "late_ipi": late, "spurious_wake_up": wake_up}
    ran = run(made(name, failslab=FailSlab(**options, **off), **faults))

    assert run(made(name)).log == ran.log


def test_asking_changes_no_byte_of_the_log_either():
    """What is asked for and never said yes to: the paths that ask are the ones that do not."""
    for name in ("anonymous", "threads", "disk"):
        fault = FailPageAlloc(probability=100, interval=1 << 30, **EVERYTHING)

        assert run(made(name)).log == run(made(name, fail_page_alloc=fault)).log
