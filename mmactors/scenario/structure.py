"""Nodes into attrs values, strictly, driven by what `option` says of each field.

Nothing is converted that does not mean the same: `2.7` is no integer, `"7"` is no number, `yes` is
no truth value. All problems are collected; a value that has one is INVALID and its parents go on,
so that a file shows all its errors at once. Invariant: a tree without problems gives a value, and
never INVALID.
"""

import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, Literal, get_args, get_origin

import attrs
from attrs import define, field, fields, frozen, has

from mmactors.errors import Place, Problem, must_be_few
from mmactors.left_out import LEGAL, left_out_called
from mmactors.option import OptionDoc, is_option, option_doc
from mmactors.scenario.document import MappingNode, Node, ScalarNode, SequenceNode, describe
from mmactors.scenario.quantity import INT, INT_MAX, UNIT_PARSERS, plain_int, unit_advice
from mmactors.units import format_bytes

_YES_NO: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false"}
_UNIT_LEGAL: Final = {
    "bytes": "a size: bytes, or a number with K, M, G or T, as in 64K",
    "ns": "a time: ns, or a number with ns, us, ms or s, as in 3us",
}


_Factory: Final[Any] = attrs.Factory  # its stub is a function


class Invalid(Enum):
    """The value of a node that has a problem."""

    INVALID = 0


INVALID: Final = Invalid.INVALID
_HINTS: Final[dict[type[Any], dict[str, Any]]] = {}
"""By class: resolving annotations is most of what it takes to load or dump a scenario."""


class TextError(Exception):
    """A text that has a grammar of its own does not follow it; `column` counts from 1."""

    def __init__(self, *, found: str, legal: str, advice: str, column: int = 1) -> None:
        self.found = found
        self.legal = legal
        self.advice = advice
        self.column = column
        super().__init__(f"column {column}: {found}; {legal} ({advice})")


@frozen(kw_only=True)
class Field:
    """One key of a configuration class."""

    name: str
    type: Any
    doc: OptionDoc
    default: object
    """attrs.NOTHING: the key must be given."""


def config_fields(config_class: type[Any], base: object = None) -> dict[str, Field]:
    """Return the keys of a configuration class with their resolved types, in order.

    The defaults are the values of `base`, an object of that class, if there is one.
    """
    hints = _hints(config_class)
    return {
        attribute.name: Field(
            name=attribute.name,
            type=hints[attribute.name],
            doc=option_doc(attribute),
            default=_default(attribute) if base is None else getattr(base, attribute.name),
        )
        for attribute in fields(config_class)
        if is_option(attribute)
    }


def _hints(config_class: type[Any]) -> dict[str, Any]:
    hints = _HINTS.get(config_class)
    if hints is None:
        hints = _HINTS[config_class] = typing.get_type_hints(config_class)
    return hints


def _default(attribute: "attrs.Attribute[Any]") -> object:
    default = attribute.default
    return default.factory() if isinstance(default, _Factory) else default


