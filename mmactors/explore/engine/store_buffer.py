"""Store buffers as x86-TSO has them: a store is seen by others later, in the order of its CPU.

Each CPU, or actor that runs on none, has a queue of stores. Its own loads see the newest of them;
others see memory. Draining the oldest is a step of its own that may come at any time, but comes: a
schedule is over when all buffers are empty. A fence, and each locked operation, waits until the
buffer of its CPU is empty (Sewell et al., x86-TSO, CACM 2010).

Invariants: stores of one buffer become visible in order; a buffer that is not empty holds the end
of the schedule up.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, NamedTuple, Protocol

from mmactors.engine.actor import PARKING, Actor, Keyed
from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step, StepTable, overlap
from mmactors.label import Mode

BUFFER_NAME: Final = "store buffer of "
"""How the names of buffers begin."""


class Store(NamedTuple):
    """One store that others do not see yet."""

    name: str
    """The object that it changes."""
    apply: Callable[[], object]
    value: Any = None
    """What its own CPU sees there."""


class Buffering(Protocol):
    """What a store buffer needs of the engine (`SearchEngine`)."""

    objects: dict[str, Keyed]
    parked: Step
    detour: bool
    has_daemons: bool

    @property
    def steps(self) -> StepTable:
        """All steps by what they are called and touch."""

    @property
    def current(self) -> Actor:
        """The actor that runs."""

    def spawn(self, name: str, coro: Coroutine[Any, Any, Any], /) -> SearchActor:
        """Make an actor of a coroutine."""

    def hold(self, number: int) -> None:
        """Note that `number` more (or fewer) things have to happen before all is over."""

    def touch(self, name: str, mode: Mode) -> None:
        """Let the running step touch what it has not declared."""

    async def take_interrupts(self, step: Step) -> None:
        """Take the interrupts of the running actor's CPU, then wait for the turn to do `step`."""


def buffer_name(actor: Actor) -> str:
    """Return how the buffer is called that takes an actor's stores."""
    return BUFFER_NAME + (actor.name if actor.cpu is None else actor.cpu.name)


class StoreBuffer:
    """The stores of one CPU that are not in memory yet."""

    def __init__(self, engine: Buffering, name: str) -> None:
        self.name: Final = name
        self._engine: Final = engine
        self._stores: Final[deque[Store]] = deque()
        self._fence: Final = engine.steps.of("mfence", ((name, Mode.READ),))
        engine.objects[name] = self
        had_daemons = engine.has_daemons
        drain = engine.spawn(name, self._drain())
        drain.daemon = False  # It does what an actor has done: it never comes too late.
        drain.serves = True
        engine.has_daemons = had_daemons

    def key(self) -> Hashable:
        """Return what waits, oldest first."""
        return tuple((store.name, store.value) for store in self._stores)

    def held(self) -> tuple[object, ...]:
        """Return the values that wait, for who looks at whether they are changed in place."""
        return tuple(store.value for store in self._stores)

    def show(self) -> str:
        """Return what waits, oldest first."""
        return ", ".join(f"{store.name} = {store.value!r}" for store in self._stores) or "empty"

    def describe(self) -> str:
        """Say what is waited for."""
        return f"{self.name} to be empty"

    def is_empty(self) -> bool:
        """Return whether all stores are in memory."""
        return not self._stores

    def push(self, name: str, apply: Callable[[], object], value: Any = None) -> None:
        """Store, behind all stores before; a part of the running step."""
        if not self._stores:
            self._engine.hold(1)
        self._stores.append(Store(name, apply, value))
        self._engine.touch(self.name, Mode.ADD)

    def newest(self, name: str) -> Store | None:
        """Return the last store to an object, which its own CPU sees."""
        return next((store for store in reversed(self._stores) if store.name == name), None)

    def has_stores(self, name: str) -> bool:
        """Return whether stores to an object wait, or to a part of it, or to what it is part of."""
        return any(overlap(store.name, name) for store in self._stores)

    def nr_stores(self, name: str) -> int:
        """Return how many stores to an object wait."""
        return sum(store.name == name for store in self._stores)

    def flush(self) -> None:
        """Let all stores be seen now, as a part of the running step."""
        if not self._stores:
            return
        while self._stores:
            store = self._stores.popleft()
            self._engine.touch(store.name, Mode.WRITE)
            store.apply()
        self._engine.touch(self.name, Mode.WRITE)
        self._engine.hold(-1)

    async def fence(self) -> None:
        """Wait until the buffer is empty (mfence)."""
        engine = self._engine
        actor: Any = engine.current
        actor.gate = self.is_empty
        engine.parked = self._fence
        await PARKING
        if engine.detour:
            await engine.take_interrupts(self._fence)
        actor.gate = None

    async def _drain(self) -> None:
        engine = self._engine
        actor: Any = engine.current
        drain = engine.steps.of(f"drain {self.name}", ((self.name, Mode.ADD),))
        while True:
            actor.branch = self._oldest
            engine.parked = drain
            await PARKING
            self._stores.popleft().apply()
            if not self._stores:
                engine.hold(-1)

    def _oldest(self) -> list[tuple[int, Step]]:
        if not self._stores:
            return []
        name = self._stores[0].name
        touches = ((name, Mode.WRITE), (self.name, Mode.ADD))  # It commutes with pushing.
        return [(0, self._engine.steps.of(f"drain {name}", touches))]


class Stored:
    """What somebody waits for who reads what no buffer can forward."""

    def __init__(self, buffer: StoreBuffer, names: tuple[str, ...]) -> None:
        self._buffer: Final = buffer
        self._names: Final = names

    def is_open(self) -> bool:
        """Return whether memory holds what this CPU has stored there."""
        return not any(map(self._buffer.has_stores, self._names))

    def describe(self) -> str:
        """Say what is waited for."""
        return f"the stores of {self._buffer.name} to {', '.join(self._names)}"
