"""What the command line, or a program, changes in a scenario before it is read.

`--set key=value`: the value is YAML, the key a path: `machine.cpus`, `processes[0].copies`,
`processes.0.copies`. The place of all that comes from here is the option itself. A program gives
the value as a tree (`Setting`).
"""

import re
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from mmactors.errors import Place, Problem, UserError
from mmactors.scenario.document import (
    Entry,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    describe,
    parse_document,
    put_at,
)

_FORM: Final = "expected --set KEY=VALUE"
_EXAMPLE: Final = "write it like --set machine.cpus=8"
_STEP = re.compile(r"[^.\[\]]+")
_PATH = re.compile(r"[^.\[\]=]+(\.[^.\[\]=]+|\[\d+\])*")


@frozen
class Setting:
    """A value for a key, from somewhere else than the command line."""

    key: str
    value: Node


def apply_overrides(
    root: Node, overrides: Sequence[str | Setting], problems: list[Problem]
) -> None:
    """Change the tree as each `KEY=VALUE` or setting says, in order; collect what is wrong."""
    for override in overrides:
        if isinstance(override, Setting):
            _set(root, override, problems)
            continue
        text = override
        place = Place(f"--set {text}")
        path, equals, value_text = text.partition("=")
        if not equals or not _PATH.fullmatch(path.strip()):
            problems.append(Problem(place=place, found=f"{text!r}", legal=_FORM, advice=_EXAMPLE))
            continue
        try:
            value = _value(value_text, place)
        except UserError as error:
            problems.extend(
                Problem(place=place, found=known.found, legal=known.legal, advice=known.advice)
                for known in error.problems
            )
            continue
        problem = _assign(root, _STEP.findall(path.strip()), value, place)
        if problem is not None:
            problems.append(problem)


def _set(root: Node, setting: Setting, problems: list[Problem]) -> None:
    place = setting.value.place
    if not _PATH.fullmatch(setting.key):
        problem: Problem | None = Problem(
            place=place,
            found=f"the key {setting.key!r}",
            legal="expected the path of an option",
            advice="write it like machine.cpus or processes[0].copies",
        )
    else:
        problem = _assign(root, _STEP.findall(setting.key), setting.value, place)
    if problem is not None:
        problems.append(problem)


def _value(text: str, place: Place) -> Node:
    if not text.strip():
        return ScalarNode(place, "", "null")
    return put_at(parse_document(text, file=place.file), place)


def _assign(root: Node, steps: list[str], value: Node, place: Place) -> Problem | None:
    node = root
    for at, step in enumerate(steps):
        is_last = at == len(steps) - 1
        match node:
            case MappingNode(entries=entries):
                child = None if step not in entries else entries[step].node
                if is_last:
                    entries[step] = Entry(place, value)
                elif child is None or _is_empty(child):
                    child = MappingNode(place)
                    entries[step] = Entry(place, child)
                node = child if child is not None else value
            case SequenceNode(items=items):
                if not step.isdecimal() or len(step) > 9 or int(step) >= len(items):
                    return Problem(
                        place=place,
                        found=f"{'.'.join(steps[:at])} has no item {step}",
                        legal=f"expected 0 to {len(items) - 1}" if items else "the list is empty",
                        advice="items count from 0",
                    )
                if is_last:
                    items[int(step)] = value
                node = items[int(step)]
            case _:
                return Problem(
                    place=place,
                    found=f"{'.'.join(steps[:at]) or 'the scenario'} is {describe(node)}",
                    legal="expected a mapping or a list above the key",
                    advice=f"set {'.'.join(steps[:at])} itself",
                )
    return None


def find(root: Node, steps: Sequence[str]) -> Node | None:
    """Return the node below `root` that keys and list positions lead to, or None."""
    node: Node | None = root
    for step in steps:
        match node:
            case MappingNode(entries=entries) if step in entries:
                node = entries[step].node
            case SequenceNode(items=items) if step.isdecimal() and int(step) < len(items):
                node = items[int(step)]
            case _:
                return None
    return node


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.kind == "null"
