"""What one actor reaches that is no object of the world: mutable things in closures and arguments.

The walk begins at the actor's coroutine, before it has run, and follows variables that its code
uses, functions and methods that it may call, elements and attributes. It ends at an object of this
package. Where a function only touches known elements or attributes of a thing, it reaches no more.
"""

import gc
import sys
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any, Final

from mmactors.errors import Place
from mmactors.explore.conduct.extent import Reached, left_of, reached, values_of_call
from mmactors.explore.conduct.program import (
    ARGUMENT,
    CALL,
    LOAD,
    METHOD,
    STORE,
    UPDATE,
    Access,
    Facts,
    closure_of,
    facts_of,
    is_of_user,
)
from mmactors.explore.conduct.things import (
    GlobalVariable,
    is_cached,
    is_container,
    is_foreign,
    is_of_tool,
    is_of_user_class,
    owner_of,
    parts_of,
)

_MAX_VISITS: Final = 5000
_MUTATORS: Final = (
    *("add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem"),
    *("popleft", "remove", "reverse", "rotate", "setdefault", "sort", "update"),
)
_MAX_CALLS: Final = 50
"""A function is followed for so many different calls; then for any."""
_ATOMS: Final = (int, bool, float, complex, str, bytes, range, type(None), type(...))
_NO_METHODS: Final = (*_ATOMS, tuple, dict, GetSetDescriptorType, MemberDescriptorType)
_ANYTHING: Final = (Access("other"),)
_CALLED: Final = (Access(CALL),)


