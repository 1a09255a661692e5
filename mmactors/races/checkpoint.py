"""A checkpoint of a machine at rest: every object and array that can be reached, put back in place.

The schedules of a search begin with the same state. To build the machine anew for each would cost
many times what a schedule does, so it is built once, and what a schedule changed is undone: objects
stay the same ones, their contents are put back. A new mechanism needs no code for that, as long as
its state is in plain objects: attributes, lists, dicts, sets, deques, arrays.

Not kept: coroutines and generators (no actor may be running), actors, the engine, and the words of
frames that are no page tables.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from ctypes import c_char
from operator import is_not
from types import FunctionType, MethodType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.memory import PhysicalMemory
from mmactors.engine.actor import Actor
from mmactors.engine.baton import Engine

_LEAVES: Final = (
    type(None), bool, int, float, str, bytes, memoryview, type, Actor, Engine, np.generic, np.dtype,
)  # fmt: skip
_PACKAGE: Final = "mmactors."


class Checkpoint:
    """What `root` and all that it leads to contain now."""

    def __init__(self, root: object) -> None:
        self.objects: Final[list[object]] = []
        """All objects of the package that were reached, so that they stay what they are."""
        self._undo: Final[list[Callable[[], None]]] = []
        self._empty: Final[list[Any]] = []
        """Lists, deques, dicts and sets with nothing in them."""
        self._slotted: Final[list[_Fields]] = []
        self._others: Final[list[_Fields]] = []
        """Objects with a dict; what they have in slots is among `_slotted` too."""
        seen: dict[int, object] = {}
        todo: list[object] = [root]
        while todo:
            thing = todo.pop()
            if not isinstance(thing, _LEAVES) and id(thing) not in seen:
                seen[id(thing)] = thing
                todo += self._keep(thing)
        pointers = SlotPointers(self._slotted)
        self._slots: Final = pointers if pointers.are_known else SlotNames(self._slotted)

    def restore(self) -> None:
        """Put everything back."""
        self._slots.restore()
        for fields in self._others:
            if any(map(is_not, fields.own.values(), fields.own_values)):
                fields.restore_own()
        for thing in filter(None, self._empty):
            thing.clear()
        for undo in self._undo:
            undo()

    def _keep(self, thing: Any) -> Iterable[object]:
        """Keep what `thing` contains; return where it leads."""
        if isinstance(thing, np.ndarray):
            if thing.base is None and thing.flags.writeable:  # Others are parts of such arrays.
                self._undo.append(_undo_array(thing))
            return ()
        if isinstance(thing, PhysicalMemory):
            snapshot = thing.snapshot()
            self._undo.append(lambda: thing.restore(snapshot))
            return ()
        if isinstance(thing, dict | list | deque | set) and not thing:
            self._empty.append(thing)
            return ()
        if isinstance(thing, dict):
            self._undo.append(_undo_dict(thing))
            return (*thing.keys(), *thing.values())
        if isinstance(thing, list | deque):
            self._undo.append(_undo_list(thing) if isinstance(thing, list) else _undo_deque(thing))
            return tuple(thing)
        if isinstance(thing, set):
            self._undo.append(_undo_set(thing))
            return tuple(thing)
        if isinstance(thing, tuple | frozenset):
            return thing
        if isinstance(thing, MethodType):
            return (thing.__self__,)
        if isinstance(thing, FunctionType):
            return [cell.cell_contents for cell in thing.__closure__ or ()]
        if type(thing).__module__.startswith(_PACKAGE):
            return self._keep_object(thing)
        return ()

    def _keep_object(self, thing: object) -> Iterable[object]:
        self.objects.append(thing)
        names = tuple(name for name in _names_of(thing) if hasattr(thing, name))
        if not names:
            return ()
        fields = _Fields(thing, names)
        if not _is_frozen(type(thing)):
            if fields.own:
                self._others.append(fields)
            if len(fields.own) < len(names):
                self._slotted.append(fields)
        return fields.values


class _Fields:
    """The attributes of one object."""

    def __init__(self, thing: Any, names: tuple[str, ...]) -> None:
        self.thing: Final = thing
        self.own: Final[dict[str, Any]] = getattr(thing, "__dict__", {})
        self._names: Final = names
        self._own_names: Final = tuple(self.own)
        self.own_values: Final = tuple(self.own.values())
        self.values: Final = tuple([getattr(thing, name) for name in names])

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return the names with the values."""
        return zip(self._names, self.values, strict=True)

    def restore_own(self) -> None:
        """Put back what changed in the dict."""
        own = self.own
        for name, value in zip(self._own_names, self.own_values, strict=True):
            if own[name] is not value:
                object.__setattr__(self.thing, name, value)


