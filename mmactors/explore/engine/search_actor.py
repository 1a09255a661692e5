"""An actor as the search sees it: what it is about to do, whether it can, and what it saw."""

from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from attrs import define

from mmactors.engine.actor import NEVER, Actor
from mmactors.engine.report import ForeignAwait
from mmactors.explore.engine.step import Step

START: Final = Step("start", ())
_NEVER: Final[Mapping[Step, Hashable]] = MappingProxyType({})
Look = tuple[Step, Hashable]
"""A step that changed nothing, and what it showed."""
Entry = tuple[int, Step, Hashable]
"""The history before, the step, what it showed."""
Saw = tuple[Entry, Any]
"""A look, and the looks before; None: there were none."""


class Trail(NamedTuple):
    """What an actor has looked at since it changed something, and whether it comes round."""

    looks: tuple[Look, ...]
    """Each step once, with what it showed last."""
    mark: Look | None = None
    """The first look that was made again, and showed the same."""
    stood: Hashable = None
    """Where the actor stood then; None: that was not looked at, or cannot be told."""
    nr_rounds: int = 0
    """How often it made that look again."""


@define(eq=False, kw_only=True)
class SearchActor(Actor):
    """An actor, and what it is about to do."""

    pending: Step = START
    gate: Callable[[], bool] | None = None
    """Tells whether the pending step can be taken now; None: always."""
    branch: Callable[[], Sequence[tuple[int, Step]]] | None = None
    """Returns the ways in which the pending step can be taken now; None: one."""
    history: int = 0
    """The number of all that the actor did and saw, in the table of the execution."""
    saw: Saw | None = None
    """Its looks since it changed something, as long as no step comes twice."""
    trail: Trail | None = None
    """The looks since then, as soon as one does."""
    ran_out: Mapping[Step, Hashable] = _NEVER
    """What there was when its time was out last, of each wait that changes something."""
    spins: bool = False
    """It will look at the same again and again until something on its trail changes."""
    result: object = None
    """What the coroutine returned."""
    serves: bool = False
    """It is a part of the machine, and waits for ever when there is nothing to do."""

    def renew(self, coro: Coroutine[Any, Any, Any], *, daemon: bool, pid: int | None) -> None:
        """Be the actor of this name in the next schedule."""
        self.coro = coro
        self.send = coro.send
        self.daemon = daemon
        self.pid = pid
        self.cpu = None
        self.waits_for = None
        self.ready_at = None
        self.finished = False
        self.pending = START
        self.gate = None
        self.branch = None
        self.history = 0
        self.saw = None
        self.trail = None
        self.ran_out = _NEVER
        self.spins = False
        self.result = None
        self.serves = False

    def acted(self) -> None:
        """Note that a step changes something: looking once more is no repetition."""
        self.saw = None
        self.trail = None
        self.spins = False

    def is_enabled(self) -> bool:
        """Return whether the pending step can be taken now."""
        waits_for = self.waits_for
        if waits_for is None:
            return self.gate is None or self.gate()
        at_ns = getattr(waits_for, "at_ns", None)
        if at_ns is None:
            return self.ready_at is not None
        return at_ns < NEVER and (self.cpu is None or self.cpu.current is self)


def refuse(actor: SearchActor, trap: object) -> ForeignAwait:
    """End an actor that awaited what is not the engine's; return what to say about it."""
    actor.finished = True
    give_up = getattr(trap, "abort_func", None)
    if give_up is not None:
        give_up(lambda: None)
    actor.coro.close()
    return ForeignAwait(
        f"{actor} awaited {trap!r}, which is not the engine's: an explored actor may only "
        "await operations of its world"
    )
