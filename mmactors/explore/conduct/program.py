"""What a function does with the variables that come from outside of it, read from its bytecode.

A variable is a free one, a global or a parameter. What each use of it does is told as far as a
straight look at the instructions goes: an element or an attribute is stored or loaded, a method is
called, it is called itself, it is handed on as an argument. Everything else is a use that may do
anything. Functions inside a function are parts of it.
"""

import dis
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from inspect import CO_VARARGS, CO_VARKEYWORDS
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple

from attrs import field, frozen

_NOT_OURS: Final = tuple(
    {str(Path(__file__).parents[2])}
    | {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_HAS_PRECALL: Final = sys.version_info < (3, 12)
"""PRECALL takes the arguments away before CALL."""
_CALLS: Final = ("PRECALL",) if _HAS_PRECALL else ("CALL", "CALL_KW")

STORE: Final = "store"
LOAD: Final = "load"
UPDATE: Final = "update"
"""Both, as `x[key] += 1` does."""
METHOD: Final = "method"
CALL: Final = "call"
ARGUMENT: Final = "argument"
OTHER: Final = "other"

Simple = tuple[str, Any]
"""A constant with its value, a variable with its name, or both names of an attribute of one."""


class Access(NamedTuple):
    """One use of a variable."""

    kind: str
    key: Simple | tuple[Simple, ...] | None = None
    """Which element or attribute, if that is plain to see; of METHOD, its name."""
    arguments: tuple[tuple[int | str, Simple], ...] = ()
    """Of CALL: what it is called with, by position or name, as far as that is plain to see."""


@frozen
class Facts:
    """What one code does."""

    free: dict[str, list[Access]] = field(factory=dict)
    names: dict[str, list[Access]] = field(factory=dict)
    """Globals."""
    parameters: dict[str, list[Access]] = field(factory=dict)
    stored_free: set[str] = field(factory=set)
    stored_names: set[str] = field(factory=set)
    changed: set[str] = field(factory=set)
    """Parameters that do not keep the value they came with."""
    attributes: set[str] = field(factory=set)
    """Names of attributes and methods of anything, and of what is imported."""
    stored_attributes: set[str] = field(factory=set)
    imports: set[str] = field(factory=set)
    """Modules that it imports when it runs."""


@cache
def is_of_user(filename: str) -> bool:
    """Return whether code of this file is a model's, not the library's, Python's or ours."""
    return not filename.startswith((*_NOT_OURS, "<frozen"))


def closure_of(function: FunctionType) -> dict[str, Any]:
    """Return the variables that a function has from around it, as far as they have values."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # It is not bound yet.
    return found


@cache
def facts_of(code: CodeType) -> Facts:
    """Return what `code` does with what comes from outside."""
    facts = Facts()
    nr_parameters = code.co_argcount + code.co_kwonlyargcount
    nr_parameters += bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
    parameters = set(code.co_varnames[:nr_parameters])
    free = set(code.co_freevars)
    instructions = [
        each._replace(argval=code.co_consts[each.arg or 0]) if each.opname == "KW_NAMES" else each
        for each in dis.get_instructions(code)
    ]
    for at, each in enumerate(instructions):
        name = each.argval
        match each.opname:
            case "LOAD_DEREF" | "LOAD_CLASSDEREF" | "LOAD_FROM_DICT_OR_DEREF" if name in free:
                facts.free.setdefault(name, []).append(_use(instructions, at))
            case "LOAD_DEREF" | "LOAD_FAST" | "LOAD_FAST_CHECK" if name in parameters:
                facts.parameters.setdefault(name, []).append(_use(instructions, at))
            case "LOAD_GLOBAL" | "LOAD_NAME":
                facts.names.setdefault(name, []).append(_use(instructions, at))
            case "STORE_DEREF" | "DELETE_DEREF" if name in free:
                facts.stored_free.add(name)
            case "STORE_DEREF" | "STORE_FAST" | "DELETE_FAST" if name in parameters:
                facts.changed.add(name)
            case "STORE_GLOBAL" | "DELETE_GLOBAL":
                facts.stored_names.add(name)
            case "LOAD_ATTR" | "LOAD_METHOD" | "IMPORT_FROM":
                facts.attributes.add(name)
            case "STORE_ATTR" | "DELETE_ATTR":
                facts.attributes.add(name)
                facts.stored_attributes.add(name)
            case "IMPORT_NAME":
                facts.imports.add(name)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            _add_inner(facts, inner, free, parameters)
    for name in (*facts.stored_free, *free):
        facts.free.setdefault(name, [])
    return facts


def _add_inner(facts: Facts, code: CodeType, free: set[str], parameters: set[str]) -> None:
    """Add what a function inside does, in which local names are its own."""
    inner, outer = facts_of(code), set(code.co_freevars)
    for name, uses in inner.free.items():
        if name in free:
            facts.free.setdefault(name, []).extend(_outside(use, outer) for use in uses)
        elif name in parameters:
            facts.parameters.setdefault(name, []).extend(_outside(use, outer) for use in uses)
    for name, uses in inner.names.items():
        facts.names.setdefault(name, []).extend(_outside(use, outer) for use in uses)
    facts.stored_free.update(inner.stored_free & free)
    facts.changed.update(inner.stored_free & parameters)
    facts.stored_names.update(inner.stored_names)
    facts.attributes.update(inner.attributes)
    facts.stored_attributes.update(inner.stored_attributes)
    facts.imports.update(inner.imports)


def _outside(use: Access, outer: set[str]) -> Access:
    """Return a use inside a function as it is seen from outside: its own variables are unknown."""
    arguments = tuple(each for each in use.arguments if _are_of([each[1]], outer))
    key = use.key
    if key is not None and use.kind in (STORE, LOAD, UPDATE) and key[0] != "attribute":
        parts: list[Simple] = [key] if isinstance(key[0], str) else list(key)
        key = key if _are_of(parts, outer) else None
    return Access(use.kind, key, arguments)


def _are_of(parts: list[Simple], names: set[str]) -> bool:
    return all(
        kind == "constant" or (value if kind == "variable" else value[0]) in names
        for kind, value in parts
    )


def _use(instructions: list[dis.Instruction], at: int) -> Access:
    """Return what becomes of the value that instruction `at` has loaded."""
    depth = 0
    keys: list[dis.Instruction] = []
    is_awaiting = False
    for index in range(at + 1, len(instructions)):
        each = instructions[index]
        name = each.opname
        if is_awaiting:
            is_awaiting = name != "JUMP_BACKWARD_NO_INTERRUPT"
            continue
        if name == "END_SEND":
            continue
        if name == "GET_AWAITABLE" and depth:  # The result takes the place of what is awaited.
            is_awaiting = True
            keys.append(each)
            continue
        if depth == 0 and name in ("LOAD_ATTR", "LOAD_METHOD"):
            is_method = name == "LOAD_METHOD" or (not _HAS_PRECALL and bool((each.arg or 0) & 1))
            return Access(METHOD if is_method else LOAD, ("attribute", each.argval))
        if depth == 0 and name in ("STORE_ATTR", "DELETE_ATTR"):
            return Access(STORE, ("attribute", each.argval))
        if name == "COPY":
            return _use_of_copy(instructions[index:], depth, keys)
        if "JUMP" in name or name in ("SEND", "YIELD_VALUE", "SWAP", "RETURN_VALUE", "FOR_ITER"):
            return Access(OTHER)
        before = depth
        if name in _CALLS and before < (each.arg or 0):
            return Access(ARGUMENT)
        if name == "CALL" and before == (0 if _HAS_PRECALL else each.arg):
            return Access(CALL, None, _arguments(keys[:-1] if _HAS_PRECALL else keys))
        if name == "PRECALL":
            depth -= each.arg or 0
            keys.append(each)
            continue
        depth += dis.stack_effect(each.opcode, each.arg, jump=False)
        if before == 1 and name in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            return Access(STORE, _key(keys))
        if before == 1 and name == "BINARY_SUBSCR":
            return Access(LOAD, _key(keys))
        if depth < 0 or (depth == 0 and before > 0):
            return Access(OTHER)
        keys.append(each)
    return Access(OTHER)


def _use_of_copy(rest: list[dis.Instruction], depth: int, keys: list[dis.Instruction]) -> Access:
    """Return what an augmented assignment does: `x.name += ...`, `x[key] += ...`."""
    names = [each.opname for each in rest[:3]]
    if depth == 0 and names[1:2] == ["LOAD_ATTR"]:
        return Access(UPDATE, ("attribute", rest[1].argval))
    if depth == 1 and names == ["COPY", "COPY", "BINARY_SUBSCR"]:
        return Access(UPDATE, _key(keys))
    return Access(OTHER)


def _arguments(instructions: list[dis.Instruction]) -> tuple[tuple[int | str, Simple], ...]:
    """Return what these instructions leave for a call, as far as it is loaded by one each."""
    found: list[Simple | None] = []
    names: tuple[str, ...] = ()
    for each in instructions:
        if each.opname == "KW_NAMES":
            names = each.argval
            continue
        if each.opname == "CALL":
            names = ()  # They were of that call.
        effect = dis.stack_effect(each.opcode, each.arg, jump=False)
        simple = next(_simple([each]), None)
        if simple is not None:
            found.append(simple)
        elif effect > 0:
            found += [None] * effect
        else:  # Its result is the last; nothing below that was touched.
            del found[max(len(found) + effect - 1, 0) :]
            found.append(None)
    keys = [*range(len(found) - len(names)), *names]
    return tuple((key, each) for key, each in zip(keys, found, strict=True) if each is not None)


def _key(keys: list[dis.Instruction]) -> Simple | tuple[Simple, ...] | None:
    """Return the key that these instructions load; None: that is more than a look can tell."""
    loaded = list(_simple(keys))
    if len(keys) == 1 == len(loaded):
        return loaded[0]
    if [each.opname for each in keys[1:]] == ["LOAD_ATTR"] and loaded[:1]:
        return "path", (loaded[0][1], keys[1].argval)
    if keys and keys[-1].opname == "BUILD_TUPLE" and len(loaded) == keys[-1].arg == len(keys) - 1:
        return tuple(loaded)
    return None


def _simple(instructions: list[dis.Instruction]) -> Iterator[Simple]:
    for each in instructions:
        if each.opname == "LOAD_CONST":
            yield "constant", each.argval
        elif each.opname in ("LOAD_FAST", "LOAD_DEREF", "LOAD_FAST_CHECK"):
            yield "variable", each.argval
