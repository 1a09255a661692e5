"""A whole machine under the search: set up once, then every order of what races."""

from pathlib import Path

import numpy as np
import pytest
from explored import explore, scenario_of
from machines import drive

from mmactors.errors import UserError
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.search.verdict import Outcome
from mmactors.mm.fault.vm_fault import VmFault
from mmactors.races.checkpoint import Checkpoint, SlotNames, SlotPointers
from mmactors.races.machine import ExploredMachine
from mmactors.scenario.load import parse_scenario

UNMAPS = [
    "thread T1 cpu=1",
    "mmap A 8K",
    "touch A write",
    "T1: touch A read",
    "race",
    "T1& touch A read",
    "munmap A",
]


def run_one(machine, execution):
    """Run one schedule without preemptions; return what was done."""
    while True:
        try:
            execution.begin()
            while not execution.has_ended():
                execution.advance(execution.candidates()[0])
            break
        except BecameVisible:
            continue  # What was taken for local is a step from now on.
    assert execution.broken is None, execution.broken
    return [*zip(execution.choices, [step.text for step in execution.steps], strict=True)]


def test_a_race_of_the_machine_is_exhausted():
    """Accesses of one thread against munmap by another: all orders, within the scope."""
    _, verdict = explore(scenario_of(UNMAPS, scope=("page_tables", "tlb")), is_exhaustive=True)

    assert Outcome.EXHAUSTED is verdict.outcome
    assert verdict.nr_schedules > 10
    assert ("mmap_lock[1]",) in [each.elements for each in verdict.outside]


def test_every_schedule_begins_with_the_same_state():
    """What a schedule did to the machine is undone, all of it."""
    machine = ExploredMachine(scenario_of(UNMAPS, scope=("page_tables", "tlb")))
    execution = Execution(machine)

    runs = [run_one(machine, execution) for _ in range(3)]
    execution.close()

    assert runs[0] == runs[1] == runs[2]
    assert any("store" in text or "load" in text for _, text in runs[0])


def test_what_stands_before_the_race_is_no_choice():
    """Set-up takes no step of a schedule: the page is mapped when the race begins."""
    program = ["thread T1 cpu=1", "mmap A 1M", "touch A write", "race", "T1& touch A 0..1 read"]
    machine = ExploredMachine(scenario_of(program, scope=("page_tables", "tlb")))
    execution = Execution(machine)

    steps = run_one(machine, execution)
    execution.close()

    assert 1 == sum("load" in text for _, text in steps)


def test_a_search_takes_no_samples():
    """It explores as many schedules with `record.sample` as without."""
    verdicts = [
        explore(scenario_of(UNMAPS, scope=("tlb",), more=more))[1]
        for more in ("", "record: {sample: 1us, counters: ['cpu[*].*']}\n")
    ]

    assert 1 == len({(verdict.outcome, verdict.nr_schedules) for verdict in verdicts})


def test_a_checkpoint_undoes_what_changed():
    """Attributes, lists, dicts, and arrays are as they were; objects stay the same ones."""
    wired = drive(scenario_of(UNMAPS, scope=("tlb",)), until_ns=50_000).wired
    kernel, (process, *_) = wired.kernel, wired.processes
    checkpoint = Checkpoint(kernel)
    free_before = dict(kernel.vmstat.vmstat())
    flags = kernel.pages.flags.copy()
    names = process.names

    kernel.pages.flags[:] = 7
    names["B"] = (0, 0)
    process.cuser_ns = -1
    checkpoint.restore()

    assert free_before == dict(kernel.vmstat.vmstat())
    assert (flags == kernel.pages.flags).all()
    assert "B" not in names
    assert process.cuser_ns >= 0


@pytest.mark.parametrize("way", [SlotPointers, SlotNames])
def test_slots_are_put_back_by_their_pointers_as_by_their_names(way):
    """Both ways undo each attribute of all objects that a schedule changed."""
    machine = ExploredMachine(scenario_of(UNMAPS, scope=("tlb",)))
    execution = Execution(machine)
    machine.prepare(execution.engine)
    machine._checkpoint.restore()
    kept = Checkpoint(machine.wired)._slotted
    slots = way(kept)

    run_one(machine, execution)
    execution.engine.reset()
    nr_changed = len(changed_slots(kept))
    slots.restore()

    assert nr_changed > 20
    assert [] == changed_slots(kept)


def test_pointers_are_not_trusted_where_a_slot_is_none_of_them(monkeypatch):
    """Another layout of objects is seen, and slots are looked at by name."""
    wired = drive(scenario_of(UNMAPS, scope=("tlb",)), until_ns=50_000).wired
    assert isinstance(Checkpoint(wired.kernel)._slots, SlotPointers)

    monkeypatch.setattr("mmactors.races.checkpoint.np.frombuffer", lambda *_: np.zeros(3, np.intp))

    assert isinstance(Checkpoint(wired.kernel)._slots, SlotNames)


def changed_slots(kept):
    """Return the names of attributes that are no longer what they were."""
    return [
        name
        for fields in kept
        for name, value in fields.items()
        if name not in fields.own and getattr(fields.thing, name) is not value
    ]


@pytest.mark.parametrize(
    ("program", "found"),
    [
        (
            ["thread T1 cpu=1", "T1& compute 1s", "barrier B 2", "T1& barrier B 2", "race"],
            "barrier B 2 and stopped",
        ),
        (["thread T1 cpu=1", "T1& barrier B 2", "race"], "T1 still has something to do"),
    ],
)
def test_a_program_that_does_not_come_to_its_race_is_the_users_error(program, found):
    """What keeps it is named."""
    with pytest.raises(UserError, match=found):
        explore(scenario_of(program))


def test_a_race_needs_its_mark_and_known_rules():
    """Both are found before anything runs, with their places."""
    text = "race: {broken: [no_such_rule]}\nprocesses:\n  - name: a\n    program: [nop]\n"

    with pytest.raises(UserError) as caught:
        parse_scenario(text, file="r.yaml", folder=Path())

    lines = [str(problem) for problem in caught.value.problems]
    assert any("r.yaml:1:17: race.broken[0] is 'no_such_rule'" in line for line in lines)
    assert any("the program of a has no operation `race`" in line for line in lines)


def test_two_threads_that_miss_the_same_table_of_a_file_add_one(monkeypatch):
    """Each has got a page for it; who comes second gives its own back, or it is lost."""
    program = [
        "thread T1 cpu=1",
        "mmap A 8K addr=0x7a00000000 flags=shared,anon,fixed",
        "mmap B 4K addr=0x7a00400000 flags=private,anon,fixed",
        "touch B write",
        "race",
        "T1& touch A 0..1 write",
        "touch A 1..2 write",
    ]
    scenario = scenario_of(program, scope=("page_tables",))
    _, verdict = explore(scenario, is_exhaustive=True)
    monkeypatch.setattr(VmFault, "put_prealloc", lambda _fault: iter(()))
    _, broken = explore(scenario, is_exhaustive=True)

    assert (Outcome.EXHAUSTED, Outcome.FAILED) == (verdict.outcome, broken.outcome)
    assert verdict.nr_schedules > 10
