"""An actor as the search sees it: what it is about to do, whether it can, and what it saw."""

from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from attrs import define

from mmactors.engine.actor import NEVER, Actor
from mmactors.errors import Place, Problem, UserError
from mmactors.explore.engine.step import Step

START: Final = Step("start", ())
_MAX_AWAITS: Final = 100
"""So often may a coroutine await something while it is closed."""
_UNENDING: Final[list[object]] = []
"""Those that caught even that; Python would complain if they were forgotten."""
_NEVER: Final[Mapping[Step, Hashable]] = MappingProxyType({})
Look = tuple[Step, Hashable]
"""A step that changed nothing, and what it showed."""
Entry = tuple[int, Step, Hashable]
"""The history before, the step, what it showed."""
Saw = tuple[Step, Hashable, Any]
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


def abandon(coro: Any) -> bool:
    """End a coroutine for good; return whether it has ended.

    What it awaits while it is closed, in `finally` or when it leaves an `async with`, ends there:
    it has no effect, for every operation parks before it acts. What it raises does not matter.
    """
    for _ in range(_MAX_AWAITS):
        try:
            coro.close()
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001, S110 - nobody is there any more to whom it would matter
            pass
        if getattr(coro, "cr_frame", None) is None and getattr(coro, "gi_frame", None) is None:
            return True
    _UNENDING.append(coro)
    return False


def unending(actor: SearchActor) -> UserError:
    """Return what to say of an actor that catches even that."""
    code = getattr(actor.coro, "cr_code", None)
    return UserError(
        Problem(
            place=Place(getattr(code, "co_filename", "?"), getattr(code, "co_firstlineno", None)),
            found=f"the actor {actor} goes on when it is closed: it catches GeneratorExit",
            legal="expected that it ends there, after its finally",
            advice="write except Exception: instead of except: or except BaseException:",
        )
    )
