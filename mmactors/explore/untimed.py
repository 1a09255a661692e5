"""The engine without time: who goes next is decided by the search, at steps and nowhere else.

`SearchEngine` is an engine under which actors, cells, locks, mailboxes, CPUs and interrupts of
`mmactors.engine` run unchanged. It differs in four things:

- Nobody runs ahead: `limit` is always in the past, so that each operation asks for its turn.
- An actor that parks says with what `Step` it will go on; what it does from there to its next
  parking place belongs to that step.
- The clock is one, and shows the latest time that anybody reached. `spend` moves it and is never a
  choice. An interrupt that is pending may be taken at each step of its CPU, or later.
- Steps that touch nothing shared are no choice points: who was woken only to go on with local code
  goes on at once.

One engine serves all schedules of a search; `reset` makes it new.

Invariants: `parked` is set by whoever parks; an actor that is not finished has a pending step.
"""

from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, ClassVar, Final, Protocol, cast

from attrs import define

from mmactors.engine.actor import NEVER, PARKING, Actor, Awaited, Clock, Waitable
from mmactors.engine.baton import Engine
from mmactors.engine.config import EngineConfig
from mmactors.engine.guard import Label, Mode
from mmactors.engine.schedule import SEPARATOR
from mmactors.explore.step import Step, StepTable

MAX_ACTORS: Final = 64
INTERRUPT: Final = 1 << 20
"""The option of an actor that takes the interrupts of its CPU before it goes on."""


class Keyed(Protocol):
    """A shared object whose whole state can be named by a value."""

    def key(self) -> Hashable:
        """Return a value that is equal when the state is equal."""

    def show(self) -> str:
        """Return the state as text."""


@define(eq=False)
class _NotOnCpu:
    """What a thread waits for that no CPU has run yet."""

    def describe(self) -> str:
        return "its CPU"


_NOT_ON_CPU: Final = _NotOnCpu()
_START: Final = Step("start", ())


@define(eq=False, kw_only=True)
class SearchActor(Actor):
    """An actor, and what it is about to do."""

    pending: Step = _START
    gate: Callable[[], bool] | None = None
    """Tells whether the pending step can be taken now; None: always."""
    branch: Callable[[], Sequence[tuple[int, Step]]] | None = None
    """Returns the ways in which the pending step can be taken now; None: one."""
    history: int = 0
    """The number of all that the actor did and saw, in the table of the execution."""
    spins: int = 0
    """How often in a row it looked and saw the same."""
    saw: tuple[Step, Hashable] | None = None
    """Its last step and what that showed, if it only looked."""
    result: object = None
    """What the coroutine returned."""

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
        self.pending = _START
        self.gate = None
        self.branch = None
        self.history = 0
        self.spins = 0
        self.saw = None
        self.result = None

    def is_enabled(self) -> bool:
        """Return whether the pending step can be taken now."""
        waits_for = self.waits_for
        if waits_for is None:
            return self.gate is None or self.gate()
        at_ns = getattr(waits_for, "at_ns", None)
        if at_ns is None:
            return self.ready_at is not None
        return at_ns < NEVER and (self.cpu is None or self.cpu.current is self)

    def has_interrupt(self) -> bool:
        """Return whether the actor could take an interrupt before its pending step."""
        cpu = self.cpu
        return cpu is not None and cpu.interrupt_ns < NEVER and cpu.current is self


