"""A scenario as YAML with every default written out; it loads to an equal scenario."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import has

from mmactors.option import OptionDoc
from mmactors.scenario.schema import Scenario
from mmactors.scenario.structure import config_fields
from mmactors.units import MS, SECOND, US, format_bytes

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.+-]*(?: [A-Za-z0-9_/.+=>-]+)*")
_UNSAFE = re.compile(r"[^ -~]")
_RESERVED: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def dump_scenario(scenario: Scenario) -> str:
    """Return the YAML text of a scenario."""
    return "".join(f"{line}\n" for line in _config(scenario, ""))


def _config(config: Any, indent: str) -> Iterator[str]:
    for name, known in config_fields(type(config)).items():
        yield from _entry(name, getattr(config, name), known.doc, indent)


def _entry(name: str, value: Any, doc: OptionDoc, indent: str) -> Iterator[str]:
    if has(type(value)) and _is_config(value):
        lines = list(_config(value, indent + "  "))
        yield f"{indent}{name}:" if lines else f"{indent}{name}: {{}}"
        yield from lines
    elif isinstance(value, Mapping):
        yield f"{indent}{name}:" if value else f"{indent}{name}: {{}}"
        for key, item in value.items():
            yield from _entry(_text(key), item, doc, indent + "  ")
    elif isinstance(value, tuple) and value:
        yield f"{indent}{name}:"
        for item in value:
            yield from _item(item, doc, indent + "  ")
    else:
        yield f"{indent}{name}: {_scalar(value, doc)}"


def _item(item: Any, doc: OptionDoc, indent: str) -> Iterator[str]:
    if has(type(item)) and _is_config(item):
        for number, line in enumerate(_config(item, indent + "  ")):
            yield line if number else f"{indent}- {line[len(indent) + 2 :]}"
    elif isinstance(item, tuple):
        yield f"{indent}- [{', '.join(_scalar(part, doc) for part in item)}]"
    else:
        yield f"{indent}- {_scalar(item, doc)}"


def _is_config(value: object) -> bool:
    return type(value).__str__ is object.__str__  # what has a text form is written as its text


def _scalar(value: object, doc: OptionDoc) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() if doc.unit == "bytes":
            return format_bytes(value)
        case int() if doc.unit == "ns":
            return _ns(value)
        case int() | float():
            return repr(value)
        case tuple():
            return "[]"
        case _:
            return _text(str(value))


def _ns(ns: int) -> str:
    for unit, suffix in ((SECOND, "s"), (MS, "ms"), (US, "us")):
        if ns and ns % unit == 0:
            return f"{ns // unit}{suffix}"
    return str(ns)


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    # A JSON string is a YAML string, but for characters that YAML wants escaped its own way.
    quoted = json.dumps(text, ensure_ascii=False)
    return _UNSAFE.sub(lambda match: f"\\U{ord(match[0]):08x}", quoted)
