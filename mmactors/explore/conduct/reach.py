"""What one actor reaches that is no object of the world: mutable things in closures and arguments.

The walk begins at the actor's coroutine, before it has run, and follows variables that its code
uses, functions and methods that it may call, elements and attributes. It ends at an object of this
package. Where a function only touches known elements or attributes of a thing, it reaches no more.
"""

import array
import enum
import gc
import sys
from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from attrs import define

from mmactors.errors import Place
from mmactors.explore.conduct.program import (
    ARGUMENT,
    CALL,
    LOAD,
    METHOD,
    STORE,
    UPDATE,
    Access,
    Facts,
    Simple,
    closure_of,
    facts_of,
    is_of_user,
)

_MAX_VISITS: Final = 5000
_MUTATORS: Final = (
    *("add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem"),
    *("popleft", "remove", "reverse", "rotate", "setdefault", "sort", "update"),
)
_FOREIGN: Final = ("trio", "asyncio", "anyio", "threading", "queue", "multiprocessing", "_thread")
"""Things of these libraries are shared by what they are for."""
_ATOMS: Final = (
    int,
    float,
    complex,
    str,
    bytes,
    range,
    type(None),
    type(...),
    ModuleType,
    BuiltinFunctionType,
    enum.Enum,
)
EVERYTHING: Final = None
_ANYTHING: Final = (Access("other"),)


@define(eq=False)
class GlobalVariable:
    """A name in a module."""

    module: dict[str, Any]
    name: str


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


