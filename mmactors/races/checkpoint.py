"""A checkpoint of a machine at rest: every object and array that can be reached, put back in place.

The schedules of a search begin with the same state. To build the machine anew for each would cost
many times what a schedule does, so it is built once, and what a schedule changed is undone: objects
stay the same ones, their contents are put back. A new mechanism needs no code for that, as long as
its state is in plain objects: attributes, lists, dicts, sets, deques, arrays.

Not kept: coroutines and generators (no actor may be running), actors, the engine, and the words of
frames that are no page tables.
"""

from collections import deque
from collections.abc import Callable, Iterable
from operator import attrgetter, is_not
from types import FunctionType, MethodType
from typing import Any, Final

import numpy as np

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
        self._fields: Final[list[tuple[Any, Callable[[Any], Any], tuple[str, ...], Any]]] = []
        """Object, getter of its attributes, their names, their values."""
        seen: dict[int, object] = {}
        todo: list[object] = [root]
        while todo:
            thing = todo.pop()
            if not isinstance(thing, _LEAVES) and id(thing) not in seen:
                seen[id(thing)] = thing
                todo += self._keep(thing)

    def restore(self) -> None:
        """Put everything back."""
        for thing, getter, names, values in self._fields:
            now = getter(thing)
            if any(map(is_not, now, values)):
                for name, value in zip(names, values, strict=True):
                    object.__setattr__(thing, name, value)
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
        if isinstance(thing, dict):
            self._undo.append(_undo_dict(thing))
            return (*thing.keys(), *thing.values())
        if isinstance(thing, list | deque):
            self._undo.append(_undo_sequence(thing))
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
        # With one name attrgetter returns no tuple; any second one does.
        getter = attrgetter(*names, "__class__")
        values = getter(thing)[:-1]
        if not _is_frozen(type(thing)):
            self._fields.append((thing, getter, names, values))
        return values


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


def _undo_sequence(thing: Any) -> Callable[[], None]:
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
