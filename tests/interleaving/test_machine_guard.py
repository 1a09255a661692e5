"""Guard mode: an access to shared state that its step does not declare stops the run."""

import pytest
from attrs import evolve
from machines import run, run_to_nothing, scenario_of

from mmactors.actors import address_space, fault, mmap, unmap
from mmactors.engine.guard import GuardViolation
from mmactors.engine.report import ActorCrashed

PROGRAM = ["mmap A 1M", "touch A read", "touch A write", "munmap A", "mmap B 4K"]


def guarded(program=None):
    return scenario_of(program if program is not None else PROGRAM, guard=True)


def test_what_is_declared_passes():
    """All of the kernel's paths."""
    run_to_nothing(guarded())


@pytest.mark.parametrize(
    ("module", "name", "touched"),
    [
        (fault, "READ_PTE", "page_tables"),
        (fault, "SET_PTE", "page_tables"),
        (fault, "SET_PTE", "pages"),
        (fault, "SET_PTE", "rss"),
        (address_space, "INSTALL_TABLE", "page_tables"),
        (unmap, "BEGIN_ZAP", "page_tables"),
        (unmap, "BEGIN_ZAP", "rss"),
        (unmap, "SET_PTE", "page_tables"),
        (unmap, "SET_PTE", "pages"),
        (unmap, "SET_PTE", "rss"),
        (unmap, "FREE_TABLES", "page_tables"),
        (mmap, "CHANGE_AREAS", "rss"),
    ],
)
def test_what_is_not_declared_is_caught(monkeypatch, module, name, touched):
    """Take one declared access from one step: the run stops there and says what it was."""
    label = getattr(module, name)
    kept = tuple(touch for touch in label.touches if touch[0] != touched)
    monkeypatch.setattr(module, name, evolve(label, touches=kept))

    with pytest.raises(ActorCrashed, match=rf"{touched}\[\d+\] was touched") as caught:
        run(guarded())

    assert isinstance(caught.value.__cause__, GuardViolation)
    assert f"in step '{label.text}' of" in str(caught.value)


def test_reading_is_not_writing(monkeypatch):
    """A step that declares to read may not write."""
    monkeypatch.setattr(fault, "SET_PTE", fault.READ_PTE)

    with pytest.raises(ActorCrashed, match=r"page_tables\[\d+\] was touched \(w\)"):
        run(guarded())


def test_reports_may_look_at_everything():
    """/proc of a machine that stands still, or of a process that ends, is no step."""
    ran = run(guarded(), until_ns=30_000)

    assert "1/smaps" in ran.machine.proc()