class Reach:
    """What one actor, or a function that is handed to others, reaches."""

    def __init__(
        self, name: str, *, varying: AbstractSet[Hashable] = frozenset(), is_handed: bool = False
    ) -> None:
        self.name: Final = name
        self.is_handed: Final = is_handed
        """It is run by whoever gets it."""
        self.place = Place("?")
        self.found: Final[dict[Hashable, Reached]] = {}
        self.handed: Final[dict[int, FunctionType]] = {}
        """Functions that are passed on, and not called here."""
        self.rebound: Final[set[Hashable]] = set()
        """Variables that code assigns to."""
        self.relied: Final[set[Hashable]] = set()
        """Variables around functions that were taken for constant, but for those of `varying`."""
        self._varying: Final = varying
        self._functions: Final[dict[int, FunctionType]] = {}
        self._calls: Final[dict[int, set[Hashable]]] = {}
        """How each function was followed, by the values of its parameters."""
        self._classes: Final[dict[type, str]] = {}
        self._modules: Final[dict[str, ModuleType]] = {}
        self._attributes: Final[set[str]] = set()
        self._stored_attributes: Final[set[str]] = set()
        self._marked: Final[set[int]] = set()
        """Functions of libraries, and attributes of functions, that were followed."""
        self._nr_visits = 0

    def follow_coroutine(self, coro: Any) -> None:
        """Follow a coroutine that has not begun."""
        frame = getattr(coro, "cr_frame", None)
        if frame is None:
            return
        self.place = Place(frame.f_code.co_filename, frame.f_code.co_firstlineno)
        values: Mapping[str, Any] = frame.f_locals
        if is_of_user(frame.f_code.co_filename):
            self._follow_frame(coro, frame.f_code, values)
        else:  # One of this package's, which calls functions of the user's.
            for name, value in values.items():
                if isinstance(value, FunctionType | MethodType | partial):
                    self._visit(value, name, _CALLED, {})
        self._follow_names()

    def follow_function(self, function: Any) -> None:
        """Follow a function that somebody calls."""
        self._visit(function, getattr(function, "__name__", "?"), _CALLED, {})
        self._follow_names()

    @property
    def is_cut(self) -> bool:
        """Return whether there is more than can be looked at."""
        return self._nr_visits > _MAX_VISITS

    def codes(self) -> Iterator[CodeType]:
        """Return all code of the model that may run."""
        left = [function.__code__ for function in self._functions.values()]
        while left:
            code = left.pop()
            yield code
            left += [inner for inner in code.co_consts if isinstance(inner, CodeType)]

    def _follow_frame(self, owner: Any, code: CodeType, values: Mapping[str, Any]) -> None:
        """Follow the function that a coroutine or generator runs."""
        for thing in gc.get_referents(owner):  # The function is one of them.
            if type(thing) is FunctionType and thing.__code__ is code:
                self._follow(thing, values)
                return

    def _follow_names(self) -> None:
        """Follow all methods of the classes met, and all of the modules, whose names are used."""
        left: dict[type, dict[str, Any]] = {}  # By class what was not followed yet.
        before = None
        while before != (len(self._functions), len(self._attributes), len(self._classes)):
            before = (len(self._functions), len(self._attributes), len(self._classes))
            for kind in list(self._classes):
                if kind not in left:
                    left[kind] = dict(vars(kind))
                methods = left[kind]
                for name in list(methods):
                    if name in self._attributes or name.startswith("__"):
                        for function in _functions_of(methods.pop(name)):
                            self._follow(function, {})
            for name, module in list(self._modules.items()):
                for attribute in self._attributes & vars(module).keys():
                    is_stored = attribute in self._stored_attributes
                    self._add_global(vars(module), attribute, is_stored=is_stored)
                    part = vars(module)[attribute]
                    self._visit(part, f"{name}.{attribute}", _ANYTHING, {})

    def _follow(self, function: FunctionType, values: Mapping[str, Any]) -> None:
        """Follow what a function uses; `values` are those of its parameters, if they are known."""
        code = function.__code__
        if not is_of_user(code.co_filename):
            self._follow_wrapper(function)
            return
        calls = self._calls.setdefault(id(function), set())
        if len(calls) > _MAX_CALLS:
            values = {}
        call = frozenset((name, id(value)) for name, value in values.items())
        if call in calls:
            return
        calls.add(call)
        self._functions[id(function)] = function
        facts = facts_of(code)
        self._attributes.update(facts.attributes)
        self._stored_attributes.update(facts.stored_attributes)
        known = self._constants(function, facts, values)
        module = function.__globals__
        around = closure_of(function)
        handed = self._follow_calls(facts, (values, around, module), known)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if name in facts.stored_free:
                self.rebound.add(id(cell))
            uses = facts.free.get(name, [])
            if uses or name in facts.stored_free:
                self._add(cell, name, _ANYTHING, known)
            if name in around:
                self._visit(around[name], name, left_of(uses, handed[name]), known)
        for name, uses in facts.names.items():
            if name in module:
                self._visit(module[name], name, uses, known)
        for name in sorted(facts.stored_names | (facts.names.keys() & module.keys())):
            self._add_global(module, name, is_stored=name in facts.stored_names)
        if "globals" in facts.names and "globals" not in module:
            for name in [each for each in module if not each.startswith("__")]:
                self._add_global(module, name, is_stored=True)
        for name in facts.imports & sys.modules.keys():
            self._visit(sys.modules[name], name, _ANYTHING, known)
        for name, uses in facts.parameters.items():
            if name in values:
                self._visit(values[name], name, left_of(uses, handed[name]), known)
        defaults = (function.__defaults__ or (), (function.__kwdefaults__ or {}).values())
        for value in (value for each in defaults for value in each):
            self._visit(value, f"a default of {function.__name__}", _ANYTHING, known)

    def _follow_wrapper(self, function: FunctionType) -> None:
        """Follow the functions of the user's that one of a library calls."""
        if id(function) in self._marked:
            return
        self._marked.add(id(function))
        for name, value in closure_of(function).items():
            if isinstance(value, FunctionType | MethodType | partial) or is_cached(value):
                self._visit(value, name, _CALLED, {})

    def _follow_calls(
        self, facts: Facts, scopes: tuple[Mapping[str, Any], ...], known: Mapping[str, Any]
    ) -> Counter[str]:
        """Follow the functions called; return how often each variable was handed to one.

        A variable is that of the first of `scopes` that has it.
        """
        handed = Counter[str]()
        for name, uses in (*facts.free.items(), *facts.names.items(), *facts.parameters.items()):
            function = next((scope[name] for scope in scopes if name in scope), None)
            if type(function) is not FunctionType or not is_of_user(function.__code__.co_filename):
                continue
            for use in uses:
                if use.kind == CALL:
                    self._follow(function, values_of_call(function, use, known))
                    names = [part[1] for _, part in use.arguments if part[0] == "variable"]
                    handed.update(each for each in names if each in known)
        return handed

    def _constants(
        self, function: FunctionType, facts: Facts, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the variables of a function whose values stay as they are."""
        fixed = values.keys() - facts.changed - set(function.__code__.co_freevars)
        cells = dict(
            zip(function.__code__.co_freevars, map(id, function.__closure__ or ()), strict=True)
        )
        around = {
            name: value
            for name, value in closure_of(function).items()
            if cells[name] not in self._varying
        }
        self.relied.update(cells[name] for name in around)
        return {**around, **{name: values[name] for name in fixed}}

    def _add_global(self, module: dict[str, Any], name: str, *, is_stored: bool) -> None:
        """Note that a global variable is looked at, or assigned to."""
        key = (id(module), name)
        if is_stored:
            self.rebound.add(key)
        if key not in self.found:
            self.found[key] = Reached(GlobalVariable(module, name), name, None, False, is_stored)

    def _add(self, thing: Any, name: str, uses: Any, known: Mapping[str, Any]) -> bool:
        """Note that a mutable thing is reached; return whether more of it than before."""
        now = reached(thing, name, uses, known)
        before = self.found.setdefault(id(thing), now)
        if before is now:
            return True
        return before.widen(now.slots, is_write_only=now.is_write_only, is_stored=now.is_stored)

    def _visit(self, value: Any, name: str, uses: Any, known: Mapping[str, Any]) -> None:
        """Follow the value of a variable that is used like this."""
        kind = type(value)
        if not uses or kind in _ATOMS or self.is_cut:
            return
        self._nr_visits += 1
        if kind is FunctionType:
            self._visit_function(value, name, uses, known)
        elif kind is MethodType:
            self._visit(value.__self__, f"{name}.__self__", _ANYTHING, known)
            self._visit(value.__func__, name, _CALLED, known)
        elif kind in (BuiltinFunctionType, MethodWrapperType):
            if not isinstance(value.__self__, ModuleType):
                self._visit(value.__self__, f"{name}.__self__", _ANYTHING, known)
        elif kind is partial:
            for part in (value.func, *value.args, *value.keywords.values()):
                self._visit(part, name, _CALLED if callable(part) else _ANYTHING, known)
        elif is_cached(value):
            if any(use.kind not in (CALL, ARGUMENT) for use in uses):
                self._add(value, name, _ANYTHING, known)
            self._visit(value.__wrapped__, name, _CALLED, known)
        elif isinstance(value, ModuleType):
            self._visit_module(value, name, uses)
        elif isinstance(value, tuple | frozenset):
            for at, part in enumerate(value):
                self._visit(part, f"{name}[{at}]", _ANYTHING, known)
        elif is_foreign(value):
            self._add(value, name, _ANYTHING, known)
        elif isinstance(value, type):
            if is_of_user_class(value):
                self._visit_object(value, name, uses, known)
        elif not is_of_tool(kind):
            owner = owner_of(value)
            if owner is value:
                self._visit_object(value, name, uses, known)
            else:
                self._visit(owner, name, _ANYTHING, known)

    def _visit_function(self, value: Any, name: str, uses: Any, known: Mapping[str, Any]) -> None:
        """Follow a function, which may also be a thing that has attributes."""
        marks = [use for use in uses if use.kind in (STORE, LOAD, UPDATE, METHOD)]
        if marks or vars(value).keys() - {"__wrapped__"}:
            self._add(value, name, _ANYTHING, known)
        if id(vars(value)) not in self._marked:
            self._marked.add(id(vars(value)))
            is_ours = is_of_user(value.__code__.co_filename)
            for part in list(vars(value).values()):
                if is_ours or type(part) is FunctionType:
                    self._visit(part, name, _ANYTHING, known)
        if all(use.kind == ARGUMENT for use in uses):
            self.handed[id(value)] = value
        for use in uses:
            if use.kind == CALL:
                self._follow(value, values_of_call(value, use, known))
            elif use.kind != ARGUMENT and use not in marks:
                self._follow(value, {})

    def _visit_module(self, module: ModuleType, name: str, uses: Any) -> None:
        """Follow what is used of a module."""
        file = getattr(module, "__file__", None)
        if file is None or not is_of_user(file) or is_of_tool(type(module)):
            return
        for use in uses:
            if use.kind not in (STORE, LOAD, UPDATE, METHOD) or use.key is None:
                self._modules[name] = module
                continue
            attribute = use.key[1]
            self._add_global(vars(module), attribute, is_stored=use.kind in (STORE, UPDATE))
            if attribute in vars(module):
                part = vars(module)[attribute]
                self._visit(part, f"{name}.{attribute}", _ANYTHING, {})

    def _visit_object(self, value: Any, name: str, uses: Any, known: Mapping[str, Any]) -> None:
        """Follow an object, or a class of the user's."""
        kind = value if isinstance(value, type) else type(value)
        is_ours = is_of_user_class(kind)
        if is_ours:
            for each in kind.__mro__:
                if is_of_user_class(each):
                    self._classes.setdefault(each, name)
                    if each is not value:
                        self._visit(each, each.__name__, _ANYTHING, known)
        elif not is_container(value):
            uses = _ANYTHING
        if not self._add(value, name, uses, known):
            return
        slots = self.found[id(value)].slots
        for slot, suffix, part in parts_of(value):
            is_inner = not is_ours and not is_container(value) and is_foreign(part)
            if (slots is None or slot in slots) and not is_inner:  # Libraries have locks, too.
                self._visit(part, f"{name}{suffix}", _ANYTHING, known)
        if isinstance(value, GeneratorType) and value.gi_frame is not None:
            self._follow_frame(value, value.gi_code, value.gi_frame.f_locals)
        elif isinstance(value, defaultdict):
            self._visit(value.default_factory, f"{name}.default_factory", _CALLED, known)


def _functions_of(method: Any) -> Iterator[FunctionType]:
    """Return the functions that an attribute of a class may call."""
    kind = type(method)
    if kind in _NO_METHODS:
        return
    if kind is FunctionType and not vars(method):
        yield method
        return
    for name in ("__func__", "fget", "fset", "fdel", "func", "__wrapped__"):
        function = getattr(method, name, None)
        if isinstance(function, FunctionType):
            yield function
    if isinstance(method, FunctionType):
        yield method
