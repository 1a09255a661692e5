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

import re
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, ClassVar, Final, TypeVar, cast

from attrs import define

from mmactors.engine.actor import NEVER, PARKING, Actor, Awaited, Clock, Keyed, Processor, Waitable
from mmactors.engine.baton import Engine
from mmactors.engine.chance import STORE_IS_LATE, WAKE_UP_IS_SPURIOUS, Sleepers
from mmactors.engine.config import EngineConfig
from mmactors.engine.schedule import SEPARATOR
from mmactors.explore.engine.search_actor import START, SearchActor, abandon, unending
from mmactors.explore.engine.spurious import SPURIOUS, SpuriousWakeUps
from mmactors.explore.engine.step import Step, StepTable
from mmactors.explore.engine.store_buffer import BUFFER_NAME, StoreBuffer, Stored, buffer_name
from mmactors.explore.engine.virtual_time import TIME, VirtualTime, is_asked_by_a_test
from mmactors.label import Label, Mode

MAX_ACTORS: Final = 64
INTERRUPT: Final = 1 << 20
"""The option of an actor that takes the interrupts of its CPU before it goes on."""


@define(eq=False)
class _NotOnCpu:
    """What a thread waits for that no CPU has run yet."""

    def describe(self) -> str:
        return "its CPU"


_NOT_ON_CPU: Final = _NotOnCpu()
NOTHING_HAPPENS: Final = ": no"
"""How the label of a choice ends by which nothing happens: reports pass over it."""
OFFENCE: Final = "what no actor may catch"
_ADDRESS: Final = re.compile(" at 0x[0-9a-f]+")
"""What differs from schedule to schedule and says nothing."""
T = TypeVar("T")


