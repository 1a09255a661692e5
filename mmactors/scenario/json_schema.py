"""The JSON Schema of scenario files, made from the options.

`python -m mmactors.scenario.generate docs` writes it; a test says when it is old.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args, get_origin

from attrs import NOTHING, has

from mmactors.option import OptionDoc
from mmactors.scenario.death import ExpectedDeath
from mmactors.scenario.race_names import FunctionName, Goal
from mmactors.scenario.schema import Expectation, Expected, Scenario
from mmactors.scenario.structure import Field, config_fields, optional_type
from mmactors.workload.operation.all import Operation

_UNIT_PATTERNS: Final = {
    "bytes": r"^\s*(0x[0-9a-fA-F]+|[0-9]+)\s*([KMGT](i?B)?|B)?\s*$",
    "ns": r"^\s*[0-9]+\s*(ns|us|ms|s)?\s*$",
}
TEXTS: Final = (Expected, Operation, FunctionName, Goal)
"""Types that are written as one text."""
_EXPECTED: Final = {
    "type": "string",
    "anyOf": [{"pattern": Expectation.PATTERN}, {"pattern": ExpectedDeath.PATTERN}],
    "examples": ["pgfault >= 100", "a dies of SIGSEGV", "a/child may die of SEGV_MAPERR"],
}
_OPERATION: Final = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": {"type": ["string", "number"]},
        },
    ]
}

_FUNCTION: Final = {
    "type": "string",
    "pattern": FunctionName.PATTERN,
    "examples": ["my_laws:no_page_is_lost", "my_laws:always_one_owner"],
}
_GOAL: Final = {
    "type": "string",
    "minLength": 1,
    "examples": ["tlb_flush", "lock ptl of *", "my_laws:is_shared"],
}
_TEXT_SCHEMAS: Final[dict[Any, dict[str, Any]]] = {
    Expected: _EXPECTED,
    Operation: _OPERATION,
    FunctionName: _FUNCTION,
    Goal: _GOAL,
}


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a scenario."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mmactors scenario",
        **_config_schema(Scenario),
    }


def _config_schema(config_class: type[Any], base: object = None) -> dict[str, Any]:
    known = config_fields(config_class, base)
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _field_schema(known_field) for name, known_field in known.items()},
    }
    required = [name for name, known_field in known.items() if known_field.default is NOTHING]
    if required:
        schema["required"] = required
    else:
        schema["type"] = ["object", "null"]
    return schema


def _field_schema(known: Field) -> dict[str, Any]:
    schema = _type_schema(known.type, known.doc, known.default)
    description = known.doc.doc
    if known.doc.unit is not None:
        description += f" Unit: {known.doc.unit}."
    schema["description"] = description
    if known.default is not NOTHING and isinstance(known.default, int | str | float | None):
        schema["default"] = known.default
    return schema


def _type_schema(annotation: Any, doc: OptionDoc, default: object = None) -> dict[str, Any]:
    if annotation in TEXTS:
        return _TEXT_SCHEMAS[annotation]
    inner, may_be_none = optional_type(annotation)
    schema = _plain_schema(inner, doc, default)
    if may_be_none:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


def _plain_schema(inner: Any, doc: OptionDoc, default: object) -> dict[str, Any]:
    if isinstance(inner, type) and has(inner):
        return _config_schema(inner, default if isinstance(default, inner) else None)
    if get_origin(inner) is tuple:
        args = get_args(inner)
        if len(args) == 2 and args[1] is ...:
            return {"type": "array", "items": _type_schema(args[0], doc)}
        return {
            "type": "array",
            "prefixItems": [_type_schema(arg, doc) for arg in args],
            "minItems": len(args),
            "maxItems": len(args),
        }
    if get_origin(inner) in (dict, Mapping):
        keys = {"propertyNames": {"enum": list(doc.choices)}} if doc.choices else {}
        value_doc = OptionDoc(doc=doc.doc, unit=doc.unit, minimum=doc.minimum, maximum=doc.maximum)
        values = _type_schema(get_args(inner)[1], value_doc)
        return {"type": ["object", "null"], "additionalProperties": values, **keys}
    if inner is bool:
        return {"type": "boolean"}
    if inner is str or get_origin(inner) is Literal:
        return {"enum": list(doc.choices)} if doc.choices else {"type": "string", "minLength": 1}
    number: dict[str, Any] = {"type": "integer" if inner is int else "number"}
    if doc.minimum is not None:
        number["minimum"] = doc.minimum
    if doc.maximum is not None:
        number["maximum"] = doc.maximum
    if doc.unit in _UNIT_PATTERNS:
        return {"anyOf": [number, {"type": "string", "pattern": _UNIT_PATTERNS[doc.unit]}]}
    return number
