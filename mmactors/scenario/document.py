"""YAML text as a tree of nodes that know their places; the only file that knows ruamel.yaml.

The text is composed, never constructed: a scalar stays the text that the user wrote, so that the
structuring decides what `1e3`, `"7"` or `yes` mean where they stand, and no YAML tag builds an
object. Invariants: a tree has no cycle, no more than MAX_DEPTH levels and MAX_NODES nodes, so that
a file of aliases to aliases cannot exhaust the host.
"""

import warnings
from collections.abc import Iterator
from typing import Final

from attrs import define, field
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode as YamlMapping
from ruamel.yaml.nodes import Node as YamlNode
from ruamel.yaml.nodes import ScalarNode as YamlScalar
from ruamel.yaml.nodes import SequenceNode as YamlSequence
from ruamel.yaml.reader import ReaderError

from mmactors.errors import Place, Problem, UserError

MAX_DEPTH: Final = 24
MAX_NODES: Final = 200_000
MAX_CHARS: Final = 16 << 20

_KINDS: Final = {
    "tag:yaml.org,2002:int": "int",
    "tag:yaml.org,2002:float": "float",
    "tag:yaml.org,2002:bool": "bool",
    "tag:yaml.org,2002:null": "null",
}
_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("int", "float", "bool", "null", "str", "seq", "map", "timestamp", "merge", "value")
)
_READABLE: Final = "expected a YAML document (https://yaml.org/spec/1.2.2)"


@define(eq=False)
class ScalarNode:
    """One scalar: its text as written, and what plain YAML takes it for."""

    place: Place
    text: str
    kind: str
    """`str`, `int`, `float`, `bool` or `null`; a quoted text is always `str`."""


@define(eq=False)
class SequenceNode:
    """A list."""

    place: Place
    items: "list[Node]" = field(factory=list)


@define(eq=False)
class MappingNode:
    """A mapping; keys are unique texts."""

    place: Place
    entries: "dict[str, Entry]" = field(factory=dict)


@define(eq=False)
class Entry:
    """One `key: value` of a mapping, with the key's own place."""

    place: Place
    node: "Node"


Node = ScalarNode | SequenceNode | MappingNode


def describe(node: Node) -> str:
    """Return what stands at a node, for the message of an error."""
    match node:
        case ScalarNode(kind="null"):
            return "empty"
        case ScalarNode(kind="str", text=text):
            return f"the text {_cut(text)!r}"
        case ScalarNode(text=text):
            return _cut(text)
        case SequenceNode(items=items):
            return f"a list of {len(items)}"
        case MappingNode(entries=entries):
            return f"a mapping with {_cut(', '.join(entries)) or 'no key'}"


def parse_document(text: str, *, file: str, problems: list[Problem] | None = None) -> Node:
    """Return the tree of a YAML text; `file` names it in places.

    Raises UserError with all problems that make it unusable. With `problems`, those that leave a
    tree that is whole are added there instead.
    """
    try:
        if len(text) > MAX_CHARS:
            raise UserError(
                Problem(
                    place=Place(file),
                    found=f"{len(text)} characters",
                    legal=f"expected at most {MAX_CHARS}",
                    advice="put accesses in a trace file and name it with `trace FILE`",
                )
            )
        root = _compose(text, file)
        builder = _Builder(file)
        node = builder.build(root, 0)
    except RecursionError:
        raise UserError(_too_deep(Place(file))) from None
    if builder.problems and (problems is None or builder.misses_keys):
        raise UserError(builder.problems)
    if problems is not None:
        problems += builder.problems
    return node


