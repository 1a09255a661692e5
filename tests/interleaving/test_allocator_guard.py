"""Guard mode: what several CPUs touch of the allocator is declared by every step that does."""

import pytest
from attrs import evolve
from machines import EXACT, run, scenario_of

from mmactors import label
from mmactors.actors.alloc import page_alloc, zone
from mmactors.engine.report import ActorCrashed
from mmactors.units import MIB

PROGRAM = [
    "thread T cpu=1",
    "alloc_pages A order=1",
    "alloc_pages B order=4",
    "T: free_pages A",
    "drain_all_pages",
    "alloc_pages C gfp=RECLAIMABLE movable",
    "start_isolate_page_range C",
    "T: free_pages C",
    "undo_isolate_page_range C",
    "offline_pages C",
    "online_pages",
    "alloc_pages D gfp=HIGHUSER_MOVABLE",
    "free_pages D",
    "free_pages B",
]


def guarded():
    scenario = scenario_of(PROGRAM, cpus=2, size=32 * MIB, guard=True, **EXACT)
    memory = evolve(scenario.machine.memory, hotplug=4 * MIB)
    return evolve(scenario, machine=evolve(scenario.machine, memory=memory))


def test_what_is_declared_passes():
    """All operations on pages."""
    results = run(guarded()).results()

    assert all(result >= 0 for result in results.values())


@pytest.mark.parametrize(
    ("label", "touched"),
    [
        ("_alloc_label", label.VMSTAT),
        ("_alloc_label", label.PCP),
        ("_free_label", label.PCP),
        ("_count_label", label.PCP),
        ("_drain_label", label.PCP),
    ],
)
def test_what_is_not_declared_is_caught(monkeypatch, label, touched):
    """Take one declared access from one kind of step: the run stops there."""
    declared = getattr(page_alloc, label)

    def without(cpu):
        whole = declared(cpu)
        kept = tuple(touch for touch in whole.touches if not touch[0].startswith(touched))
        return evolve(whole, touches=kept)

    monkeypatch.setattr(page_alloc, label, without)

    with pytest.raises(ActorCrashed, match=rf"{touched}\[\d+\] was touched"):
        run(guarded())


def test_a_section_under_the_lock_declares_too(monkeypatch):
    """What it touches besides the free lists."""
    declared = zone.zone_label
    monkeypatch.setattr(zone, "zone_label", lambda request: evolve(declared(request), touches=()))

    with pytest.raises(ActorCrashed, match=r"vmstat\[\d+\] was touched|pcp\[\d+\] was touched"):
        run(guarded())
