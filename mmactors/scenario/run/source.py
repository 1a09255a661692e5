"""What a program may give for a scenario: the path of a file, a dict, or a Scenario.

A dict says what a file would say, with Python's own values: a tree of nodes is made of it, whose
places are paths, so that every rule and every message is that of a file (load.py).
"""

import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Final

from attrs import define, field

from mmactors.errors import Place, Problem, UserError
from mmactors.scenario.document import (
    MAX_DEPTH,
    MAX_NODES,
    Entry,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
)
from mmactors.scenario.dump import dump_scenario
from mmactors.scenario.load import load_scenario, parse_scenario, scenario_of_tree
from mmactors.scenario.overrides import Setting
from mmactors.scenario.schema import Scenario

Source = str | os.PathLike[str] | Mapping[str, object] | Scenario
Overrides = Mapping[str, object] | Sequence[str]

DICT: Final = "<dict>"
_LEGAL: Final = "expected the path of a scenario file, a dict, or a Scenario"
_DECIMAL_BITS_MAX: Final = 1 << 12
"""Python writes no decimal of more than 4,300 digits; with letters it writes any number."""


def load(source: Source, *, seed: int | None = None, overrides: Overrides = ()) -> Scenario:
    """Return the scenario of a path, a dict or a Scenario; raise UserError with all problems.

    `overrides` are values by the paths of options, `{"machine.cpus": 8}`, or texts as for `--set`,
    `["machine.cpus=8"]`; `seed` is the option `engine.seed`. Relative paths of traces begin at the
    folder of the file, or at the current one.
    """
    changes = _changes(seed, overrides)
    match source:
        case Scenario():
            if not changes:
                return source
            text = dump_scenario(source)
            return parse_scenario(text, file="<Scenario>", folder=Path(), overrides=changes)
        case Mapping():
            return scenario_of_tree(tree_of(source, DICT), folder=Path(), overrides=changes)
        case str() if "\n" in source:
            raise UserError(_no_source(f"a text of {len(source.splitlines())} lines"))
        case str() | os.PathLike():
            return load_scenario(Path(source), changes)
        case _:
            raise UserError(_no_source(f"a value of the type {type(source).__name__}"))


def tree_of(value: object, name: str) -> Node:
    """Return the tree of a dict of dicts, lists and plain values; `name` begins its places."""
    builder = _Builder()
    root = builder.build(value, Place(name), f"{name}: ", 0)
    if builder.problems:
        raise UserError(builder.problems)
    return root


def _changes(seed: int | None, overrides: Overrides) -> list[str | Setting]:
    changes: list[str | Setting] = []
    if isinstance(overrides, Mapping):
        changes += [
            Setting(str(key), tree_of(value, f"overrides[{str(key)!r}]"))
            for key, value in overrides.items()
        ]
    elif isinstance(overrides, str):
        changes.append(overrides)
    elif isinstance(overrides, list | tuple) and all(isinstance(each, str) for each in overrides):
        changes += overrides
    else:
        raise UserError(_no_overrides(overrides))
    if seed is not None:
        changes.append(Setting("engine.seed", tree_of(seed, "seed")))
    return changes


@define(eq=False)
class _Builder:
    """Turns Python's values into nodes and collects what is wrong."""

    problems: list[Problem] = field(factory=list)
    nr_nodes: int = 0

    def build(self, value: object, place: Place, prefix: str, depth: int) -> Node:
        """Return the node of a value; the places of what is below it begin with `prefix`."""
        self.nr_nodes += 1
        if depth > MAX_DEPTH:
            legal = f"expected at most {MAX_DEPTH} levels"
            advice = "look for a dict or a list that contains itself"
            raise UserError(_problem(place, "nested too deeply", legal, advice))
        if self.nr_nodes > MAX_NODES:
            legal = f"expected at most {MAX_NODES}"
            advice = "use copies:, generators or trace files"
            raise UserError(_problem(place, f"more than {MAX_NODES} values", legal, advice))
        match value:
            case Mapping():
                return self._mapping(value, place, prefix, depth)
            case list() | tuple():
                places = [Place(f"{place.file}[{index}]") for index in range(len(value))]
                items = [
                    self.build(item, below, f"{below.file}.", depth + 1)
                    for item, below in zip(value, places, strict=True)
                ]
                return SequenceNode(place, items)
            case _:
                scalar = _scalar(value, place)
                if scalar is None:
                    found = f"a value of the type {type(value).__name__}"
                    legal = "expected a dict, a list, a text, a number, True, False or None"
                    self.problems.append(
                        _problem(place, found, legal, "write what the YAML file would say")
                    )
                    return ScalarNode(place, "", "null")
                return scalar

    def _mapping(
        self, value: Mapping[object, object], place: Place, prefix: str, depth: int
    ) -> MappingNode:
        mapping = MappingNode(place)
        for key, item in value.items():
            if isinstance(key, str):
                below = Place(f"{prefix}{key}")
                node = self.build(item, below, f"{below.file}.", depth + 1)
                mapping.entries[key] = Entry(below, node)
            else:
                found, advice = f"the key {key!r}", f"write {str(key)!r}"
                self.problems.append(_problem(place, found, "expected a text", advice))
        return mapping


def _scalar(value: object, place: Place) -> ScalarNode | None:
    match value:
        case None:
            return ScalarNode(place, "", "null")
        case bool():
            return ScalarNode(place, str(value).lower(), "bool")
        case Integral():
            number = int(value)
            is_short = number.bit_length() <= _DECIMAL_BITS_MAX
            return ScalarNode(place, str(number) if is_short else hex(number), "int")
        case Real():
            return ScalarNode(place, repr(float(value)), "float")
        case str():
            return ScalarNode(place, str(value), "str")
        case os.PathLike():
            return ScalarNode(place, os.fspath(value), "str")
        case _:
            return None


def _no_source(found: str) -> Problem:
    return _problem(
        Place("source"), found, _LEGAL, "write a text into a file first; configs/ has examples"
    )


def _no_overrides(overrides: object) -> Problem:
    return _problem(
        Place("overrides"),
        f"a value of the type {type(overrides).__name__} that is neither",
        "expected a dict, or a list of texts",
        'write {"machine.cpus": 8} or ["machine.cpus=8"]',
    )


def _problem(place: Place, found: str, legal: str, advice: str) -> Problem:
    return Problem(place=place, found=found, legal=legal, advice=advice)
