"""All that a machine or a world holds, by content: whether two are equal, times and all."""

from collections import deque
from types import FunctionType, MethodType

import numpy as np

from mmactors.arch.memory import PhysicalMemory
from mmactors.engine.actor import Actor
from mmactors.engine.baton import Engine
from mmactors.explore.engine.step import Step

PACKAGE = "mmactors."
LEAVES = (bool, int, float, str, bytes, np.generic, type(None))


def contents(root):
    """Return the parts of `root` and of all that it leads to, each object once, as they are met."""
    numbers, kept, parts, todo = {}, [], [], [root]
    while todo:
        thing = todo.pop()
        if isinstance(thing, LEAVES):
            parts.append(thing)
        elif id(thing) in numbers:
            parts.append(("again", numbers[id(thing)]))
        else:
            numbers[id(thing)] = len(numbers)
            kept.append(thing)
            name, inner = look_into(thing)
            parts.append((type(thing).__name__, name, len(inner)))
            todo += reversed(inner)
    return parts


def look_into(thing):
    """Return what names an object, and where it leads."""
    if isinstance(thing, np.ndarray):
        return (thing.tobytes() if thing.base is None else thing.shape), []
    if isinstance(thing, PhysicalMemory):
        return None, [thing.snapshot()]
    if isinstance(thing, Engine):
        return None, []
    if isinstance(thing, Actor):
        return (thing.name, thing.finished), [thing.clock, thing.times, thing.ready_at]
    if isinstance(thing, Step):  # What it has been compared with belongs to the search.
        return repr((thing.text, thing.touches, thing.may_fail, thing.runs_out)), []
    if isinstance(thing, dict):
        return None, [part for item in thing.items() for part in item]
    if isinstance(thing, list | tuple | deque):
        return None, list(thing)
    if isinstance(thing, set | frozenset):
        return sorted(map(repr, filter(lambda part: isinstance(part, LEAVES), thing))), []
    if isinstance(thing, MethodType):
        return thing.__func__.__name__, [thing.__self__]
    if isinstance(thing, FunctionType):
        return thing.__qualname__, [cell.cell_contents for cell in thing.__closure__ or ()]
    if type(thing).__module__.startswith(PACKAGE):
        return None, [getattr(thing, name) for name in names_of(thing) if hasattr(thing, name)]
    return None, []


def names_of(thing):
    slots = [name for base in type(thing).__mro__ for name in vars(base).get("__slots__", ())]
    return [*getattr(thing, "__dict__", ()), *(name for name in slots if name != "__weakref__")]
