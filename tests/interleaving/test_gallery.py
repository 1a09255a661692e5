"""The gallery: every buggy kernel fails, every right one has no schedule that does."""

import re
from functools import cache
from pathlib import Path

import pytest
from attrs import fields

import mmactors
from mmactors.explore.search.budget import Budget
from mmactors.explore.search.options import Options
from mmactors.explore.search.search import search
from mmactors.explore.search.verdict import Outcome
from mmactors.races.machine import ExploredMachine
from mmactors.races.pair import broken_problems, explore_broken, explore_pair
from mmactors.rules import Rules
from mmactors.scenario.load import load_scenario

RACES = sorted((Path(__file__).parents[2] / "configs/races").glob("*.yaml"))
LONG = frozenset(
    {
        "a1-mremap-clean",
        "a11-migrate-collect",
        "a12-cpumask-store",
        "a13-switching-window",
        "a15-pgd-lock",
        "a16-speculative-reference",
        "a19-offline-pcp",
        "a2-mremap-dirty",
        "a20-percpu-drift",
        "a22-zonelist-pageset",
        "a4-madvise-free",
        "a5-nested-gather",
        "c12-anon-vma-prepare",
        "c13-anon-vma-root",
        "c14-vmacache-wrap",
        "c22-split-vma",
        "c6-gup-fast-fork",
        "c7-dirty-cow",
    }
)
"""Those whose right kernel takes more than half a second to exhaust."""
SLOW = frozenset(
    {
        "a1-mremap-clean",
        "a16-speculative-reference",
        "a19-offline-pcp",
        "a2-mremap-dirty",
        "c12-anon-vma-prepare",
        "c13-anon-vma-root",
    }
)
"""Those whose bug takes more than a second as well, up to a thousand schedules and two thousand."""
NR_FIRST = 30


def marked(path):
    """Leave exhausting a long entry to `-m slow`."""
    return pytest.param(path, marks=[pytest.mark.slow] if path.stem in LONG else [])


@pytest.mark.parametrize("path", [marked(path) for path in RACES], ids=lambda path: path.stem)
def test_an_entry_is_as_it_says(path):
    """The bug is found, and fails again whenever it is replayed; with all rules, nothing fails."""
    result = explore_pair(load_scenario(path), name=path.stem, options=Options())

    assert [] == result.problems()


def each_of(names):
    paths = [path for path in RACES if path.stem in names]
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


@each_of(LONG - SLOW)
def test_the_bug_of_a_long_entry_is_found_shrunk_and_replayed(path):
    """In every session; that its right kernel is exhausted is for `-m slow`."""
    scenario = load_scenario(path)

    broken, nr_replayed = explore_broken(scenario, name=path.stem, options=Options())

    assert [] == broken_problems(scenario.race, broken, nr_replayed)


@each_of(LONG)
def test_the_first_schedules_of_a_long_entrys_right_kernel_do_not_fail(path):
    """Its paths are walked in every session, in guard mode as well."""
    machine = ExploredMachine(load_scenario(path))

    verdict = search(machine, name=path.stem, options=Options(budget=Budget(schedules=NR_FIRST)))

    assert (Outcome.SAMPLED, NR_FIRST) == (verdict.outcome, verdict.nr_schedules)


@pytest.mark.parametrize("path", RACES, ids=lambda path: path.stem)
def test_an_entry_tells_its_story(path):
    """What happens, what to look at, and where the bug and its fix are to be found."""
    race = load_scenario(path).race

    told = (race.id, race.title, race.story, race.bug, race.fix, race.finds, race.look_at)
    assert all(told), told
    assert race.broken
    assert race.exhausts or race.why_sampled


@pytest.mark.parametrize("rule", [attribute.name for attribute in fields(Rules)])
def test_a_rule_is_read_in_one_statement(rule):
    """And some entry of the gallery breaks it."""
    reads = [name for name, text in sources().items() for _ in re.finditer(rf"\.{rule}\b", text)]

    assert 1 == len(reads), reads
    assert rule in rules_broken()


@cache
def sources():
    """Return all text of the package, by file."""
    paths = sorted(Path(mmactors.__file__).parent.rglob("*.py"))
    return {str(path): path.read_text(encoding="utf-8") for path in paths}


@cache
def rules_broken():
    """Return what entries break."""
    return {rule for path in RACES for rule in load_scenario(path).race.broken}
