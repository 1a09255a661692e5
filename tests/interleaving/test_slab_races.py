"""Two CPUs in the object allocator of a machine: every order, and nothing is lost."""

import pytest
from explored import explore, scenario_of

from mmactors.explore.search.verdict import Outcome
from mmactors.races.objects import MachineObjects

CACHE = "kmem_cache_create C size=2000"


@pytest.mark.parametrize(
    "program",
    [
        ["kmalloc A size=1K", "race", "T& kfree A", "kmalloc B size=1K", "wait"],
        [
            *(CACHE, "kmem_cache_alloc A cache=C", "kmem_cache_alloc B cache=C", "race"),
            *("T& kmem_cache_free A cache=C", "kmem_cache_free B cache=C", "wait"),
        ],
        [
            *(CACHE, "T: kmem_cache_alloc A cache=C", "T: kmem_cache_free A cache=C", "race"),
            *("T& kmem_cache_alloc A cache=C", "kmem_cache_shrink C", "wait"),
        ],
    ],
)
def test_two_cpus_in_a_cache_are_exhausted(program):
    """Frees of another's object, and a flush of what the other is about to take."""
    _, verdict = explore(scenario_of(["thread T cpu=1", *program]))

    assert Outcome.EXHAUSTED is verdict.outcome
    assert 50 < verdict.nr_schedules


BY_INTERRUPTS = [
    *("kmem_cache_create C size=8K", "T: kmem_cache_alloc S cache=C", "race"),
    *("T& kmem_cache_alloc X cache=C", "kmem_cache_alloc A cache=C gfp=ATOMIC smp_call=1"),
    *("kmem_cache_free A cache=C smp_call=1", "wait"),
]
BY_SLICES = [
    *("thread U cpu=1", "kmem_cache_create C size=8K", "T: kmem_cache_alloc S cache=C", "race"),
    *("T& kmem_cache_alloc X cache=C", "U& kmem_cache_alloc A cache=C"),
]
BY_MOVES = [
    *(
        "kmem_cache_create C size=16K",
        "T: kmem_cache_alloc S cache=C",
        "kmem_cache_alloc U cache=C",
    ),
    *("race", "T& kmem_cache_alloc X cache=C", "T& kmem_cache_free S cache=C"),
    *("sched_setaffinity T cpu=0", "wait"),
]
RULES = ("slub_cmpxchg_compares_tid", "slub_reads_tid_of_its_own_cpu")
SCOPE = ("kmem_cache_cpu", "kmem_cache_node", "slab")
FULL = "kernel: {preempt: full}\n"


def searched(program, *, more=""):
    return explore(scenario_of(["thread T cpu=1", *program], scope=SCOPE, more=more))[1]


@pytest.mark.parametrize("program", [BY_INTERRUPTS, BY_SLICES, BY_MOVES])
def test_interrupts_slices_and_moves_inside_the_allocator_are_exhausted(program):
    """A preemptible kernel allows all three; what was read of a CPU is good for that one."""
    assert Outcome.EXHAUSTED is searched(program, more=FULL).outcome


def test_only_a_preemptible_kernel_is_preempted_inside_the_allocator():
    """Another one goes on to the end of the operation, so that there are fewer orders."""
    assert searched(BY_SLICES).nr_schedules < searched(BY_SLICES, more=FULL).nr_schedules


def test_a_slice_that_ends_between_two_steps_is_as_good_as_an_interrupt():
    """Another thread of the CPU takes two objects and gives the first back."""
    broken = "kernel: {preempt: full, rules: {slub_cmpxchg_compares_tid: false}}\n"
    aba = [*BY_SLICES, "U& kmem_cache_alloc B cache=C", "U& kmem_cache_free A cache=C", "wait"]

    verdict = searched(aba, more=broken)

    assert "which is no object of it" in str(verdict.failure.broken)


@pytest.mark.parametrize("preempt", ["voluntary", "full"])
def test_a_number_of_another_cpu_is_read_only_where_the_kernel_is_preemptible(preempt):
    """Another kernel lets the thread go when the object is free."""
    rules = "rules: {slub_reads_tid_of_its_own_cpu: false}"
    program = [line for line in BY_MOVES if "X" not in line]
    program[0] = program[0].replace("16K", "32K")

    verdict = searched(program, more=f"kernel: {{preempt: {preempt}, {rules}}}\n")

    expected = Outcome.FAILED if preempt == "full" else Outcome.EXHAUSTED
    assert expected is verdict.outcome


@pytest.mark.parametrize("program", [BY_INTERRUPTS, BY_MOVES])
@pytest.mark.parametrize(
    "rule", [None, "slub_cmpxchg_compares_tid", "slub_reads_tid_of_its_own_cpu"]
)
def test_states_that_are_told_apart_by_their_values_change_no_verdict(program, rule, monkeypatch):
    """Without values all schedules are tried: no fewer, and what came of them is the same."""
    rules = "" if rule is None else f", rules: {{{rule}: false}}"
    more = f"kernel: {{preempt: full{rules}}}\n"
    merged = searched(program, more=more)
    find = MachineObjects._find

    def find_none(objects, name):
        if name.startswith(SCOPE):
            raise KeyError(name)
        return find(objects, name)

    monkeypatch.setattr(MachineObjects, "_find", find_none)
    every = searched(program, more=more)

    assert every.outcome is merged.outcome
    assert merged.nr_schedules <= every.nr_schedules


def test_nodes_of_a_page_cache_have_values_that_tell_states_apart(monkeypatch):
    """Two read pages of one node; without its value all schedules are tried, to the same end."""
    program = ["open f /mnt/f create", "ftruncate f 1M", "fadvise f 0 0 RANDOM", "race"]
    program += ["T& read f 4K 4K bs=4K", "read f 8K 4K bs=4K", "wait"]
    scenario = scenario_of(["thread T cpu=1", *program], scope=("page_cache", "i_pages"))
    _, merged = explore(scenario)
    find = MachineObjects._find

    def find_no_nodes(objects, name):
        if name.startswith("i_pages"):
            raise KeyError(name)
        return find(objects, name)

    monkeypatch.setattr(MachineObjects, "_find", find_no_nodes)
    _, every = explore(scenario)

    assert Outcome.EXHAUSTED is every.outcome is merged.outcome
    assert merged.nr_schedules < every.nr_schedules


def test_a_search_knows_that_files_of_caches_tell_what_others_change():
    """Whoever reads them while another allocates may see either; other files tell neither."""
    program = ["kmem_cache_create C size=8K", "race", "T& kmem_cache_alloc A cache=C"]

    numbers = [
        searched([*program, f"get {path}", "wait"]).nr_schedules
        for path in ("/proc/version", "/proc/slabinfo", "/sys/kernel/slab/C/objects")
    ]

    assert numbers[0] < numbers[1] == numbers[2]
