"""Which objects the laws of a world look at, as far as they can be found in what they refer to."""

from collections.abc import Iterable
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final

from mmactors.explore.conduct.program import closure_of
from mmactors.explore.world.world import World

_MAX_DEPTH: Final = 5


def read_after_each_step(world: World) -> tuple[str, ...]:
    """Return the objects of laws, goals and monitors that look between any two steps.

    Laws that hold at the end see nothing that the order of two actors' steps does not make.
    """
    asked: list[object] = [*world.always_laws, *[monitor.hot for monitor in world.monitors]]
    asked += [goal for goal in world.goals.values() if goal is not None]
    by_id = {id(thing): name for name, thing in world.engine.objects.items()} if asked else {}
    found: dict[str, None] = {}
    seen: set[int] = {id(world), id(world.engine)}
    todo = [(thing, 0) for thing in asked]
    while todo:
        thing, depth = todo.pop(0)
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        name = by_id.get(id(thing))
        if name is not None:
            found[name] = None
        elif depth < _MAX_DEPTH:
            todo += [(each, depth + 1) for each in _refers_to(thing)]
    return tuple(found)


def _refers_to(thing: Any) -> Iterable[object]:
    if isinstance(thing, FunctionType):
        return [*closure_of(thing).values(), *(thing.__defaults__ or ())]
    if isinstance(thing, MethodType):
        return (thing.__self__, thing.__func__)
    if isinstance(thing, partial):
        return (thing.func, *thing.args, *thing.keywords.values())
    if isinstance(thing, dict):
        return thing.values()
    if isinstance(thing, list | tuple | set | frozenset):
        return thing
    return vars(thing).values() if hasattr(thing, "__dict__") else ()
