"""Things that can change: what is one, what it holds, and where it leads.

A thing is whatever can hold something else tomorrow: containers, objects, functions with
attributes, iterators and generators, variables. What it holds is compared by part, as far as parts
can be told apart; an object of C that says nothing of its parts is compared by what it would be
pickled as.
"""

import array
import gc
import sys
import weakref
from collections import deque
from collections.abc import Hashable, Iterator
from contextvars import ContextVar
from functools import _lru_cache_wrapper, cache
from operator import length_hint
from types import (
    AsyncGeneratorType,
    CellType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    ModuleType,
)
from typing import Any, Final

from attrs import define

from mmactors.explore.conduct.program import is_of_user

NOTHING: Final = object()
ALL: Final = "all of it"
ADDED: Final = "added"
"""What changed in a set that only grew."""
_FOREIGN: Final = (
    *("trio", "asyncio", "anyio", "threading", "_thread", "queue", "_queue", "multiprocessing"),
)
"""Things of these libraries are shared by what they are for."""
_TOOLS: Final = (
    *("_pytest", "abc", "ast", "datetime", "decimal", "hypothesis", "importlib", "inspect"),
    *("logging", "mmactors", "numpy.core", "numpy._core", "pathlib", "pytest", "re", "typing"),
    *("warnings", "_frozen_importlib", "_frozen_importlib_external"),
)
"""What these keep for themselves decides nothing that a model does."""
_CONTAINERS: Final = (list, dict, set, deque, bytearray, array.array)
_GENERATORS: Final = (GeneratorType, AsyncGeneratorType, CoroutineType)
_REDUCE_PROTOCOL: Final = 4
_MANY_ELEMENTS: Final = 4096


@define(eq=False)
class GlobalVariable:
    """A name in a module."""

    module: dict[str, Any]
    name: str


def is_container(value: object) -> bool:
    """Return whether something is a mutable container that is looked into."""
    return isinstance(value, _CONTAINERS) or _is_array(value)


def is_foreign(value: object) -> bool:
    """Return whether something is made for sharing, by another library."""
    kind = type(value)
    is_local = kind.__name__ in ("_local", "local")  # One thread has one of them.
    return module_of(kind).partition(".")[0] in _FOREIGN and not is_local


def is_iterator(value: object) -> bool:
    """Return whether taking the next element changes it."""
    return hasattr(type(value), "__next__") and module_of(type(value)) in ("builtins", "itertools")


def module_of(kind: type) -> str:
    """Return the name of the module of a class; some of C say something else."""
    return str(kind.__module__)


def is_of_tool(kind: type) -> bool:
    """Return whether what objects of a class hold is of no concern."""
    return _is_tool(module_of(kind))


@cache
def _is_tool(name: str) -> bool:
    return any(name == tool or name.startswith(f"{tool}.") for tool in _TOOLS)


def is_of_user_class(kind: type) -> bool:
    """Return whether a class is a model's."""
    if kind.__module__ == "types" and kind.__name__ == "SimpleNamespace":
        return True
    return _is_module_of_user(module_of(kind))


@cache
def _is_module_of_user(name: str) -> bool:
    if name in sys.builtin_module_names:
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or is_of_user(file)


def is_cached(value: object) -> bool:
    """Return whether something is a function whose results are kept."""
    return isinstance(value, _lru_cache_wrapper)


def owner_of(value: Any) -> Any:
    """Return whose memory a view shows; the thing itself, if it is none."""
    while _is_array(value) and value.base is not None:
        value = value.base
    if isinstance(value, memoryview):
        return owner_of(value.obj)
    if isinstance(value, weakref.ReferenceType):
        return value()
    return value


def held_by(thing: Any) -> dict[Hashable, Any]:
    """Return what a thing holds, by part."""
    kind = type(thing)
    if kind is CellType:
        try:
            return {ALL: thing.cell_contents}
        except ValueError:
            return {}
    if kind is GlobalVariable:
        return {ALL: thing.module.get(thing.name)}
    if isinstance(thing, dict):
        held: dict[Hashable, Any] = {("item", key): value for key, value in thing.items()}
    elif isinstance(thing, set):
        held = {ADDED: thing.copy()}
    elif isinstance(thing, list | deque):
        held = {("item", at): value for at, value in enumerate(thing)}
        held[ALL] = len(thing)
    elif is_container(thing):
        held = _held_by_memory(thing)
    elif isinstance(thing, ModuleType):
        return {("attribute", name): value for name, value in vars(thing).items()}
    elif isinstance(thing, _GENERATORS):
        return _held_by_generator(thing)
    elif is_cached(thing):
        return {ALL: thing.cache_info()}
    elif isinstance(thing, ContextVar):
        return {ALL: thing.get(None)}
    elif is_iterator(thing):
        return {ALL: (length_hint(thing, -1), repr(thing))}
    else:
        content = _content(thing)
        held = {} if content is NOTHING else {ALL: content}
    if kind not in _CONTAINERS:
        held |= {("attribute", name): value for name, value in attributes_of(thing).items()}
    return held


