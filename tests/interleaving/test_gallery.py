"""The gallery: every buggy kernel fails, every right one has no schedule that does."""

import re
from pathlib import Path

import pytest
from attrs import fields

import mmactors
from mmactors.explore.search.search import Options
from mmactors.races.pair import explore_pair
from mmactors.rules import Rules
from mmactors.scenario.load import load_scenario

RACES = sorted((Path(__file__).parents[2] / "configs/races").glob("*.yaml"))
SOURCES = sorted(Path(mmactors.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", RACES, ids=lambda path: path.stem)
def test_an_entry_is_as_it_says(path):
    """The bug is found, and fails again whenever it is replayed; with all rules, nothing fails."""
    result = explore_pair(load_scenario(path), name=path.stem, options=Options())

    assert [] == result.problems()


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
    reads = [
        path.name
        for path in SOURCES
        for _ in re.finditer(rf"\.{rule}\b", path.read_text(encoding="utf-8"))
    ]

    assert 1 == len(reads), reads
    assert any(rule in load_scenario(path).race.broken for path in RACES), f"nothing breaks {rule}"
