"""A value as the name of a state: two are equal if and only if nobody could tell them apart.

Python's own equality says too much: `True == 1`, `-0.0 == 0.0`, and a class may leave fields out of
its `__eq__`. It also says too little: a NaN is not equal to itself. So a state is named by what
`exact` returns: the type and the content of a value, all the way down.

What can be changed in place, such as a list, has no such name: it would hold something else
tomorrow, and nobody who looked at it yesterday would know.
"""

import struct
from collections.abc import Hashable
from enum import Enum
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final, cast

PLAIN: Final = frozenset((int, str, bytes, type(None), FunctionType, BuiltinFunctionType))
"""Types whose values name themselves."""

_BOOLS: Final = ((bool, 0), (bool, 1))
_MUTABLE: Final = (list, dict, set, bytearray, memoryview)
_REDUCE_PROTOCOL: Final = 4


class Unnameable(TypeError):  # noqa: N818 - it says what the value is
    """A value that can be changed in place, or that says nothing of its content."""


def exact(value: Any) -> Hashable:
    """Return the name of a value; raise Unnameable if it has none."""
    kind: type = value.__class__
    if kind in PLAIN:
        return cast("Hashable", value)
    if kind is bool:
        return _BOOLS[value]
    if kind is tuple:
        for item in value:
            if item.__class__ not in PLAIN:
                return (tuple, *map(exact, value))
        return cast("Hashable", value)  # All other names that are tuples begin with a type.
    if kind is float:
        return (float, struct.pack("d", value))
    if kind is frozenset:
        return (frozenset, frozenset(map(exact, value)))
    if kind is complex:
        return (complex, struct.pack("dd", value.real, value.imag))
    if isinstance(value, type | ModuleType) or kind is object:
        return cast("Hashable", value)  # There is one of it.
    if isinstance(value, Enum):
        return (kind, value.name, exact(value.value))
    if isinstance(value, _MUTABLE):
        raise Unnameable(f"a {kind.__name__} can be changed in place")
    return _of_parts(value)


def _of_parts(value: Any) -> Hashable:
    """Return the name of an object that is made of others and cannot be changed."""
    kind = cast("Hashable", type(value))
    own = getattr(value, "__dict__", None)
    if isinstance(value, tuple):
        return (kind, *map(exact, tuple(value)), *_items(own))
    if isinstance(value, int | str | bytes | float):
        return (kind, exact(_plain(value)), *_items(own))
    if _is_frozen(type(value)):
        return (kind, *_items(own), *_items(_slots(value)))
    if _changes_in_place(type(value)):
        raise Unnameable(f"a {type(value).__name__} can be changed in place")
    try:
        made = value.__reduce_ex__(_REDUCE_PROTOCOL)
    except Exception as error:
        raise Unnameable(f"nothing is known of a {type(value).__name__}") from error
    if isinstance(made, str):
        return (kind, made)
    parts = [part for part in made if part is not None]
    if any(callable(getattr(part, "__next__", None)) for part in parts):
        raise Unnameable(f"a {type(value).__name__} can be changed in place")
    return (kind, *map(exact, parts))


def _plain(value: str | bytes | float) -> int | str | bytes | float:
    """Return what an object of a class that was derived from one of these is without its class."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)
    return bytes(value) if isinstance(value, bytes) else float(value)


def _is_frozen(kind: type) -> bool:
    """Return whether attrs or dataclasses refuse changes to the objects of a class."""
    parameters: Any = getattr(kind, "__dataclass_params__", None)
    if parameters is not None and parameters.frozen:
        return True
    name: str = kind.__setattr__.__name__
    return hasattr(kind, "__attrs_attrs__") and name == "_frozen_setattrs"


def _changes_in_place(kind: type) -> bool:
    """Return whether the objects of a class have attributes of their own that can be set.

    Classes of C have none, unless somebody derives from them; what they hold is what they reduce
    to. Arrays of numbers are the ones that change all the same.
    """
    has_attributes = any(
        "__dict__" in vars(base) or "__slots__" in vars(base) for base in kind.__mro__[:-1]
    )
    return has_attributes or hasattr(kind, "__setitem__")


def _slots(value: Any) -> dict[str, Any]:
    names = [name for base in type(value).__mro__ for name in vars(base).get("__slots__", ())]
    return {
        name: getattr(value, name)
        for name in names
        if name not in ("__weakref__", "__dict__") and hasattr(value, name)
    }


def _items(own: dict[str, Any] | None) -> list[Hashable]:
    return [] if not own else [(name, exact(part)) for name, part in own.items()]
