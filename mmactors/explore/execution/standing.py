"""Where an actor stands: all that decides what it does next, besides the shared objects.

An actor that looks again at what it just saw, and stands where it stood when it looked before, will
look for ever until somebody changes what it sees: looking once more need not be tried. One that
counts its attempts, in a variable, in the iterator of a `for` loop or behind a closure, does not
stand where it stood, and may give up.

Two standings are equal only if nothing differs: the instruction in each coroutine that it awaits,
the values of all variables and of what lies on the stack (iterators), and whatever those lead to,
by content: labels, messages and whatever else is frozen, too, which are made anew in each round.
World objects and those of the engine stand for themselves, as their values are a part of the
state. If something cannot be looked into, an actor has no standing, and nothing is left out.
"""

import dis
import gc
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache, lru_cache
from types import (
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    GenericAlias,
    MethodType,
    ModuleType,
    UnionType,
)
from typing import Any, Final

from mmactors.engine.actor import NEVER
from mmactors.engine.mailbox import Reply, Request
from mmactors.explore.engine.exact import PLAIN, Unnameable, exact

_MAX_PARTS: Final = 5000
"""More than so many objects are not compared."""
_PACKAGE: Final = "mmactors."
_REDUCE_PROTOCOL: Final = 4
_NEVER_CHANGE: Final = (type, ModuleType, CodeType, UnionType, GenericAlias)
"""Names of types in code among them, such as `int | str`: they hold nothing of a schedule."""


def standing(coro: object) -> Hashable | None:
    """Return where a parked coroutine stands, by content; None: that cannot be told."""
    try:
        return tuple(_Parts().of(coro))
    except Unnameable:
        return None


class _Parts:
    """The parts of one standing, in the order in which they are met; each object once."""

    def __init__(self) -> None:
        self._numbers: Final[dict[int, int]] = {}
        self._kept: Final[list[object]] = []
        """What was met, so that no other object gets its address meanwhile."""

    def of(self, coro: object) -> Iterable[Hashable]:
        """Return all parts."""
        parts: list[Hashable] = []
        todo: list[Any] = [coro]
        numbers = self._numbers
        while todo:
            thing = todo.pop()
            kind = thing.__class__
            if kind in PLAIN and kind is not FunctionType:
                parts.append((kind, thing))
                continue
            number = numbers.get(id(thing))
            if number is not None:
                parts.append(("again", number))
                continue
            if len(numbers) >= _MAX_PARTS:
                raise Unnameable("it leads to too much")
            numbers[id(thing)] = len(numbers)
            self._kept.append(thing)
            name, inner = _way(kind)(thing)
            parts += (kind, name, len(inner))
            todo += reversed(inner)
        return parts


Inside = tuple[Hashable, Sequence[Any]]
"""What names an object, and where it leads."""


@lru_cache(1024)
def _way(kind: type[Any]) -> Callable[[Any], Inside]:
    """Return how to look into objects of a class."""
    ways: tuple[tuple[bool, Callable[[Any], Inside]], ...] = (
        (issubclass(kind, CoroutineType | GeneratorType), _of_coroutine),
        (kind is CellType, _of_cell),
        (issubclass(kind, FunctionType), _of_function),
        (issubclass(kind, MethodType), _of_method),
        (issubclass(kind, Reply), _of_reply),
        (issubclass(kind, Request), _of_request),
        (kind.__setattr__.__name__ == "_frozen_setattrs", _of_frozen),
        (issubclass(kind, _NEVER_CHANGE) or kind.__module__.startswith("typing"), _of_constant),
        (kind.__module__.startswith(_PACKAGE), _of_world),
        (issubclass(kind, dict), _of_dict),
        (issubclass(kind, list | tuple), _of_items),
    )
    return next((way for is_meant, way in ways if is_meant), _of_any)


