"""Can a recording fail? Rules of mm/ are broken one at a time, and the recording of each sees it.

The rules of `rules.py` are those that real races broke: with one CPU, or with nobody in between, a
kernel without them gives the same numbers, so no recording tells it; docs/gallery.md shows what
does. Those broken here are of the mechanisms themselves. Which eight are, is up to the seed;
`-m slow` breaks all of them.
"""

import random
from importlib import import_module
from pathlib import Path

import pytest
from attrs import evolve, fields, frozen

from mmactors.actors.state.config import KernelConfig
from mmactors.rules import Rules
from mmactors.validate.registry import find_recordings, validate_recordings
from mmactors.validate.userland import machine

REFERENCE = Path(__file__).parents[1] / "reference/linux-6.1/userland"
SEED = 7
NR_BROKEN = 8


@frozen
class Broken:
    """A rule of a mechanism: where it stands, what a kernel without it does, who notices."""

    rule: str
    module: str
    name: str
    other: object
    recording: str

    def __str__(self):
        return self.rule.replace(" ", "-")


def _of_class(path):
    """Return the module, or the class in it, that `package.module:Class` names."""
    module, _, name = path.partition(":")
    found = import_module(f"mmactors.mm.{module}")
    return getattr(found, name) if name else found


BROKEN = [
    Broken(
        "a page of one user is reused",
        *("fault.wp_page", "_is_reusable", lambda *_: False, "faults/fork_cow"),
    ),
    Broken(
        "a copied page has no other user",
        *("fault.wp_page", "_is_reusable", lambda *_: True, "faults/fork_cow"),
    ),
    Broken(
        "a hint is taken where there is room",
        *("syscall.unmapped_area", "is_valid_hint", lambda *_: False, "vma/hints"),
    ),
    Broken(
        "a promise is limited in mode 2",
        *("area.overcommit:Overcommit", "_is_enough", lambda *_, **__: True),
        "vma/overcommit_never",
    ),
    Broken(
        "a fork copies what faults could not bring back",
        *("syscall.fork", "vma_needs_copy", lambda _vma: False, "faults/fork_cow"),
    ),
    Broken(
        "unlocking is counted",
        *("lru.folio_batch:FolioBatches", "munlock_page", lambda *_: None, "faults/mlock"),
    ),
    Broken(
        "a page used twice is active",
        *("lru.folio_batch:FolioBatches", "mark_accessed", lambda *_: None),
        "faults/populate_read_twice",
    ),
    Broken(
        "only CPUs that need it are interrupted",
        *("entries.tlb_state:TlbState", "should_flush", lambda *_: True, "tlb/idle_4cpu"),
    ),
    Broken(
        "new pages come to a list",
        *("lru.folio_batch:FolioBatches", "add_page", lambda *_: None, "faults/anon_basic"),
    ),
    Broken(
        "a stack grows within its limits",
        *("area.stack", "_acct_stack_growth", lambda *_, **__: 0, "vma/stack_growth"),
    ),
    Broken(
        "data count against their limit",
        *("area.mm_struct:MmStruct", "may_expand_vm", lambda *_, **__: True, "vma/limits_as"),
    ),
]
CHOSEN = random.Random(SEED).sample(BROKEN, NR_BROKEN)


def _validated(recording):
    found, problems = find_recordings([REFERENCE / f"{recording}.json"])
    assert not problems
    (result,) = validate_recordings(found)
    return result


def _break(monkeypatch, broken):
    place = _of_class(broken.module)
    assert hasattr(place, broken.name), "the rule stands elsewhere by now"
    monkeypatch.setattr(place, broken.name, broken.other)


@pytest.mark.parametrize("broken", CHOSEN, ids=str)
def test_a_kernel_without_one_rule_does_not_pass(monkeypatch, broken):
    """The recording differs, and says where."""
    _break(monkeypatch, broken)

    result = _validated(broken.recording)

    assert not result.passed
    assert result.first_difference is not None


@pytest.mark.slow
@pytest.mark.parametrize("broken", [each for each in BROKEN if each not in CHOSEN], ids=str)
def test_a_kernel_without_any_other_rule_does_not_pass(monkeypatch, broken):
    """Those that the seed did not choose."""
    _break(monkeypatch, broken)

    result = _validated(broken.recording)

    assert not result.passed
    assert result.first_difference is not None


@pytest.mark.slow
@pytest.mark.parametrize("rule", [field.name for field in fields(Rules) if field.type is bool])
def test_rules_that_races_break_are_not_told_by_recordings(monkeypatch, rule):
    """What is said above: where nobody comes in between, the numbers are the same."""
    given = machine._scenario
    kernel = KernelConfig(rules=evolve(Rules(), **{rule: not getattr(Rules(), rule)}))
    monkeypatch.setattr(
        machine, "_scenario", lambda *arguments: evolve(given(*arguments), kernel=kernel)
    )

    assert _validated("tlb/cow_fork_4cpu").passed
    assert _validated("vma/mremap_basic").passed
