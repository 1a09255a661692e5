"""How far a thing is reached: which of its parts code uses, and how."""

from collections.abc import Hashable, Iterable, Mapping
from types import FunctionType
from typing import Any, Final

from attrs import define

from mmactors.explore.conduct.program import (
    ARGUMENT,
    LOAD,
    METHOD,
    STORE,
    UPDATE,
    Access,
    Simple,
)
from mmactors.explore.conduct.things import NOTHING, is_container, module_of

_MUTATORS: Final = (
    *("add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem"),
    *("popleft", "remove", "reverse", "rotate", "setdefault", "sort", "update"),
)
_PLAIN_CONTAINERS: Final = ("builtins", "collections", "array", "numpy")

Slot = tuple[str, Any]
"""An item with its key, or an attribute with its name."""


@define(eq=False)
class Reached:
    """A mutable thing, as one actor reaches it."""

    thing: Any
    name: str
    slots: set[Hashable] | None
    """Which elements and attributes; None: any."""
    is_write_only: bool
    """Elements are set or added, and never looked at."""
    is_stored: bool
    """There is code that changes it."""

    def widen(self, slots: set[Hashable] | None, *, is_write_only: bool, is_stored: bool) -> bool:
        """Be reached in one more way; return whether that tells more."""
        before = (self.slots is None, len(self.slots or ()), self.is_write_only)
        if self.slots is None or slots is None:
            self.is_write_only = (
                self.slots is None is slots and self.is_write_only and is_write_only
            )
            self.slots = None
        else:
            self.slots |= slots
        self.is_stored |= is_stored
        return before != (self.slots is None, len(self.slots or ()), self.is_write_only)


def reached(thing: Any, name: str, uses: Iterable[Access], known: Mapping[str, Any]) -> Reached:
    """Return a thing as these uses reach it, where `known` are variables that stay as they are."""
    uses = list(uses)
    is_stored = any(
        use.kind in (STORE, UPDATE)
        or (use.kind == METHOD and use.key is not None and use.key[1] in _MUTATORS)
        for use in uses
    )
    slots, is_write_only = _extent(uses, known)
    if slots is None or any(_may_be_any(thing, slot) for slot in slots):
        return Reached(thing, name, None, is_write_only, is_stored)
    return Reached(thing, name, set[Hashable](slots), is_write_only, is_stored)


def value_of(part: Simple, known: Mapping[str, Any]) -> Any:
    """Return the value of what code loads, or NOTHING."""
    kind, value = part
    if kind == "constant":
        return value
    if kind == "variable":
        return known.get(value, NOTHING)
    name, attribute = value
    owner = known.get(name, NOTHING)
    is_name = attribute == "name" and module_of(type(owner)).startswith("mmactors.")
    return getattr(owner, attribute, NOTHING) if is_name else NOTHING


def left_of(uses: list[Access], nr_handed: int) -> list[Access]:
    """Return the uses of a variable besides being handed to functions that are followed."""
    left = []
    for use in uses:
        if use.kind == ARGUMENT and nr_handed:
            nr_handed -= 1
        else:
            left.append(use)
    return left


def values_of_call(function: FunctionType, use: Access, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of parameters in a call, as far as they are known."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    found = {}
    for key, part in use.arguments:
        value = value_of(part, known)
        if value is not NOTHING:
            name = names[key] if isinstance(key, int) and key < len(names) else key
            if isinstance(name, str):
                found[name] = value
    return found


def _may_be_any(thing: Any, slot: Slot) -> bool:
    """Return whether a part, as code names it, may be another one of the thing."""
    kind, key = slot
    if isinstance(thing, dict):
        return kind == "attribute" or module_of(type(thing)) not in _PLAIN_CONTAINERS
    if is_container(thing):
        is_index = kind == "item" and isinstance(key, int) and key >= 0
        return not is_index or module_of(type(thing)) not in _PLAIN_CONTAINERS
    if kind != "attribute":
        return True
    owner = thing if isinstance(thing, type) else type(thing)
    return is_computed(owner, key)


def is_computed(kind: type, name: str) -> bool:
    """Return whether an attribute of a class of the user's is what some code makes of it."""
    for each in kind.__mro__:
        own = vars(each)
        if hasattr(type(own.get(name)), "__set__") and not _is_member(own[name]):
            return True
        for hook in ("__getattribute__", "__getattr__", "__setattr__"):
            is_made = hook == "__setattr__" and hasattr(kind, "__attrs_attrs__")
            if isinstance(own.get(hook), FunctionType) and not is_made:
                return True
    return False


def _is_member(descriptor: object) -> bool:
    return type(descriptor).__name__ == "member_descriptor"


def _extent(uses: list[Access], known: Mapping[str, Any]) -> tuple[set[Slot] | None, bool]:
    """Return which parts of a thing these uses reach, and whether they only write."""
    slots: set[Slot] = set()
    is_write_only = all(
        use.kind == STORE or (use.kind == METHOD and use.key == ("attribute", "add"))
        for use in uses
    )
    for use in uses:
        key = _slot(use, known) if use.kind in (STORE, LOAD, UPDATE) else None
        if key is None:
            return None, is_write_only
        slots.add(key)
    return slots, False


def _slot(use: Access, known: Mapping[str, Any]) -> Slot | None:
    """Return which part of a thing is meant; None: that is not known before."""
    key = use.key
    if key is None:
        return None
    if key[0] == "attribute":
        return ("attribute", key[1])
    parts: list[Simple] = [key] if isinstance(key[0], str) else list(key)
    values = [value_of(part, known) for part in parts]
    if any(value is NOTHING for value in values):
        return None
    found = values[0] if isinstance(key[0], str) else tuple(values)
    try:
        hash(found)
    except TypeError:
        return None
    return ("item", found)