class SearchEngine(Engine):
    """The baton is given by whoever holds this engine."""

    is_exploring: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__(EngineConfig(quantum_ns=0, driver="inline"))
        self.steps: Final = StepTable()
        self.clock: Final = VirtualTime(self.read_time)
        """The clock of all actors that run on no CPU."""
        self.is_timed = False
        """An actor has read the clock, in this schedule or in one before."""
        self.parked: Step = START
        """What the actor that parked last will do next."""
        self.detour = False
        """The actor that gets the baton takes interrupts first."""
        self.ahead = 0
        """So many more steps the running actor may pass without giving back the baton."""
        self.nr_labels = 0
        """How many steps with a label anybody stood before."""
        self.chosen = 0
        """In which way the actor that gets the baton takes its step."""
        self.has_daemons = False
        """There are actors whose steps may come too late."""
        self.is_preempting = False
        """The options of the actor that chooses are to go on, and to be preempted."""
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
        self.registered: Final[dict[str, Keyed]] = {}
        """Locks and mailboxes by name, the latest of each."""
        self.combined: Final[dict[Any, Step]] = {}
        """Steps on several objects, by what they are called and touch."""
        self.allowed: dict[str, int] = {}
        """What may still happen by itself in this schedule, and how often."""
        self.buffers: Final[dict[str, StoreBuffer]] = {}
        """What each CPU, or actor, has stored and others do not see yet."""
        self._spurious: Final = SpuriousWakeUps(self)
        self._pool: Final[list[SearchActor]] = []
        self.offence: Exception | None = None
        """The first error that no actor may catch, once there is one in this schedule."""
        self._is_guarding: Final = self.guard.on

    def reset(self) -> None:
        """Be a new engine, as far as actors can tell."""
        self.running = None
        for actor in self.party:
            if not actor.finished:
                actor.finished = True
                try:
                    actor.coro.close()
                except Exception:  # noqa: BLE001 - whatever its end raises, it is to end
                    if not abandon(actor.coro):
                        raise unending(actor) from None
        self.offence = None
        self.actors.clear()
        self._names.clear()
        self._nr_unfinished = 0
        self.objects.clear()
        self.extra.clear()
        self.woken.clear()
        self.failure = None
        self.clock.at = 0
        self.detour = False
        self.is_preempting = False
        self.nr_choosing = 0
        self.observed = None
        if self.allowed:
            self.allowed.clear()
            self.buffers.clear()
            self._spurious.clear()
        self.has_daemons = False
        self.limit = -1
        if self.messages:
            self.messages.clear()

    def note_offence(self, error: Exception) -> None:
        """Remember an error that ends the schedule, whoever catches it."""
        if self.running is not None and self.offence is None:
            self.offence = error
            self.extra.append((OFFENCE, Mode.WRITE))  # Who looks at what was touched looks here.

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
            if (
                self.allowed
                and STORE_IS_LATE in self.allowed
                and not name.startswith((BUFFER_NAME, SPURIOUS))
            ):
                self.buffer_of(actor)
        else:
            actor.waits_for = _NOT_ON_CPU
        return actor

    def is_over(self) -> bool:
        """Return whether all actors that are no daemons have ended."""
        return self._nr_unfinished == 0

    def is_last(self) -> bool:
        """Return whether one actor that is no daemon has not ended."""
        return self._nr_unfinished == 1

    # -- what actors call ------------------------------------------------------------------------

    def refresh_limit(self) -> None:
        """Do nothing: the limit is always in the past."""

    def make_ready(self, actor: Actor, time_ns: int) -> None:
        """Let an actor that waits go on; its clock will show at least `time_ns`."""
        assert isinstance(actor, SearchActor), f"{actor} is no actor of this search"
        cpu = actor.cpu
        if self.buffers:
            self._flush(cpu)
        if cpu is not None:
            self.extra.append((cpu.name, Mode.WRITE))
            if actor is cpu.idle and time_ns == cpu.interrupt_ns:
                return  # Taking the interrupt is a choice of its own.
        if actor.ready_at is None or time_ns < actor.ready_at:
            actor.ready_at = time_ns
        self.woken.append(actor)

    def next_send_order(self, to: str) -> int:
        """Return a number that orders what is sent to `to`; the running step touches that."""
        if self.buffers:
            self._flush()
        self.extra.append((to, Mode.WRITE))
        return super().next_send_order(to)

    def _flush(self, to: Processor | None = None) -> None:
        """Let others see all that this CPU has stored before they wake or have a message."""
        running = self.running
        if running is not None and (to is None or to is not running.cpu):
            buffer = self.buffers.get(buffer_name(running))
            if buffer is not None:
                buffer.flush()

    def register(self, name: str, thing: Keyed) -> None:
        """Keep the object, for who looks for it by name."""
        self.registered[name] = thing

    def touch(self, name: str, mode: Mode) -> None:
        """Let the running step touch what it has not declared."""
        self.extra.append((name, mode))

    def observe(self, value: Hashable) -> None:
        """Let what the running actor saw be a part of its history."""
        self.observed = (self.observed, value) if self.observed is not None else value

    # -- what may happen by itself ---------------------------------------------------------------

    def allow(self, what: str, times: int) -> None:
        """Let something happen by itself, at most so often in a schedule."""
        self.allowed[what] = times
        if what == WAKE_UP_IS_SPURIOUS:
            self.spawn(SPURIOUS, self._spurious.run())

    async def may(self, what: str, about: object = None) -> bool:  # noqa: ARG002 - a choice
        """Return whether `what` happens now: a choice, if the world allows it and some are left."""
        allowed = self.allowed
        if not allowed.get(what):
            return False

        steps = self._options(what, (False, True))
        # Others may have been faster.
        await self._choose(what, lambda: steps if allowed[what] else steps[:1])
        if not self.chosen:
            return False
        allowed[what] -= 1
        return True

    async def choose(self, what: str, options: Sequence[T]) -> T:
        """Return one of `options`; the search tries them all. The first is the ordinary one."""
        assert options, f"{what}: nothing to choose from"
        steps = self._options(what, options)
        await self._choose(what, lambda: steps)
        return options[self.chosen]

    async def is_preempted(self, what: str) -> bool:
        """Return whether the running thread is preempted; the search tries both.

        It leaves an actor that could go on, and counts as such.
        """
        self.is_preempting = True
        is_preempted = await self.choose(what, (False, True))
        self.is_preempting = False
        return is_preempted

    def _options(self, what: str, options: Sequence[object]) -> list[tuple[int, Step]]:
        """Return the steps of all options; position tells them apart where texts do not."""
        texts = [_ADDRESS.sub("", _option_text(what, option)) for option in options]
        if len(set(texts)) < len(texts):
            texts = [f"{text} (option {at})" for at, text in enumerate(texts, 1)]
        return [(at, self.steps.of(text, ())) for at, text in enumerate(texts)]

    async def _choose(self, what: str, ways: Callable[[], Sequence[tuple[int, Step]]]) -> None:
        """Let the search choose; nobody else has a turn before it has."""
        actor = cast("SearchActor", self.current)
        actor.branch = ways
        self.parked = self.steps.of(f"choose {what}", ())
        self.nr_choosing += 1
        await PARKING
        self.nr_choosing -= 1
        actor.branch = None

    def store(self, name: str, apply: Callable[[], object]) -> None:
        """Do a store at once, or put it into the store buffer if stores may be late."""
        if STORE_IS_LATE in self.allowed:
            self.buffer_of(self.current).push(name, apply)
        else:
            apply()

    async def fence(self) -> None:
        """Wait until others see all that this CPU has stored."""
        buffer = self.buffers.get(buffer_name(self.current))
        if buffer is not None:
            await buffer.fence()

    def buffer_of(self, actor: Actor) -> StoreBuffer:
        """Return the store buffer of an actor, or of the CPU it runs on."""
        name = buffer_name(actor)
        buffer = self.buffers.get(name)
        if buffer is None:
            buffer = self.buffers[name] = StoreBuffer(self, name)
        return buffer

    def hold(self, number: int) -> None:
        """Note that `number` more (or fewer) things have to happen before all is over."""
        self._nr_unfinished += number

    def sleeping(self, queue: Sleepers) -> None:
        """Let a spurious wake-up end the sleep of somebody in `queue`, if those are allowed."""
        if WAKE_UP_IS_SPURIOUS not in self.allowed:
            return
        self._spurious.note(queue)

    async def spend(self, ns: int) -> None:
        """Let time pass; nobody else gets a turn for that."""
        self.spend_nowait(ns)

    def spend_nowait(self, ns: int) -> bool:
        """Let time pass; return that it has."""
        actor = self.current
        actor.clock.now += ns
        if self.is_timed:
            # A CPU's clock follows the others: what it shows depends on who went first.
            self.extra.append((TIME, Mode.ADD if actor.cpu is None else Mode.WRITE))
        return True

    @property
    def now_ns(self) -> int:
        """The present time; reading it is a part of the running step."""
        if is_asked_by_a_test(1):
            self.read_time()
        return self.clock.at if self.running is None else super().now_ns

    def read_time(self) -> int:
        """Return the time, as something that the running actor sees."""
        if self.running is not None:
            self.is_timed = True
            self.extra.append((TIME, Mode.READ))
        return self.clock.at

    def wants_step(self) -> bool:
        """Return that each step asks for its turn."""
        return True

    async def step(self, label: Label) -> None:
        """Wait for the turn to do what `label` says."""
        if self.ahead:
            self.ahead -= 1
            return
        step = self.steps.of(label.text, label.touches)
        if self.buffers:
            actor = cast("SearchActor", self.running)
            buffer = self.buffer_of(actor)
            # What is no cell is locked, and a load of it finds no store in the buffer.
            actor.gate = Stored(buffer, step.looks).is_open if step.is_look else buffer.is_empty
        self.parked = step
        self.nr_labels += 1
        await PARKING
        if self.detour:
            await self.take_interrupts(step)
        if self.buffers:
            cast("SearchActor", self.running).gate = None
        if self._is_guarding:
            self.guard.begin(self.current, label)

    async def take_interrupts(self, step: Step) -> None:
        """Take the interrupts of the running actor's CPU, then wait for the turn to do `step`."""
        actor = cast("SearchActor", self.current)
        gate, branch = actor.gate, actor.branch
        while self.detour:
            self.detour = False
            cpu = actor.cpu
            assert cpu is not None, f"{self.running} has no CPU"
            actor.gate = actor.branch = None  # The handler does not wait for what its thread does.
            await cpu.take_interrupts()
            actor.gate, actor.branch = gate, branch
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


def _option_text(what: str, option: object) -> str:
    if option is True:
        return f"{what}: yes"
    return f"{what}{NOTHING_HAPPENS}" if option is False else f"{what}: {option}"
