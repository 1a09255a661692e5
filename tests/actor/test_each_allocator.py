"""Machines with SLUB, SLAB or SLOB: the same programs, other logs, nothing lost on any of them."""

import errno
from functools import cache

import pytest
from attrs import evolve
from machines import drive, run, scenario_of
from object_programs import ALLOCATORS, scenario

from mmactors.actors.state.config import KernelConfig
from mmactors.mm.slab.slab import alloc as slab_alloc
from mmactors.mm.slab.slob.heap import SlobHeap
from mmactors.mm.vmstat import NODE_ITEM
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.law import Law

USE = (
    *("kmem_cache_create C size=100", "kmem_cache_alloc A cache=C", "kmalloc B size=200"),
    *("kmalloc L size=20000", "krealloc B size=300", "mmap M 64K", "touch M write", "fork P"),
)
GIVE_BACK = ("kmem_cache_free A cache=C", "kfree B", "kfree L", "kmem_cache_destroy C")


def ran(slab, *program, **options):
    made = scenario_of(list(program), kernel=KernelConfig(slab=slab), **options)
    return run(evolve(made, sanitize=SanitizeConfig.everything()))


def seeds(nr_ordinary, nr):
    """Return seeds, of which the first ones are for the ordinary suite."""
    slow = (pytest.param(seed, marks=pytest.mark.slow) for seed in range(nr_ordinary, nr))
    return [*range(nr_ordinary), *slow]


@pytest.mark.parametrize("slab", ALLOCATORS)
@pytest.mark.parametrize("seed", seeds(10, 20))
def test_random_programs_leave_nothing_behind_and_break_no_law(slab, seed):
    """Three CPUs, two nodes, threads, interrupts, grace periods, processes and files.

    Half of the programs are for `-m slow`.
    """
    assert () == run(scenario(slab, seed)).machine.findings()


@pytest.mark.parametrize("slab", ALLOCATORS)
@pytest.mark.parametrize("seed", seeds(6, 10))
def test_where_there_is_no_memory_nothing_is_left_behind_either(slab, seed):
    """Pages fail, and objects; who asked for them says so, and gives back what it had.

    Of ten programs four are for `-m slow`.
    """
    ran = run(scenario(slab, seed, fails=True))

    assert () == ran.machine.findings()


@pytest.mark.parametrize("slab", ALLOCATORS)
def test_a_run_is_the_same_each_time_and_another_one_with_another_allocator(slab):
    logs = {each: log_of(each) for each in ALLOCATORS}

    assert run(scenario(slab, 7)).log == logs[slab]
    assert len(ALLOCATORS) == len(set(logs.values()))


@cache
def log_of(slab):
    """Return what one program leaves in the log."""
    return run(scenario(slab, 7)).log


@pytest.mark.parametrize("slab", ALLOCATORS)
def test_a_program_that_ends_well_has_the_same_results_on_each(slab):
    """Addresses differ, and nothing else."""
    found = ran(slab, *USE, *GIVE_BACK)

    assert {0} == {found.results()[call] for call in GIVE_BACK}
    assert () == found.machine.findings()


def test_slabinfo_of_slab_has_tunables_and_that_of_slob_is_not_there():
    """CONFIG_SLABINFO depends on SLAB or SLUB_DEBUG (init/Kconfig)."""
    calls = ["get /proc/slabinfo", "get /sys/kernel/slab/C/slab_size"]
    found = {slab: ran(slab, *USE, *calls) for slab in ALLOCATORS}
    results = {slab: [each.results()[call] for call in calls] for slab, each in found.items()}

    assert {
        "slub": [0, 0],
        "slab": [0, -errno.ENOENT],
        "slob": [-errno.ENOENT, -errno.ENOENT],
    } == results
    line = next(
        line
        for line in found["slab"].machine.proc()["slabinfo"].splitlines()
        if line.startswith("kmalloc-32 ")
    )
    # One CPU, so nothing is shared; two arrays' worth of a slab is active.
    assert ": tunables  120   60    0 : slabdata " in line
    assert "slabinfo" not in found["slob"].machine.proc()
    assert {"slub": True, "slab": False, "slob": False} == {
        slab: "kernel/slab.txt" in each.machine.sysfs() for slab, each in found.items()
    }


def test_only_slub_says_at_boot_that_it_is_there():
    """kmem_cache_init of mm/slab.c and mm/slob.c prints nothing."""
    kmsg = {slab: ran(slab, "nop").machine.proc()["kmsg"] for slab in ALLOCATORS}

    assert [True, False, False] == ["SLUB: HWalign" in kmsg[slab] for slab in ALLOCATORS]


@pytest.mark.parametrize("slab", ALLOCATORS)
def test_pages_of_objects_are_counted(slab):
    """SLOB counts all of them as unreclaimable (slob_new_pages)."""
    program = [*USE, "open F /data/f create", "write F 0 16K bs=4K"]
    vmstat = drive(scenario_of(program, kernel=KernelConfig(slab=slab))).kernel.vmstat
    names = ("nr_slab_unreclaimable", "nr_slab_reclaimable")
    counted = [vmstat.node_page_state_snapshot(0, NODE_ITEM[name]) for name in names]

    assert [True, slab != "slob"] == [number > 0 for number in counted]