class Reach:
    """What one actor, or a function that is handed to others, reaches."""

    def __init__(self, name: str, *, is_handed: bool = False) -> None:
        self.name: Final = name
        self.is_handed: Final = is_handed
        """It is run by whoever gets it."""
        self.place = Place("?")
        self.found: Final[dict[Hashable, Reached]] = {}
        self.handed: Final[dict[int, FunctionType]] = {}
        """Functions that are passed on, and not called here."""
        self.rebound: Final[set[Hashable]] = set()
        """Variables that code assigns to."""
        self._functions: Final[dict[int, FunctionType]] = {}
        self._classes: Final[dict[type, str]] = {}
        self._attributes: Final[set[str]] = set()
        self._nr_visits = 0

    def follow_coroutine(self, coro: Any) -> None:
        """Follow a coroutine that has not begun."""
        frame = getattr(coro, "cr_frame", None)
        if frame is None:
            return
        self.place = Place(frame.f_code.co_filename, frame.f_code.co_firstlineno)
        values: Mapping[str, Any] = frame.f_locals
        if is_of_user(frame.f_code.co_filename):
            for thing in gc.get_referents(coro):  # The function is one of them.
                if type(thing) is FunctionType and thing.__code__ is frame.f_code:
                    self._follow(thing, values)
                    break
        else:  # One of this package's, which calls functions of the user's.
            for name, value in values.items():
                if isinstance(value, FunctionType | MethodType | partial):
                    self._visit(value, name, (Access(CALL),), {})
        self._follow_methods()

    def follow_function(self, function: FunctionType) -> None:
        """Follow a function that somebody calls."""
        self._follow(function, {})
        self._follow_methods()

    def codes(self) -> Iterator[CodeType]:
        """Return all code of the model that may run."""
        left = [function.__code__ for function in self._functions.values()]
        while left:
            code = left.pop()
            yield code
            left += [inner for inner in code.co_consts if isinstance(inner, CodeType)]

    def _follow_methods(self) -> None:
        """Follow all methods of the classes met whose names are used anywhere."""
        nr_before = -1
        while nr_before != len(self._functions):
            nr_before = len(self._functions)
            for kind in list(self._classes):
                for name, method in list(vars(kind).items()):
                    function = getattr(method, "__func__", method)
                    function = getattr(function, "fget", function)
                    is_used = name in self._attributes or name.startswith("__")
                    if is_used and isinstance(function, FunctionType):
                        self._follow(function, {})

    def _follow(self, function: FunctionType, values: Mapping[str, Any]) -> None:
        """Follow what a function uses; `values` are those of its parameters, if they are known."""
        code = function.__code__
        if (id(function) in self._functions and not values) or not is_of_user(code.co_filename):
            return
        self._functions[id(function)] = function
        facts = facts_of(code)
        self._attributes.update(facts.attributes)
        known = self._constants(function, facts, values)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if name in facts.stored_free:
                self.rebound.add(id(cell))
            uses = facts.free.get(name, [])
            if uses or name in facts.stored_free:
                self._add(cell, name, _ANYTHING, known)
            try:
                value = cell.cell_contents
            except ValueError:
                continue  # It has no value yet.
            self._visit(value, name, uses, known)
        module = function.__globals__
        for name, uses in facts.names.items():
            if name in module:
                self._visit(module[name], name, uses, known)
        for name in sorted(facts.stored_names | (facts.names.keys() & module.keys())):
            self._add_global(module, name, is_stored=name in facts.stored_names)
        for name, uses in facts.parameters.items():
            if name in values:
                self._visit(values[name], name, uses, known)
        defaults = (function.__defaults__ or (), (function.__kwdefaults__ or {}).values())
        for value in (value for each in defaults for value in each):
            self._visit(value, f"a default of {function.__name__}", _ANYTHING, known)

    def _constants(
        self, function: FunctionType, facts: Facts, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the variables of a function whose values stay as they are."""
        known = {name: value for name, value in values.items() if name not in facts.changed}
        return {**closure_of(function), **known}

    def _add_global(self, module: dict[str, Any], name: str, *, is_stored: bool) -> None:
        """Note that a global variable is looked at, or assigned to."""
        key = (id(module), name)
        if is_stored:
            self.rebound.add(key)
        if key not in self.found:
            self.found[key] = Reached(GlobalVariable(module, name), name, None, False, is_stored)

    def _add(self, thing: Any, name: str, uses: Any, known: Mapping[str, Any]) -> bool:
        """Note that a mutable thing is reached; return whether more of it than before."""
        slots, is_write_only = _extent(uses, known)
        is_stored = any(
            use.kind in (STORE, UPDATE)
            or (use.kind == METHOD and use.key is not None and use.key[1] in _MUTATORS)
            for use in uses
        )
        reached = self.found.get(id(thing))
        if reached is None:
            self.found[id(thing)] = Reached(thing, name, slots, is_write_only, is_stored)
            return True
        return reached.widen(slots, is_write_only=is_write_only, is_stored=is_stored)

    def _visit(self, value: Any, name: str, uses: Any, known: Mapping[str, Any]) -> None:
        """Follow the value of a variable that is used like this."""
        kind = type(value)
        if not uses or isinstance(value, _ATOMS) or self._nr_visits > _MAX_VISITS:
            return
        self._nr_visits += 1
        if kind is FunctionType:
            if all(use.kind == ARGUMENT for use in uses):
                self.handed[id(value)] = value
            else:
                self._follow(value, {})
        elif kind is MethodType:
            self._visit(value.__self__, f"{name}.__self__", _ANYTHING, known)
            self._follow(value.__func__, {})
        elif kind is partial:
            for part in (value.func, *value.args, *value.keywords.values()):
                self._visit(part, name, _ANYTHING, known)
        elif isinstance(value, tuple | frozenset):
            for at, part in enumerate(value):
                self._visit(part, f"{name}[{at}]", _ANYTHING, known)
        elif kind.__module__.partition(".")[0] == "mmactors":
            return
        elif isinstance(value, type):
            self._visit_object(value, name, uses, known)
        elif is_container(value):
            if self._add(value, name, uses, known):
                slots = self.found[id(value)].slots
                for key, part in _parts(value):
                    if slots is None or ("item", key) in slots:
                        self._visit(part, f"{name}[{key!r}]", _ANYTHING, known)
        elif is_foreign(value) or is_iterator(value):
            self._add(value, name, _ANYTHING, known)
        else:
            self._visit_object(value, name, uses, known)

    def _visit_object(self, value: Any, name: str, uses: Any, known: Mapping[str, Any]) -> None:
        """Follow an object of a class of the user's, or such a class."""
        kind = value if isinstance(value, type) else type(value)
        if not _is_of_user_class(kind):
            return
        for each in kind.__mro__:
            if _is_of_user_class(each):
                self._classes.setdefault(each, name)
        if self._add(value, name, uses, known):
            slots = self.found[id(value)].slots
            for attribute, part in attributes_of(value).items():
                if slots is None or ("attribute", attribute) in slots:
                    self._visit(part, f"{name}.{attribute}", _ANYTHING, known)


def _extent(uses: Any, known: Mapping[str, Any]) -> tuple[set[Hashable] | None, bool]:
    """Return which parts of a thing these uses reach, and whether they only write."""
    slots: set[Hashable] = set()
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


def _slot(use: Access, known: Mapping[str, Any]) -> Hashable:
    """Return which part of a thing is meant; None: that is not known before."""
    key = use.key
    if key is None:
        return None
    if key[0] == "attribute":
        return ("attribute", key[1])
    parts: list[Simple] = [key] if isinstance(key[0], str) else list(key)
    if any(kind == "variable" and value not in known for kind, value in parts):
        return None
    values = [value if kind == "constant" else known[value] for kind, value in parts]
    found = values[0] if isinstance(key[0], str) else tuple(values)
    try:
        hash(found)
    except TypeError:
        return None
    return ("item", found)


def is_container(value: object) -> bool:
    """Return whether something is a mutable container that is looked into."""
    if isinstance(value, list | dict | set | deque | bytearray | array.array):
        return True
    return type(value).__module__ == "numpy" and type(value).__name__ == "ndarray"


def is_foreign(value: object) -> bool:
    """Return whether something is made for sharing, by another library."""
    return type(value).__module__.partition(".")[0] in _FOREIGN


def is_iterator(value: object) -> bool:
    """Return whether taking the next element changes it."""
    return hasattr(type(value), "__next__") and type(value).__module__ in ("builtins", "itertools")


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, or those of a class that are no functions."""
    found = dict(getattr(value, "__dict__", {}))
    if isinstance(value, type):
        return {
            name: part
            for name, part in found.items()
            if not name.startswith("__")
            and not isinstance(part, FunctionType | classmethod | staticmethod | property | type)
            and not hasattr(part, "__set_name__")
        }
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    return found


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from list(value.items())
    elif isinstance(value, list | deque | set):
        yield from enumerate(list(value))


def _is_of_user_class(kind: type) -> bool:
    if kind.__module__ == "types" and kind.__name__ == "SimpleNamespace":
        return True
    if kind.__module__ == "builtins":
        return False
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    return file is None or is_of_user(file)
