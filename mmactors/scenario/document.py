"""YAML text as a tree of nodes that know their places; the only file that knows ruamel.yaml.

The text is composed, never constructed: a scalar stays the text that the user wrote, so that the
structuring decides what `1e3`, `"7"` or `yes` mean where they stand, and no YAML tag builds an
object. Invariants: a tree has no cycle, no more than MAX_DEPTH levels and MAX_NODES nodes, so that
a file of aliases to aliases cannot exhaust the host; a text that has more is not read to its end.
"""

import warnings
from collections.abc import Iterator
from typing import Any, Final

from attrs import define, field
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode as YamlMapping
from ruamel.yaml.nodes import Node as YamlNode
from ruamel.yaml.nodes import ScalarNode as YamlScalar
from ruamel.yaml.nodes import SequenceNode as YamlSequence
from ruamel.yaml.reader import ReaderError

from mmactors.errors import Place, Problem, UserError, must_be_few
from mmactors.limits import (
    SCENARIO_CHARS_MAX,
    SCENARIO_DEPTH_MAX,
    SCENARIO_LINES_MAX,
    SCENARIO_VALUES_MAX,
    SCENARIO_WRITTEN_MAX,
)

MAX_DEPTH: Final = SCENARIO_DEPTH_MAX
MAX_NODES: Final = SCENARIO_VALUES_MAX

_LEAKED: Final = (
    ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError
)  # fmt: skip
"""What ruamel leaks for some malformed texts, as for %YAML 9.9 (found by fuzzing)."""

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
        _must_be_short(text, file)
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


def _must_be_short(text: str, file: str) -> None:
    nr_lines = text.count("\n") + text.count("\r")
    for number, what, most in (
        (len(text), "characters", SCENARIO_CHARS_MAX),
        (nr_lines, "lines", SCENARIO_LINES_MAX),
    ):
        if number > most:
            raise UserError(
                Problem(
                    place=Place(file),
                    found=f"{number} {what}",
                    legal=f"expected at most {most}",
                    advice="put accesses in a trace file and name it with `trace FILE`",
                )
            )


class _Excess(Exception):  # noqa: N818 - it says what happened
    """A text has too many levels, or too many values."""

    def __init__(self, mark: Any, is_deep: bool) -> None:  # noqa: FBT001 - used once
        super().__init__(mark, is_deep)
        self.line: Final[int] = mark.line + 1
        self.column: Final[int] = mark.column + 1
        self.is_deep: Final = is_deep


class _Composer(Composer):
    """ruamel's, that stops where our tree would: what lies behind is not even scanned."""

    nr_nodes = 0
    nr_levels = -1

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.nr_nodes += 1
        self.nr_levels += 1
        if self.nr_levels > MAX_DEPTH or self.nr_nodes > SCENARIO_WRITTEN_MAX:
            raise _Excess(self.parser.peek_event().start_mark, self.nr_levels > MAX_DEPTH)
        node = super().compose_node(parent, index)
        self.nr_levels -= 1
        return node


def _compose(text: str, file: str) -> YamlNode:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a reused anchor is legal YAML
            yaml = YAML(typ="safe", pure=True)
            yaml.Composer = _Composer
            root: YamlNode | None = yaml.compose(text)
    except _Excess as excess:
        if excess.is_deep:
            raise UserError(_too_deep(Place(file))) from None
        place = Place(file, excess.line, excess.column)
        raise UserError(_too_many(place, SCENARIO_WRITTEN_MAX)) from None
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
    except (YAMLError, *_LEAKED) as error:
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


def _too_many(place: Place, most: int) -> Problem:
    return Problem(
        place=place,
        found=f"more than {most} values",
        legal=f"expected at most {most}, aliases counted where they are used",
        advice="use copies:, generators or trace files",
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
            raise UserError([*self.problems, _too_many(place, MAX_NODES)])
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
        must_be_few(self.problems)


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def put_at(root: Node, place: Place) -> Node:
    """Let a tree, and all that is in it, come from one place; return it."""
    for node in walk(root):
        node.place = place
        if isinstance(node, MappingNode):
            for entry in node.entries.values():
                entry.place = place
    return root


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