def changes(before: dict[Hashable, Any], now: dict[Hashable, Any]) -> set[Hashable]:
    """Return which parts differ."""
    changed: set[Hashable] = set()
    for key in before.keys() | now.keys():
        old, new = before.get(key, NOTHING), now.get(key, NOTHING)
        if old is new or (type(old) is bytes is type(new) and old == new):
            continue
        if key in (ALL, ADDED):
            if type(old) is not type(new) or old != new:
                changed.add(ADDED if key == ADDED and old <= new else ALL)
        else:
            changed.add(key)
    return {ALL} if ALL in changed else changed


def parts_of(value: Any) -> Iterator[tuple[Hashable, str, Any]]:
    """Return where a thing leads: the part, how it is written, and what is there."""
    if isinstance(value, dict):
        for key, part in list(value.items()):
            yield ("item", key), f"[{key!r}]", part
            yield ("item", key), f" key {key!r}", key
    elif isinstance(value, list | deque | set):
        for at, part in enumerate(list(value)):
            yield ("item", at), f"[{at!r}]", part
    if isinstance(value, _GENERATORS):
        for name, part in _variables_of(value).items():
            yield ("local", name), f" variable {name}", part
    elif is_iterator(value):
        for part in gc.get_referents(value):
            yield ALL, "", part
    elif not is_cached(value) and type(value) not in _CONTAINERS:
        found = attributes_of(value)
        for name, part in found.items():
            yield ("attribute", name), f".{name}", part
        if not found and not isinstance(value, type) and not is_container(value):
            for part in gc.get_referents(value):
                yield ALL, "", part


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, or those of a class that are no functions."""
    try:
        found = dict(object.__getattribute__(value, "__dict__"))
    except (AttributeError, TypeError):
        found = {}
    if isinstance(value, type):
        return {
            name: part
            for name, part in vars(value).items()
            if not name.startswith("__")
            and not isinstance(part, FunctionType | classmethod | staticmethod | property | type)
            and not type(part).__name__.endswith("_descriptor")
        }
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            is_private = name.startswith("__") and not name.endswith("__")
            slot = f"_{kind.__name__.lstrip('_')}{name}" if is_private else name
            descriptor: Any = vars(kind).get(slot)
            if name in ("__dict__", "__weakref__") or not hasattr(descriptor, "__get__"):
                continue
            try:
                found[slot] = descriptor.__get__(value, type(value))
            except AttributeError:
                continue  # It is not set.
    return found


def _is_array(value: object) -> bool:
    return module_of(type(value)) == "numpy" and type(value).__name__ == "ndarray"


def _held_by_memory(thing: Any) -> dict[Hashable, Any]:
    """Return the elements of what holds plain numbers, as bytes."""
    if _is_array(thing):
        if thing.dtype.hasobject or thing.size > _MANY_ELEMENTS or thing.ndim != 1:
            return {ALL: (thing.shape, thing.tobytes())}
        content, size = thing.tobytes(), thing.itemsize
    else:
        content = bytes(memoryview(thing).cast("B")) if len(thing) else b""
        size = getattr(thing, "itemsize", 1)
    if len(content) > _MANY_ELEMENTS * size:
        return {ALL: content}
    held: dict[Hashable, Any] = {
        ("item", at): content[at * size : (at + 1) * size] for at in range(len(content) // size)
    }
    held[ALL] = len(content)
    return held


def _variables_of(generator: Any) -> dict[str, Any]:
    frame = _frame_of(generator)
    return {} if frame is None else dict(frame.f_locals)


def _frame_of(generator: Any) -> Any:
    for name in ("gi_frame", "ag_frame", "cr_frame"):
        frame = getattr(generator, name, None)
        if frame is not None:
            return frame
    return None


def _held_by_generator(generator: Any) -> dict[Hashable, Any]:
    frame = _frame_of(generator)
    held: dict[Hashable, Any] = {ALL: None if frame is None else frame.f_lasti}
    return held | {("local", name): part for name, part in _variables_of(generator).items()}


def _content(thing: Any) -> Any:
    """Return what an object of another library would be pickled as, if it has a say in that."""
    kind: Any = type(thing)
    plain: Any = object
    hooks = ("__reduce_ex__", "__reduce__", "__getstate__")
    has_say = any(getattr(kind, hook, None) is not getattr(plain, hook, None) for hook in hooks)
    if not has_say or is_of_user_class(kind) or isinstance(thing, type | FunctionType):
        return NOTHING
    try:
        made = thing.__reduce_ex__(_REDUCE_PROTOCOL)
        return made if bool(made == thing.__reduce_ex__(_REDUCE_PROTOCOL)) else NOTHING
    except Exception:  # noqa: BLE001 - a class of others may raise anything
        return NOTHING
