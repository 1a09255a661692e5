"""What shared objects of a world have in common: a name, turns, gates, time-outs, late stores.

Each operation waits for its turn at a step that says what it touches, and then acts at once. Who
has to wait for a state stands at a gate: a step that cannot be taken before. A time-out is a choice
of the search, so there is no clock: it comes now, or later, or never, but only while the gate is
shut.

Where stores may be late (`STORE_IS_LATE`), what takes is a locked operation, which waits until the
store buffer of its CPU is empty, and what gives back is a plain store, which goes into the buffer.
Each object says where it is different.
"""

from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from inspect import CO_COROUTINE, CO_GENERATOR
from types import FunctionType
from typing import Any, Final, ParamSpec, Protocol, TypeVar, cast

from mmactors.engine.actor import PARKING
from mmactors.engine.chance import STORE_IS_LATE
from mmactors.engine.guard import GuardViolation
from mmactors.explore.engine.exact import exact
from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.store_buffer import Store, StoreBuffer
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.label import Mode

P = ParamSpec("P")
R = TypeVar("R")

Timeout = float | bool | None
"""None or False: wait for ever. Anything else, a number too: the search says whether in time."""
IN_TIME: Final = 0
TIMED_OUT: Final = 1
"""The two ways in which a wait ends that may be out of time."""


def operation(
    function: Callable[P, Generator[object, None, R]],
) -> Callable[P, Coroutine[Any, Any, R]]:
    """Make of a generator function a coroutine function, by its flags.

    `types.coroutine` would leave a generator, of which Python does not notice that nobody awaits
    it.
    """
    assert isinstance(function, FunctionType), f"{function} is no function of a class"
    flags = function.__code__.co_flags & ~CO_GENERATOR | CO_COROUTINE
    code = function.__code__.replace(co_flags=flags)
    made = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return cast("Callable[P, Coroutine[Any, Any, R]]", wraps(function)(made))


class Nameable(Protocol):
    """A shared object."""

    @property
    def name(self) -> str:
        """What steps call it."""


Named = str | Nameable


def name_of(thing: Named) -> str:
    """Return the name of an object."""
    return thing if isinstance(thing, str) else thing.name


def names_of(things: tuple[Named, ...] | Named) -> tuple[str, ...]:
    """Return the names of objects; raise TypeError if it is one object, which is no tuple of some.

    A text would be taken for the names of its letters.
    """
    if not isinstance(things, tuple):
        text = repr(things) if isinstance(things, str) else type(things).__name__
        raise TypeError(f"expected a tuple of objects and names, found {text}: write (it,)")
    return tuple(map(name_of, things))


def may_time_out(timeout: Timeout) -> bool:
    """Return whether a wait with this time-out may end before it is over."""
    return timeout is not None and timeout is not False


def must_be_declared(engine: SearchEngine, name: str, *, may_write: bool) -> None:
    """Raise GuardViolation if an actor looks at the object outside of a step that declares it."""
    actor = engine.running
    if actor is None:
        return
    assert isinstance(actor, SearchActor), f"{actor} is no actor of this search"
    is_writable = actor.pending.declared.get(name)
    if is_writable is None or (may_write and not is_writable):
        what = "written" if may_write else "read"
        raise GuardViolation(
            f"{name} was {what} by {actor} in step {actor.pending.text!r}, which does not "
            "declare it; await an operation of the object, or declare it in world.step"
        )


class Gate:
    """What an actor waits for that cannot take its step yet."""

    __slots__ = ("_buffer", "_describe", "is_passable")

    def __init__(
        self,
        is_passable: Callable[[], bool],
        describe: Callable[[], str],
        buffer: StoreBuffer | None,
    ) -> None:
        self.is_passable: Final = is_passable
        self._describe: Final = describe
        self._buffer: Final = buffer
        """What has to be empty, too: the step is a locked operation."""

    def is_open(self) -> bool:
        """Return whether the step can be taken."""
        return (self._buffer is None or self._buffer.is_empty()) and self.is_passable()

    def describe(self) -> str:
        """Say what is waited for."""
        if self._buffer is None or self._buffer.is_empty() or not self.is_passable():
            return self._describe()
        return self._buffer.describe()