def _compose(text: str, file: str) -> YamlNode:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a reused anchor is legal YAML
            root: YamlNode | None = YAML(pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file) if mark is None else Place(file, mark.line + 1, mark.column + 1)
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise UserError(_malformed(place, what)) from None
    except ReaderError as error:
        head = text[: error.position]
        place = Place(file, head.count("\n") + 1, len(head) - (head.rfind("\n") + 1) + 1)
        what = f"the character {error.character!r}"
        if not isinstance(error.character, str):
            what = f"the character U+{error.character:04X}"
        raise UserError(_malformed(place, what)) from None
    except (YAMLError, ValueError, AttributeError, IndexError, TypeError, AssertionError) as error:
        # ruamel's scanner leaks these for some malformed texts (found by fuzzing).
        raise UserError(_malformed(Place(file), str(error) or type(error).__name__)) from None
    if root is None:
        raise UserError(
            Problem(
                place=Place(file),
                found="the file is empty",
                legal="expected a scenario",
                advice="begin with `processes:`; configs/quickstart.yaml is an example",
            )
        )
    return root


def _malformed(place: Place, what: str) -> Problem:
    return Problem(
        place=place,
        found=f"not YAML: {what}",
        legal=_READABLE,
        advice="check the indentation, and quote texts that hold ': ', ' #', or begin with one "
        "of @ & * ! % [ { ",
    )


def _too_deep(place: Place) -> Problem:
    return Problem(
        place=place,
        found="nested too deeply",
        legal=f"expected at most {MAX_DEPTH} levels",
        advice="look for an alias that contains itself",
    )


@define(eq=False)
class _Builder:
    """Turns ruamel's nodes into ours and collects what is wrong."""

    file: str
    problems: list[Problem] = field(factory=list)
    nr_nodes: int = 0
    misses_keys: bool = False
    """Something that is not understood may stand for keys; they would be missed."""

    def build(self, yaml: YamlNode, depth: int) -> Node:
        place = Place(self.file, yaml.start_mark.line + 1, yaml.start_mark.column + 1)
        self.nr_nodes += 1
        if depth > MAX_DEPTH:
            raise UserError([*self.problems, _too_deep(place)])
        if self.nr_nodes > MAX_NODES:
            raise UserError(
                Problem(
                    place=place,
                    found=f"more than {MAX_NODES} values",
                    legal=f"expected at most {MAX_NODES}, aliases counted where they are used",
                    advice="use copies:, generators or trace files",
                )
            )
        tag = "" if yaml.ctag is None else str(yaml.ctag)
        if tag and tag not in _TAGS:
            self._problem(place, f"the tag {tag}", "expected no tag", "remove it")
        match yaml:
            case YamlMapping():
                return self._mapping(yaml, place, depth)
            case YamlSequence():
                return SequenceNode(place, [self.build(item, depth + 1) for item in yaml.value])
            case _:
                assert isinstance(yaml, YamlScalar), yaml
                return ScalarNode(place, yaml.value, _KINDS.get(tag, "str"))

    def _mapping(self, yaml: YamlMapping, place: Place, depth: int) -> Node:
        mapping = MappingNode(place)
        for key, value in yaml.value:
            key_place = Place(self.file, key.start_mark.line + 1, key.start_mark.column + 1)
            node = self.build(value, depth + 1)
            if not isinstance(key, YamlScalar):
                self.misses_keys = True
                self._problem(key_place, "a key that is no text", "expected a name", "remove it")
            elif key.value == "<<" and key.style is None:
                self.misses_keys = True
                self._problem(
                    key_place,
                    "the merge key <<",
                    "YAML 1.2 has no merge",
                    "write the keys out, or use copies: for equal processes",
                )
            elif key.value in mapping.entries:
                first = mapping.entries[key.value].place
                self._problem(
                    key_place,
                    f"the key {key.value} a second time",
                    f"expected each key once; the first is in line {first.line}",
                    "remove one",
                )
            else:
                mapping.entries[key.value] = Entry(key_place, node)
        return mapping

    def _problem(self, place: Place, found: str, legal: str, advice: str) -> None:
        self.problems.append(Problem(place=place, found=found, legal=legal, advice=advice))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it, parents first."""
    yield node
    match node:
        case SequenceNode(items=items):
            for item in items:
                yield from walk(item)
        case MappingNode(entries=entries):
            for entry in entries.values():
                yield from walk(entry.node)