def optional_type(annotation: Any) -> tuple[Any, bool]:
    """Return the type without None, and whether None was in it."""
    if get_origin(annotation) in (types.UnionType, typing.Union):
        rest = [part for part in get_args(annotation) if part is not types.NoneType]
        assert len(rest) == 1, f"a configuration field cannot be {annotation}"
        return rest[0], len(rest) < len(get_args(annotation))
    return annotation, False


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return `did you mean X?` for the nearest known word, or `otherwise`."""
    near = difflib.get_close_matches(word[:100], sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else otherwise


@define(eq=False, kw_only=True)
class Structurer:
    """Turns nodes into values and collects what is wrong."""

    texts: Mapping[Any, Callable[[str], object]] = field(factory=dict)
    """By type: the parser of its one-line texts; it raises TextError."""
    problems: list[Problem] = field(factory=list)

    def structure(
        self, node: Node, annotation: Any, path: str, doc: OptionDoc, default: object = None
    ) -> Any:
        """Return the value of a node as the annotated type, or INVALID.

        What a configuration object leaves out is taken from `default`.
        """
        if annotation in self.texts:
            return self._text(node, self.texts[annotation], path)
        inner, may_be_none = optional_type(annotation)
        if isinstance(node, ScalarNode) and node.kind == "null" and may_be_none:
            return None
        if isinstance(inner, type) and has(inner):
            base = default if isinstance(default, inner) else None
            return self.config(node, inner, path, base)
        origin = get_origin(inner)
        if origin is tuple:
            return self._tuple(node, get_args(inner), path, doc)
        if origin in (dict, Mapping):
            return self._mapping(node, get_args(inner)[1], path, doc)
        scalar = _SCALARS.get(str if origin is Literal else inner)
        assert scalar is not None, f"{path}: no rule for the type {annotation}"
        if not isinstance(node, ScalarNode):
            return self.problem(
                node.place,
                f"{path} is {describe(node)}",
                f"expected {legal_text(inner, doc)}",
                "write one value",
            )
        return scalar(self, node, path, doc)

    def problem(self, place: Place, found: str, legal: str, advice: str) -> Invalid:
        """Remember a problem; return INVALID for convenience."""
        self.problems.append(Problem(place=place, found=found, legal=legal, advice=advice))
        must_be_few(self.problems)
        return INVALID

    def config(self, node: Node, config_class: type[Any], path: str, base: object = None) -> Any:
        """Return the configuration object that a mapping describes, or INVALID.

        What it leaves out is as in `base`, an object of that class, or else the class's default.
        """
        known = config_fields(config_class, base)
        if isinstance(node, ScalarNode) and node.kind == "null":
            node = MappingNode(node.place)  # `machine:` with nothing below it
        if not isinstance(node, MappingNode):
            return self.problem(
                node.place,
                f"{path or 'the scenario'} is {describe(node)}",
                f"expected a mapping with the keys {', '.join(known)}",
                "write `key: value` lines, one level further in",
            )
        for key in (key for key in node.entries if key not in known):
            self._unknown_key(node.entries[key].place, path, key, known)
        values: dict[str, Any] = {}
        for name, known_field in known.items():
            if name in node.entries:
                values[name] = self.structure(
                    node.entries[name].node,
                    known_field.type,
                    _join(path, name),
                    known_field.doc,
                    known_field.default,
                )
            elif known_field.default is attrs.NOTHING:
                values[name] = self.problem(
                    node.place,
                    f"{path or 'the scenario'} has no {name}",
                    f"expected {name}: {known_field.doc.doc}",
                    f"add `{name}:`",
                )
            else:
                values[name] = known_field.default
        if INVALID in values.values():
            return INVALID
        return config_class(**values)

    def _unknown_key(self, place: Place, path: str, key: str, known: Iterable[str]) -> Invalid:
        full = _join(path, key)
        left_out = left_out_called(key)
        if left_out is not None:
            return self.problem(place, f"{full}: {left_out.found}", LEGAL, left_out.instead)
        return self.problem(
            place,
            f"unknown key {full}",
            f"expected {', '.join(known) or 'no key'}",
            did_you_mean(key, known, otherwise="remove it"),
        )

    def _tuple(self, node: Node, args: tuple[Any, ...], path: str, doc: OptionDoc) -> Any:
        if not isinstance(node, SequenceNode):
            return self.problem(
                node.place,
                f"{path} is {describe(node)}",
                f"expected a list: {doc.doc}",
                "write the items as `- item` lines or in [ ]",
            )
        if len(args) == 2 and args[1] is ...:
            item_types = [args[0]] * len(node.items)
        else:
            item_types = list(args)
        if len(item_types) != len(node.items):
            return self.problem(
                node.place,
                f"{path} is {describe(node)}",
                f"expected {len(item_types)} items: {doc.doc}",
                "give one value for each",
            )
        items = tuple(
            self.structure(item, item_type, f"{path}[{index}]", doc)
            for index, (item, item_type) in enumerate(zip(node.items, item_types, strict=True))
        )
        return INVALID if INVALID in items else items

    def _mapping(self, node: Node, value_type: Any, path: str, doc: OptionDoc) -> Any:
        if isinstance(node, ScalarNode) and node.kind == "null":
            return {}
        if not isinstance(node, MappingNode):
            return self.problem(
                node.place,
                f"{path} is {describe(node)}",
                f"expected a mapping: {doc.doc}",
                "write `key: value` lines, one level further in",
            )
        values = {}
        for key, entry in node.entries.items():
            if doc.choices is not None and key not in doc.choices:
                values[key] = self._unknown_key(entry.place, path, key, doc.choices)
            else:
                key_doc = attrs.evolve(doc, choices=None)
                values[key] = self.structure(entry.node, value_type, _join(path, key), key_doc)
        return INVALID if INVALID in values.values() else values

    def _text(self, node: Node, parse: Callable[[str], object], path: str) -> Any:
        if not isinstance(node, ScalarNode) or node.kind == "null":
            return self.problem(
                node.place,
                f"{path} is {describe(node)}",
                "expected a text of one line",
                "write it as one text, in quotes if it holds ': '",
            )
        try:
            return parse(node.text)
        except TextError as error:
            line, column = node.place.line, node.place.column
            if column is not None:
                column += error.column - 1
            return self.problem(
                Place(node.place.file, line, column),
                f"{path}: {error.found}",
                error.legal,
                error.advice,
            )

    def _int(self, node: ScalarNode, path: str, doc: OptionDoc) -> Any:
        found = f"{path} is {describe(node)}"
        legal = f"expected {legal_text(int, doc)}"
        parse = UNIT_PARSERS.get(doc.unit or "")
        if node.kind == "int" or (parse is not None and node.kind == "str"):
            try:
                value = plain_int(node.text) if node.kind == "int" else parse(node.text)  # type: ignore[misc]
            except ValueError:
                value = None
            if value is None:
                return self.problem(node.place, found, legal, unit_advice(doc, node.text))
            return self._limits(node.place, value, found, legal, doc)
        advice = unit_advice(doc, node.text)
        if node.kind == "str" and INT.fullmatch(node.text):
            advice = f"did you mean {node.text}, without quotes?"
        return self.problem(node.place, found, legal, advice)

    def _limits(self, place: Place, value: int, found: str, legal: str, doc: OptionDoc) -> Any:
        nearest = value
        if doc.minimum is not None:
            nearest = max(nearest, doc.minimum)
        if doc.maximum is not None:
            nearest = min(nearest, doc.maximum)
        nearest = max(min(nearest, INT_MAX), -INT_MAX)
        if nearest == value and doc.power_of_two and (value <= 0 or value & (value - 1)):
            nearest = 1 << max(value, 1).bit_length()
        if nearest == value:
            return value
        meant = format_bytes(nearest) if doc.unit == "bytes" else str(nearest)
        return self.problem(place, found, legal, f"did you mean {meant}?")

    def _float(self, node: ScalarNode, path: str, doc: OptionDoc) -> Any:
        found = f"{path} is {describe(node)}"
        legal = f"expected {legal_text(float, doc)}"
        try:
            number = plain_int(node.text) if node.kind == "int" else None
            value = math.nan
            if node.kind in ("int", "float"):
                value = float(node.text if number is None else number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            return self.problem(node.place, found, legal, "write a number such as 0.5")
        low = doc.minimum is not None and value < doc.minimum
        if low or (doc.maximum is not None and value > doc.maximum):
            nearest = doc.minimum if low else doc.maximum
            return self.problem(node.place, found, legal, f"did you mean {nearest}?")
        return value

    def _bool(self, node: ScalarNode, path: str, doc: OptionDoc) -> Any:
        if node.kind != "bool" or node.text.lower() not in ("true", "false"):
            meant = _YES_NO.get(node.text.lower())
            return self.problem(
                node.place,
                f"{path} is {describe(node)}",
                f"expected {legal_text(bool, doc)}",
                f"did you mean {meant}?" if meant else "write true or false, without quotes",
            )
        return node.text.lower() == "true"

    def _str(self, node: ScalarNode, path: str, doc: OptionDoc) -> Any:
        found = f"{path} is {describe(node)}"
        legal = f"expected {legal_text(str, doc)}"
        if doc.choices is not None:
            if node.text in doc.choices and node.kind == "str":
                return node.text
            left_out = left_out_called(node.text)
            if left_out is not None:
                return self.problem(
                    node.place, f"{path}: {left_out.found}", LEGAL, left_out.instead
                )
            advice = did_you_mean(node.text, doc.choices, otherwise="choose one of them")
            return self.problem(node.place, found, legal, advice)
        if node.kind == "null" or not node.text:
            return self.problem(node.place, found, legal, "write a text")
        if node.kind != "str":
            return self.problem(node.place, found, legal, f'did you mean "{node.text}", in quotes?')
        return node.text


_SCALARS: Final[Mapping[Any, Callable[[Structurer, ScalarNode, str, OptionDoc], Any]]] = {
    int: Structurer._int,  # noqa: SLF001 - the table of this class's own rules
    float: Structurer._float,  # noqa: SLF001
    bool: Structurer._bool,  # noqa: SLF001
    str: Structurer._str,  # noqa: SLF001
}


def legal_text(scalar: Any, doc: OptionDoc) -> str:
    """Return what a scalar of this type and option may be, for people."""
    if doc.choices is not None:
        return " or ".join(doc.choices)
    if scalar is bool:
        return "true or false"
    if scalar is str:
        return "a text"
    unit = doc.unit or ""
    what = (
        "a number" if scalar is float else _UNIT_LEGAL.get(unit, f"a whole number {unit}".strip())
    )
    if doc.power_of_two:
        what += ", a power of two"
    write = format_bytes if unit == "bytes" else str
    match doc.minimum, doc.maximum:
        case None, None:
            return what
        case int(minimum), None:
            return f"{what}, at least {write(minimum)}"
        case None, int(maximum):
            return f"{what}, at most {write(maximum)}"
        case int(minimum), int(maximum):
            return f"{what}, from {write(minimum)} to {write(maximum)}"
    return what


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