class SearchEngine(Engine):
    """The baton is given by whoever holds this engine."""

    is_exploring: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__(EngineConfig(quantum_ns=0, driver="inline"))
        self.steps: Final = StepTable()
        self.clock: Final = Clock()
        """The clock of all actors that run on no CPU."""
        self.parked: Step = _START
        """What the actor that parked last will do next."""
        self.detour = False
        """The actor that gets the baton takes interrupts first."""
        self.chosen = 0
        """In which way the actor that gets the baton takes its step."""
        self.has_daemons = False
        """There are actors whose steps may come too late."""
        self.nr_choosing = 0
        """How many actors wait for a choice that concerns nobody else."""
        self.extra: Final[list[tuple[str, Mode]]] = []
        """What the running step touched and had not declared."""
        self.observed: Hashable = None
        """What the running step saw and no label tells."""
        self.party: Final = cast("list[SearchActor]", self.actors)
        """All actors, as what they are here."""
        self.woken: Final[list[SearchActor]] = []
        """Who may have local code to go on with."""
        self.objects: dict[str, Keyed] = {}
        """Shared objects by name; a state can be named if all that is touched is in here.

        Who builds a world may put another dict here, one that makes objects when they are asked
        for (`__missing__`).
        """
        self.labels: Final[dict[str, Any]] = {}
        """The steps of locks by name, made once a search."""
        self.cells: Final[dict[str, Any]] = {}
        """Cells by name, made once a search."""
        self.combined: Final[dict[Any, Step]] = {}
        """Steps on several objects, by what they are called and touch."""
        self._pool: Final[list[SearchActor]] = []
        self._is_guarding: Final = self.guard.on

    def reset(self) -> None:
        """Be a new engine, as far as actors can tell."""
        for actor in self.actors:
            if not actor.finished:
                actor.finished = True
                actor.coro.close()
        self.actors.clear()
        self._names.clear()
        self._nr_unfinished = 0
        self.objects.clear()
        self.extra.clear()
        self.woken.clear()
        self.failure = None
        self.running = None
        self.clock.now = 0
        self.detour = False
        self.nr_choosing = 0
        self.observed = None
        self.has_daemons = False
        self.limit = -1
        if self.messages:
            self.messages.clear()

    # -- actors ----------------------------------------------------------------------------------

    def spawn(
        self,
        name: str,
        coro: Coroutine[Any, Any, Any],
        *,
        clock: Clock | None = None,
        daemon: bool = True,
        pid: int | None = None,
        is_ready: bool = True,
    ) -> SearchActor:
        """Make an actor of a coroutine."""
        assert name not in self._names, f"two actors are named {name}"
        assert SEPARATOR not in name, f"{name!r} contains {SEPARATOR!r}"
        actors = self.actors
        index = len(actors)
        assert index < MAX_ACTORS, f"more than {MAX_ACTORS} actors"
        self._names.add(name)
        pool = self._pool
        if clock is None and index < len(pool) and pool[index].name == name:
            actor = pool[index]
            actor.renew(coro, daemon=daemon, pid=pid)
        else:
            own_clock = self.clock if clock is None else clock
            actor = SearchActor(
                index=index, name=name, coro=coro, clock=own_clock, daemon=daemon, pid=pid
            )
            if clock is None:
                del pool[index:]
                if index == len(pool):
                    pool.append(actor)
        actors.append(actor)
        if daemon:
            self.has_daemons = True
        else:
            self._nr_unfinished += 1
        if is_ready:
            self.woken.append(actor)
        else:
            actor.waits_for = _NOT_ON_CPU
        return actor

    def is_over(self) -> bool:
        """Return whether all actors that are no daemons have ended."""
        return self._nr_unfinished == 0

    # -- what actors call ------------------------------------------------------------------------

    def refresh_limit(self) -> None:
        """Do nothing: the limit is always in the past."""

    def make_ready(self, actor: Actor, time_ns: int) -> None:
        """Let an actor that waits go on; its clock will show at least `time_ns`."""
        assert isinstance(actor, SearchActor), f"{actor} is no actor of this search"
        cpu = actor.cpu
        if cpu is not None:
            self.extra.append((cpu.name, Mode.WRITE))
            if actor is cpu.idle and time_ns == cpu.interrupt_ns:
                return  # Taking the interrupt is a choice of its own.
        if actor.ready_at is None or time_ns < actor.ready_at:
            actor.ready_at = time_ns
        self.woken.append(actor)

    def next_send_order(self, to: str) -> int:
        """Return a number that orders what is sent to `to`; the running step touches that."""
        self.extra.append((to, Mode.WRITE))
        return super().next_send_order(to)

    def touch(self, name: str, mode: Mode) -> None:
        """Let the running step touch what it has not declared."""
        self.extra.append((name, mode))

    def observe(self, value: Hashable) -> None:
        """Let what the running actor saw be a part of its history."""
        self.observed = (self.observed, value) if self.observed is not None else value

    async def spend(self, ns: int) -> None:
        """Let time pass; nobody else gets a turn for that."""
        self.spend_nowait(ns)

    def spend_nowait(self, ns: int) -> bool:
        """Let time pass; return that it has."""
        clock = self.current.clock
        clock.now += ns
        return True

    def wants_step(self) -> bool:
        """Return that each step asks for its turn."""
        return True

    async def step(self, label: Label) -> None:
        """Wait for the turn to do what `label` says."""
        step = self.steps.of(label.text, label.touches)
        self.parked = step
        await PARKING
        if self.detour:
            await self.take_interrupts(step)
        if self._is_guarding:
            self.guard.begin(self.current, label)

    async def take_interrupts(self, step: Step) -> None:
        """Take the interrupts of the running actor's CPU, then wait for the turn to do `step`."""
        while self.detour:
            self.detour = False
            cpu = self.current.cpu
            assert cpu is not None, f"{self.running} has no CPU"
            await cpu.take_interrupts()
            self.parked = step
            await PARKING

    async def pause(self, label: str) -> None:
        """Go on: only steps are choice points."""

    async def wait(self, waitable: Waitable, label: str) -> None:
        """Park until somebody calls `make_ready`, or an interrupt of this CPU was taken."""
        actor = self.current
        actor.waits_for = waitable
        self.parked = self._wait_step(actor, waitable, label)
        await PARKING
        if self.detour:
            self.detour = False
            cpu = actor.cpu
            assert cpu is not None, f"{actor} has no CPU"
            await cpu.take_interrupts()

    async def wait_for(self, awaited: Awaited, label: str) -> None:
        """Park until `awaited.at_ns` is set; interrupts may be taken meanwhile."""
        while awaited.at_ns == NEVER:
            await self.wait(awaited, label)
        clock = self.current.clock
        clock.now = max(clock.now, awaited.at_ns)

    def _wait_step(self, actor: Actor, waitable: Waitable, label: str) -> Step:
        """Return what an actor does that goes on after a wait."""
        name = getattr(waitable, "name", None)
        if getattr(waitable, "at_ns", None) is not None:
            return self.steps.of(label, ())  # What it waited for is its own.
        if name is None:
            name = actor.cpu.name if actor.cpu is not None else waitable.describe()
        return self.steps.of(f"{label} {name}", ((name, Mode.WRITE),))