def _of_function(function: FunctionType) -> Inside:
    code = function.__code__
    named = _values(_global_names(code), function.__globals__)
    return code, [function.__defaults__, function.__kwdefaults__, function.__closure__, *named]


def _of_method(method: MethodType) -> Inside:
    return method.__func__.__code__, (method.__self__,)


def _of_reply(reply: Reply[Any]) -> Inside:
    is_there = reply.at_ns < NEVER
    return "reply", (reply.asker, reply.request, reply.server, reply.value, is_there)


def _of_request(request: Request[Any]) -> Inside:
    return "request", (request.body, request.reply)


def _of_frozen(thing: Any) -> Inside:
    kind = type(thing)
    return kind.__qualname__, [getattr(thing, each.name) for each in kind.__attrs_attrs__]


def _of_constant(thing: object) -> Inside:
    return id(thing), ()


def _of_dict(thing: dict[Any, Any]) -> Inside:
    return None, [part for item in thing.items() for part in item]


def _of_items(thing: list[Any] | tuple[Any, ...]) -> Inside:
    return None, thing


def _of_any(thing: Any) -> Inside:
    try:
        return exact(thing), ()
    except Unnameable:
        return _of_object(thing)


def _of_world(thing: Any) -> Inside:
    """Return what names a world, or an object of it, in all schedules: they are made anew."""
    name = getattr(thing, "name", None)
    if isinstance(name, str):
        return name, ()
    return (None if hasattr(thing, "always_laws") else id(thing)), ()


def _of_coroutine(coro: Any) -> Inside:
    """Return the instruction at which a coroutine or generator stands, and what its frame holds."""
    frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
    if frame is None:
        return "ended", ()
    variables = frame.f_locals
    # What lies on the stack has no names: iterators, and the coroutine that is awaited.
    held = [
        part
        for part in gc.get_referents(coro)
        if part is not variables and not isinstance(part, FrameType)
    ]
    code = frame.f_code
    named = _values(_global_names(code), frame.f_globals)
    return (code, frame.f_lasti, *variables), [*variables.values(), *held, *named]


@cache
def _global_names(code: CodeType) -> tuple[str, ...]:
    """Return the names of what a function may look up in its module."""
    return tuple(
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("LOAD_GLOBAL", "STORE_GLOBAL")
    )


def _values(names: tuple[str, ...], module: dict[str, Any]) -> list[Any]:
    """Return the globals of these names that may change, or lead to what may.

    Modules of this package hold nothing of a schedule: what a machine knows, its objects know.
    """
    if not names or module.get("__name__", "").startswith(_PACKAGE):
        return []
    found = (module[name] for name in names if name in module)
    return [
        value
        for value in found
        if not isinstance(value, _NEVER_CHANGE)
        and not (isinstance(value, FunctionType) and value.__globals__ is not module)
    ]


def _of_cell(cell: CellType) -> Inside:
    try:
        return "full", (cell.cell_contents,)
    except ValueError:
        return "empty", ()


def _of_object(thing: Any) -> Inside:
    """Return what an object holds: its attributes, or what it would be pickled as."""
    own = getattr(thing, "__dict__", None)
    reduced = _reduced(thing)
    if reduced is None and own is None:
        raise Unnameable(f"nothing is known of a {type(thing).__name__}")
    inner = [] if own is None else [own]
    if reduced is not None:
        inner.append(reduced)
    return None, inner


def _reduced(thing: Any) -> tuple[Any, ...] | None:
    """Return what makes a copy of an object."""
    reduce: Callable[[int], Any] = thing.__reduce_ex__
    try:
        made = reduce(_REDUCE_PROTOCOL)
    except Exception:  # noqa: BLE001 - a class of others may raise anything
        return None
    if isinstance(made, str):
        return (made,)
    parts = list(made)
    for at in (3, 4):
        if len(parts) > at and parts[at] is not None:
            parts[at] = tuple(parts[at])  # Made for this call: the items of a list or a dict.
    return tuple(parts)
