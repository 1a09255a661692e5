"""Two CPUs in the kernel's own mappings: every order, and nothing is lost or known too long."""

import pytest
from explored import explore, scenario_of

from mmactors.explore.search.verdict import Outcome
from mmactors.races.objects import MachineObjects

SCOPE = (
    *("vmap_areas", "free_vmap_areas", "purge_vmap_areas", "vmap_lazy_nr", "ne_fit_preload_node"),
    *("vmap_block", "vmap_block_queue", "vmap_blocks", "vfree_deferred"),
)
BLOCK = "alloc_pages X order=6"
FULL = [f"T: vm_map_ram R{nth} block=X" for nth in range(3)]


def searched(program, *, scope=SCOPE, rules=""):
    more = f"kernel: {{rules: {{{rules}}}}}\n" if rules else ""
    return explore(scenario_of(["thread T cpu=1", *program], scope=scope, more=more))[1]


ORDERS = {
    "two areas": ["race", "T& vmalloc A 4K", "vmalloc B 8K", "wait"],
    "an area and a freed one": ["vmalloc A 4K", "race", "T& vfree A", "vmalloc B 4K", "wait"],
    "a free and a purge": ["vmalloc A 4K", "race", "T& vfree A", "vm_unmap_aliases", "wait"],
    "two purges": ["vmalloc A 4K", "vfree A", "race", "T& vm_unmap_aliases", "vm_unmap_aliases"],
    "a block and its purge": [
        *(BLOCK, "T: vm_map_ram A block=X", "T: vm_unmap_ram A", "race"),
        *("T& vm_map_ram B block=X count=1", "vm_unmap_aliases", "wait"),
    ],
    "an interrupt and its CPU": ["vmalloc A 4K", "race", "T& vmalloc B 4K", "vfree A smp_call=1"],
}


@pytest.mark.parametrize("what", ORDERS)
def test_two_cpus_in_the_mappings_are_exhausted(what):
    """The right kernel keeps all laws in every order."""
    verdict = searched(ORDERS[what])

    assert Outcome.EXHAUSTED is verdict.outcome, verdict.failure and verdict.failure.report
    assert 2 < verdict.nr_schedules


@pytest.mark.parametrize("what", ["an area and a freed one", "a free and a purge", "two purges"])
def test_states_that_are_told_apart_by_their_values_change_no_verdict(what, monkeypatch):
    """Without values all schedules are tried: no fewer, and what came of them is the same."""
    merged = searched(ORDERS[what])
    find = MachineObjects._find

    def find_none(objects, name):
        if name.startswith(SCOPE):
            raise KeyError(name)
        return find(objects, name)

    monkeypatch.setattr(MachineObjects, "_find", find_none)
    every = searched(ORDERS[what])

    assert every.outcome is merged.outcome
    assert merged.nr_schedules <= every.nr_schedules


@pytest.mark.parametrize("rule", ["", "vmalloc_purge_flushes_tlb: false"])
def test_a_cpu_that_fills_its_tlb_beside_a_purge_knows_nothing_afterwards(rule):
    """What was freed before is forgotten; what another area has there now is not."""
    program = [
        *("vmalloc A 4K", "vmalloc B 4K", "T: peek A", "vfree A", "race"),
        *("T& peek B", "vm_unmap_aliases", "wait"),
    ]
    verdict = searched(program, scope=("tlb", "purge_vmap_areas", "free_vmap_areas"), rules=rule)

    assert (Outcome.FAILED if rule else Outcome.EXHAUSTED) is verdict.outcome
    assert not rule or "stale kernel translation" in verdict.failure.report


def test_the_fix_of_d1_holds_where_locks_are_in_the_scope_too():
    """No order of the block's lock lets anybody know what was unmapped."""
    program = [
        *(BLOCK, *FULL, "T: peek R0", "race"),
        *("T& vm_map_ram D block=X", "vm_unmap_ram R0", "vm_unmap_aliases", "wait"),
    ]
    scope = ("vmap_block", "vmap_block_queue", "vmap_blocks", "tlb", "vb->lock", "vbq->lock")

    assert Outcome.EXHAUSTED is searched(program, scope=scope).outcome


def test_a_search_knows_that_vmallocinfo_tells_what_others_change():
    """Whoever reads it while another allocates may see either."""
    numbers = [
        searched(["race", "T& vmalloc A 4K", what, "wait"]).nr_schedules
        for what in ("nop", "get /proc/vmallocinfo")
    ]

    assert numbers[0] < numbers[1]