class SlotNames:
    """What stands in the slots of objects; whether it changed is told by identity."""

    def __init__(self, objects: Sequence[_Fields]) -> None:
        self._objects: Final = objects

    def restore(self) -> None:
        """Put back what changed."""
        for fields in self._objects:
            thing = fields.thing
            for name, value in fields.items():
                if getattr(thing, name) is not value:
                    object.__setattr__(thing, name, value)


class SlotPointers:
    """The same for CPython, in a quarter of the time.

    CPython keeps slots as pointers behind the header of an object. All are looked at in one go:
    thousands of attributes, of which a schedule changes a few hundred. What stood there is kept
    alive by the checkpoint, so that an equal pointer is the same object. Nothing is written that
    way, and it is made use of only where each slot was found to be such a pointer.
    """

    def __init__(self, objects: Sequence[_Fields]) -> None:
        header = object.__basicsize__
        self._views: Final[list[NDArray[np.intp]]] = []
        self._undo: Final[list[list[tuple[object, str, object]]]] = []
        """By place: which attributes pointed there, which may be several, and what to put back."""
        self.are_known = True
        """Each slot's pointer stands where it was looked for."""
        for fields in objects:
            thing = fields.thing
            words = (c_char * (type(thing).__basicsize__ - header)).from_address(id(thing) + header)
            self._views.append(np.frombuffer(memoryview(words), np.intp))
            pointers = self._views[-1].tolist()
            for word in pointers:
                self._undo.append(
                    [(thing, *item) for item in fields.items() if id(item[1]) == word]
                )
            slots = [value for name, value in fields.items() if name not in fields.own]
            self.are_known &= set(map(id, slots)) <= set(pointers)
        self._now: Final = np.empty(len(self._undo), np.intp)
        self._kept: Final = np.concatenate([self._now[:0], *self._views])

    def restore(self) -> None:
        """Put back what changed."""
        now = np.concatenate([self._kept[:0], *self._views], out=self._now)
        undo = self._undo
        for place in (now != self._kept).nonzero()[0].tolist():
            for thing, name, value in undo[place]:
                object.__setattr__(thing, name, value)


def _is_frozen(cls: type[object]) -> bool:
    """Return whether attrs makes objects of the class refuse changes: nothing can be undone."""
    return cls.__setattr__.__name__ == "_frozen_setattrs"


def _names_of(thing: object) -> list[str]:
    slots = [name for cls in type(thing).__mro__ for name in vars(cls).get("__slots__", ())]
    own = vars(thing) if hasattr(thing, "__dict__") else ()
    return [name for name in dict.fromkeys([*slots, *own]) if not name.startswith("__")]


def _undo_array(array: Any) -> Callable[[], None]:
    kept = array.copy()

    def undo() -> None:
        array[...] = kept

    return undo


def _undo_dict(thing: dict[Any, Any]) -> Callable[[], None]:
    kept = dict(thing)

    def undo() -> None:
        thing.clear()
        thing.update(kept)

    return undo


def _undo_list(thing: list[Any]) -> Callable[[], None]:
    kept = tuple(thing)

    def undo() -> None:
        thing[:] = kept

    return undo


def _undo_deque(thing: deque[Any]) -> Callable[[], None]:
    kept = tuple(thing)

    def undo() -> None:
        thing.clear()
        thing.extend(kept)

    return undo


def _undo_set(thing: set[Any]) -> Callable[[], None]:
    kept = frozenset(thing)

    def undo() -> None:
        thing.clear()
        thing.update(kept)

    return undo