def test_caches_are_looked_at_in_the_words_of_each():
    """SLAB's CPUs have arrays of objects, and SLOB's caches no slabs."""
    found = {
        slab: {each.name: each for each in ran(slab, *USE).machine.inspect().caches}["C"]
        for slab in ALLOCATORS
    }

    assert {100} == {each.object_size for each in found.values()}
    assert (1, 0) == (sum(found["slub"].cpu_slabs), len(found["slub"].cpu_objects))
    assert found["slab"].cpu_objects[0] == 15  # A batch of a CPU that was idle, and one is out.
    assert found["slab"].objects == (16,)
    assert ((), 0) == (found["slob"].slabs, found["slob"].order)


def test_an_object_that_slab_loses_is_missed(monkeypatch):
    """Of a new slab fewer objects come into the array than its indexes are counted on by."""
    fill = slab_alloc.alloc_block

    def lose(words, *arguments):
        fill(words, *arguments)
        ac = arguments[-3]
        words[ac] -= 1  # AVAIL

    monkeypatch.setattr(slab_alloc, "alloc_block", lose)
    laws = {finding.law.name for finding in ran("slab", *USE, *GIVE_BACK).machine.findings()}

    assert "OBJECT_LOST" in laws


def test_a_block_that_slob_forgets_is_missed(monkeypatch):
    """What is freed stays where it is."""
    free = SlobHeap.free

    def forget(self, this_cpu, block, size):
        if size == 104:
            return
        yield from free(self, this_cpu, block, size)

    monkeypatch.setattr(SlobHeap, "free", forget)
    program = ("kmem_cache_create C size=104", "kmem_cache_alloc A cache=C", "kmalloc K size=8")
    laws = {
        finding.law.name
        for finding in ran("slob", *program, "kmem_cache_free A cache=C").machine.findings()
    }

    assert {"OBJECT_LOST"} == laws


def test_free_blocks_that_lead_in_a_circle_are_told_of_once():
    """A block that is freed twice is handed out twice; freed again, it follows itself."""
    twice = ("kmalloc A size=64", "kfree A", "kfree A", "kmalloc B size=64", "kmalloc C size=64")
    heads = [each.head for each in ran("slob", *twice, "kfree B", "kfree C").machine.findings()]

    assert 1 == sum("lead in a circle" in head for head in heads), heads
    assert len(heads) <= 5, heads


@pytest.mark.parametrize(
    ("allocate", "free", "told"),
    [
        ("kmem_cache_alloc A cache=C", "kmem_cache_free A cache=D", "an object of D"),
        ("kmem_cache_alloc A cache=C", "kfree A", "what kmalloc has returned"),
        ("kmalloc A size=40", "kmem_cache_free A cache=D", "an object of D"),
    ],
)
def test_slob_believes_who_frees_an_object_and_the_sanitizer_does_not(allocate, free, told):
    """No page of SLOB says whose objects it has: the kernel is silent."""
    caches = ("kmem_cache_create C size=40", "kmem_cache_create D size=300")
    found = ran("slob", *caches, allocate, free)
    first = found.machine.findings()[0]

    assert (Law.WRONG_CACHE, True) == (first.law, told in first.head), first.head
    assert [] == found.events("console")


@pytest.mark.parametrize("slab", ALLOCATORS)
def test_krealloc_of_a_freed_object_is_a_mistake_that_the_run_survives(slab):
    """SLOB reads its length from where the free block's words are by now, and clears so much."""
    program = (
        "kmalloc A size=100",
        "kfree A",
        "krealloc A size=200",
        "mmap M 64K",
        "touch M write",
    )
    found = ran(slab, *program)
    said = [event["msg"] for event in found.events("console")]

    assert (slab == "slob") == any("unable to handle page fault" in line for line in said), said


def test_an_object_larger_than_any_block_of_pages_is_refused_by_slob_when_it_is_asked_for():
    """The cache can be made: SLOB lays nothing out (__kmem_cache_create). The others refuse it."""
    program = ("kmem_cache_create C size=64M", "kmem_cache_alloc A cache=C")
    found = {slab: ran(slab, *program) for slab in ALLOCATORS}

    assert {
        "slub": [-errno.EINVAL, -errno.EINVAL],
        "slab": [-errno.E2BIG, -errno.EINVAL],
        "slob": [0, -errno.ENOMEM],
    } == {slab: [each.results()[call] for call in program] for slab, each in found.items()}
    warned = [event["msg"] for event in found["slob"].events("console")]
    assert "WARNING: CPU: 0 PID: 0 at mm/page_alloc.c:5634 __alloc_pages" in warned


@pytest.mark.parametrize(("word", "order"), [("", 1), ("slab_max_order=0", 0)])
def test_slabs_of_slab_are_as_large_as_the_command_line_lets_them_be(word, order):
    """Five objects of 1500 bytes waste less of two pages than two of one."""
    made = scenario_of(["kmem_cache_create C size=1500"], kernel=KernelConfig(slab="slab"))
    memory = evolve(made.machine.memory, cmdline=word)
    found = run(evolve(made, machine=evolve(made.machine, memory=memory))).machine.inspect()

    assert [order] == [each.order for each in found.caches if each.name == "C"]
