"""Guard mode: an access to shared state that its step does not declare stops the run."""

import pytest
from attrs import evolve
from machines import run, run_to_nothing, scenario_of

from mmactors.engine.baton import Engine
from mmactors.engine.guard import GuardViolation
from mmactors.engine.report import ActorCrashed
from mmactors.label import Mode

PROGRAM = [
    "mmap A 1M",
    "touch A read",
    "touch A write",
    "mprotect A 0..4 prot=r",
    "mprotect A 0..4 prot=rw",
    "mremap A len=1M flags=maymove,fixed addr=0x40000000 as=C",
    "munmap C",
    "mmap B 4K",
    "touch B write",
    "fork D",
    "D: touch B write",
    "touch B write",
    "D: exit",
    "reap",
]


def guarded(program=None):
    return scenario_of(program if program is not None else PROGRAM, guard=True)


def test_what_is_declared_passes():
    """All of the kernel's paths."""
    run_to_nothing(guarded())


def drop(monkeypatch, text, touched):
    """Let one step not declare what it touches of one kind."""
    step = Engine.step

    async def step_with_less(engine, label):
        if label.text == text:
            kept = tuple(touch for touch in label.touches if touch[0].split("[")[0] != touched)
            label = evolve(label, touches=kept)
        await step(engine, label)

    monkeypatch.setattr(Engine, "step", step_with_less)


@pytest.mark.parametrize(
    ("text", "touched"),
    [
        ("read pte", "page_tables"),
        ("install a table", "page_tables"),
        ("map the zero page", "page_tables"),
        ("map a page", "page_tables"),
        ("map a page", "pages"),
        ("clear pte", "page_tables"),
        ("map a copy", "pages"),
        ("change protection", "page_tables"),
        ("change protection", "pages"),
        ("move ptes", "page_tables"),
        ("copy pte", "page_tables"),
        ("duplicate rmap", "pages"),
        ("look again", "pages"),
        ("begin zap", "page_tables"),
        ("begin zap", "rss"),
        ("zap", "page_tables"),
        ("zap", "pages"),
        ("zap", "rss"),
        ("free tables", "page_tables"),
        ("change areas", "rss"),
        ("sync rss", "rss"),
    ],
)
def test_what_is_not_declared_is_caught(monkeypatch, text, touched):
    """Take one declared access from one step: the run stops there and says what it was."""
    drop(monkeypatch, text, touched)

    with pytest.raises(ActorCrashed, match=rf"{touched}\[\d+\] was touched") as caught:
        run(guarded())

    assert isinstance(caught.value.__cause__, GuardViolation)
    assert f"in step '{text}' of" in str(caught.value)


def test_reading_is_not_writing(monkeypatch):
    """A step that declares to read may not write."""
    step = Engine.step

    async def step_that_reads(engine, label):
        if label.text == "map a page":
            touches = tuple((name, Mode.READ) for name, _ in label.touches)
            label = evolve(label, touches=touches)
        await step(engine, label)

    monkeypatch.setattr(Engine, "step", step_that_reads)

    with pytest.raises(ActorCrashed, match=r"was touched \(w\)"):
        run(guarded())


def test_reports_may_look_at_everything():
    """/proc of a machine that stands still, or of a process that ends, is no step."""
    ran = run(guarded(), until_ns=30_000)

    assert "1/smaps" in ran.machine.proc()