class Shared:
    """A shared object. Who is one has `key`, `show` and `describe` besides."""

    __slots__ = ("_engine", "_is_late", "name")

    def __init__(self, engine: SearchEngine, name: str) -> None:
        assert name not in engine.objects, f"two objects are named {name}"
        self.name: Final = name
        self._engine: Final = engine
        self._is_late: Final = STORE_IS_LATE in engine.allowed
        engine.objects[name] = self  # type: ignore[assignment]

    def describe(self) -> str:
        """Say which object this is, and who could end a wait for it."""
        return self.name

    def _step(
        self,
        what: str,
        mode: Mode = Mode.WRITE,
        *,
        reads: tuple[Named, ...] = (),
        may_fail: bool = False,
    ) -> Step:
        """Return a step; one that `may_fail` says by `_acted` that it has not."""
        touches = ((self.name, mode), *((name, Mode.READ) for name in names_of(reads)))
        return self._engine.steps.of(f"{what} {self.name}", touches, may_fail=may_fail)

    def _acted(self) -> None:
        actor: Any = self._engine.running
        actor.acted()

    def _buffer(self) -> StoreBuffer | None:
        """Return where stores of the running actor wait; None: none does."""
        return self._engine.buffer_of(self._engine.current) if self._is_late else None

    def _newest(self, buffer: StoreBuffer | None) -> Store | None:
        """Return the store that only its own CPU sees; its actor has seen that, not the memory."""
        newest = None if buffer is None else buffer.newest(self.name)
        if newest is not None:
            self._engine.observe((exact(newest.value),))
        return newest

    async def _turn(self, step: Step) -> None:
        """Wait for the turn to do `step`."""
        engine = self._engine
        engine.parked = step
        await PARKING
        if engine.detour:
            await engine.take_interrupts(step)

    async def _locked(self, step: Step) -> None:
        """Wait for the turn to do what is locked: it leaves nothing in the store buffer."""
        if self._is_late:
            await self._pass(step, _always)
        else:
            await self._turn(step)

    async def _pass(
        self,
        step: Step,
        is_passable: Callable[[], bool],
        describe: Callable[[], str] | None = None,
        *,
        is_locked: bool = True,
    ) -> None:
        """Wait for the turn to do `step`, which cannot be done before `is_passable()`."""
        actor: Any = self._engine.current
        buffer = self._buffer() if is_locked else None
        gate = Gate(is_passable, self.describe if describe is None else describe, buffer)
        actor.gate = gate.is_open
        await self._turn(step)
        actor.gate = None

    async def _pass_in_time(
        self,
        step: Step,
        is_passable: Callable[[], bool],
        *,
        is_locked: bool = True,
        out_mode: Mode = Mode.READ,
    ) -> bool:
        """Wait as `_pass` does, or until the time is out; return whether it was in time."""
        out = self._out_of_time(step, out_mode)
        buffer = self._buffer() if is_locked else None

        def ways() -> list[tuple[int, Step]]:
            if is_passable():
                return [(IN_TIME, step)] if buffer is None or buffer.is_empty() else []
            is_given_back = buffer is not None and buffer.newest(self.name) is not None
            return [] if is_given_back else [(TIMED_OUT, out)]  # Nobody waits for itself.

        return await self._choose_way(ways, out) == IN_TIME

    def _out_of_time(self, step: Step, mode: Mode = Mode.WRITE) -> Step:
        """Return what happens instead of `step` when the time is out."""
        text = f"{step.text} (timed out)"
        is_change = mode is Mode.WRITE
        return self._engine.steps.of(text, ((self.name, mode),), runs_out=is_change)

    async def _choose_way(self, ways: Callable[[], list[tuple[int, Step]]], pending: Step) -> int:
        """Wait until one of `ways()` can be taken; return which the search took."""
        engine = self._engine
        actor: Any = engine.current
        actor.branch = ways
        await self._turn(pending)
        actor.branch = None
        return engine.chosen

    async def _store(self, step: Step, apply: Callable[[], object], value: object) -> None:
        """Do the plain store of `step`: at once, or through the store buffer if stores are late."""
        buffer = self._buffer()
        if buffer is None:
            await self._turn(step)
            apply()
        else:
            pushing = self._engine.steps.of(step.text, ((buffer.name, Mode.ADD),))
            await self._turn(pushing)
            buffer.push(self.name, apply, value)


def _always() -> bool:
    return True
