"""The gallery: every buggy kernel fails, every right one has no schedule that does."""

import re
from functools import cache
from pathlib import Path

import pytest
from attrs import fields

import mmactors
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.search.budget import Budget
from mmactors.explore.search.options import Options
from mmactors.explore.search.search import search
from mmactors.explore.search.verdict import Outcome
from mmactors.explore.strategy.dfs import DepthFirst
from mmactors.races import pair
from mmactors.races.machine import ExploredMachine
from mmactors.races.pair import broken_problems, explore_broken, explore_pair, with_rules
from mmactors.rules import Rules
from mmactors.scenario.load import load_scenario

RACES = sorted((Path(__file__).parents[2] / "configs/races").glob("*.yaml"))
PAGE = Path(__file__).parents[2] / "docs/gallery.md"
NR_REPLAYS = 10
NR_FIRST = 20
MAX_SCHEDULES = 700
"""So many a buggy kernel may take to fail: half a second or two, shrinking included."""

each_entry = pytest.mark.parametrize("path", RACES, ids=lambda path: path.stem)


@pytest.mark.slow
@each_entry
def test_an_entry_is_as_it_says(path):
    """The bug is found, and fails again a hundred times; with all rules, no schedule fails.

    The next two tests are the ordinary suite's; docs/gallery.md keeps what came of this one.
    """
    result = explore_pair(load_scenario(path), name=path.stem, options=Options())

    assert [] == result.problems()


@each_entry
def test_the_bug_of_an_entry_is_found_shrunk_and_replayed(path, monkeypatch):
    """By the search, within the scope and the budget that stand in the entry."""
    monkeypatch.setattr(pair, "NR_REPLAYS", NR_REPLAYS)
    scenario = load_scenario(path)

    broken, nr_replayed = explore_broken(scenario, name=path.stem, options=Options())

    assert [] == broken_problems(scenario.race, broken, nr_replayed)
    assert NR_REPLAYS == nr_replayed
    assert broken.verdict.failure.at_schedule <= MAX_SCHEDULES


@pytest.mark.parametrize("race", ["a1", "a22"])
def test_a_search_that_begins_again_while_it_shrinks_has_not_kept_what_it_found(race, tmp_path):
    """Which steps others see may come out then only; the next search has kept it."""
    (path,) = (path for path in RACES if path.stem.startswith(f"{race}-"))
    scenario = load_scenario(path)
    machine = ExploredMachine(with_rules(scenario, broken=scenario.race.broken))
    options = Options(budget=Budget(schedules=100), store=tmp_path)

    first, second = (search(machine, name=race, options=options).failure for _ in range(2))

    assert first.earlier is None
    assert first.origin.startswith(f"found by {first.found_by} in schedule {first.at_schedule}")
    assert "kept" not in first.origin
    assert second.origin.startswith("kept from an earlier search: found by ")
    assert 1 == len(list(tmp_path.glob("*/*.txt")))


@each_entry
def test_the_first_schedules_of_an_entrys_right_kernel_do_not_fail(path):
    """A fix that does not hold is noticed in every session, in guard mode as well."""
    machine = ExploredMachine(load_scenario(path))

    verdict = search(machine, name=path.stem, options=Options(budget=Budget(schedules=NR_FIRST)))

    assert verdict.is_good, verdict.failure.report
    assert Outcome.EXHAUSTED is verdict.outcome or verdict.nr_schedules >= NR_FIRST


@each_entry
def test_the_page_has_the_entry_as_the_scenario_says_it(path):
    """With its fix exhausted, unless the scenario says that it is not."""
    race = load_scenario(path).race

    (section,) = [text for text in sections() if text.startswith(f"{race.id}: {race.title}\n")]

    assert race.story.strip() in section
    assert f"- Rule: `{'`, `'.join(race.broken)}`" in section
    assert f"- Scope: {', '.join(f'`{name}`' for name in race.scope)}; " in section
    assert f"Scenario: `configs/races/{path.name}`" in section
    (said,) = MEASURED.findall(section)
    assert said[1].startswith("exhausted: " if race.exhausts else "sampled: ")


def test_the_figures_of_the_page_are_of_one_commit():
    """And of no files that differ from it."""
    (commit,) = {commit for text in sections() for commit, _ in MEASURED.findall(text)}

    assert re.fullmatch(r"[0-9a-f]{7,40} of \d{4}-\d\d-\d\d", commit)


MEASURED = re.compile(r"^- Right kernel, measured at (.+?): (.+)$", re.MULTILINE)


def sections():
    """Return the text of each entry of the page."""
    return PAGE.read_text(encoding="utf-8").split("\n## ")[1:]


@each_entry
def test_an_entry_tells_its_story(path):
    """What happens, what to look at, and where the bug and its fix are to be found."""
    race = load_scenario(path).race

    told = (race.id, race.title, race.story, race.bug, race.fix, race.finds, race.look_at)
    assert all(told), told
    assert race.broken
    assert race.exhausts or race.why_sampled


@pytest.mark.parametrize("rule", [attribute.name for attribute in fields(Rules)])
def test_a_rule_is_read_in_one_statement(rule):
    """And some entry of the gallery breaks it, or a run that sanitizers stop."""
    reads = [name for name, text in sources().items() for _ in re.finditer(rf"\.{rule}\b", text)]

    assert 1 == len(reads), reads
    assert rule in rules_broken() | rules_of_runs()


@cache
def sources():
    """Return all text of the package, by file."""
    paths = sorted(Path(mmactors.__file__).parent.rglob("*.py"))
    return {str(path): path.read_text(encoding="utf-8") for path in paths}


def rules_of_runs():
    """Return what the broken kernels of runs break, which sanitizers stop."""
    tests = Path(__file__).parents[1]
    found = set()
    for name in (
        "golden/test_object_findings.py",
        "actor/test_vmalloc_calls.py",
        "example/test_ptmalloc_rules.py",
    ):
        text = (tests / name).read_text(encoding="utf-8")
        found |= {*re.findall(r'rule="(\w+)"', text), *re.findall(r"Rules\((\w+)=False\)", text)}
    return found


@cache
def rules_broken():
    """Return what entries break."""
    return {rule for path in RACES for rule in load_scenario(path).race.broken}


@pytest.mark.parametrize("bound", [0, 1])
def test_that_a_slice_is_over_counts_as_a_preemption(bound):
    """The thread could go on: with none left, only the end of what it does lets others run."""
    (path,) = (path for path in RACES if path.stem.startswith("a13-"))
    execution = Execution(ExploredMachine(load_scenario(path)))
    strategy = DepthFirst(bound=bound)
    nr_over = set()
    while not strategy.is_done:
        try:
            strategy.run(execution)
        except BecameVisible:
            strategy, nr_over = DepthFirst(bound=bound), set()
            continue
        texts = [step.text for step in execution.steps]
        nr_over.add(sum(text.startswith("the slice of") and text.endswith("yes") for text in texts))
    execution.close()

    assert set(range(bound + 1)) == nr_over
    assert strategy.was_bounded
