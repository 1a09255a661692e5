"""The baton: exactly one actor runs at a time, and the policy says who is next.

Theory of operation. An actor runs until it parks. Before it parks it either stands in the ready
set with the earliest time at which it could go on, or it has named what it waits for. The driver
then asks `pick` who gets the baton. `limit` is the time up to which the actor that runs now may go
on without asking: the earliest time of any other plus the quantum, cut by the next interrupt of
its CPU. An operation that ends within the limit costs no switch.

With quantum 0 every step happens in the order of virtual time. With a larger one a CPU may run
ahead of the others by so much: what it does then is seen by them late, at its own time, if it is a
message, an interrupt or a lock, whose times are compared; a shared cell just has its newest value.

Pausing at a time changes nothing: an actor is stopped only where it would have parked anyway, even
if that is a quantum later.

Invariants: one actor runs; virtual time is monotone per clock; an actor has at most one valid entry
in the ready set; whoever parks without such an entry has set `waits_for`.
"""

from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar

from mmactors.engine.actor import (
    BREATHING,
    LAST_NS,
    NEVER,
    PARKING,
    Actor,
    Awaited,
    Clock,
    Keyed,
    Waitable,
    latest_ns,
)
from mmactors.engine.chance import Decider, Sleepers
from mmactors.engine.config import EngineConfig
from mmactors.engine.guard import Guard
from mmactors.engine.lock.lock_observer import LockObserver
from mmactors.engine.policy import Policy, make_policy
from mmactors.engine.report import (
    EngineError,
    EngineStatistics,
    StepBudgetExceeded,
    last_events,
    stuck,
)
from mmactors.engine.schedule import SEPARATOR, Recorder, Schedule
from mmactors.engine.trace.tracer import Tracer
from mmactors.engine.turn import Turn
from mmactors.label import Label, Mode

T = TypeVar("T")

_NR_RECENT: Final = 12
_ALONE_NS: Final = 10_000
"""How far an actor goes on without asking when nobody else is ready."""


class Engine:
    """Holds the baton, virtual time, and all actors of one machine."""

    decider: Decider | None = None
    """Who says what happens by itself; None: nothing does."""
    allowed: Mapping[str, int] = MappingProxyType({})
    """What may happen by itself, and how often (engine/chance.py)."""
    is_exploring: ClassVar[bool] = False
    """Every step is a choice point: actors do one access a step, and say what it touched."""

    def __init__(self, config: EngineConfig, *, policy: Policy | None = None) -> None:
        self.config: Final = config
        self.policy: Final = policy if policy is not None else make_policy(config)
        self.recorder: Final = Recorder()
        self.guard: Final = Guard(on=config.guard)
        self.messages: Final[Counter[str]] = Counter()
        self.actors: Final[list[Actor]] = []
        self.outside_waits: Final[list[Waitable]] = []
        """What tasks outside the machine wait for."""
        self.moves_for_outside = False
        """Who moves the machine waits for a message out of it, not for its end."""
        self.is_closed = False
        """The actors are gone; nothing will run here any more."""
        self.when_closed: Final[list[Callable[[], None]]] = []
        self.limit = -1
        """The running actor goes on without asking up to this time, in ns."""
        self.until_ns = NEVER
        """Nobody gets the baton for something later than this; who has it may run ahead of it."""
        self.stop_requested = False
        self.turn: Final = Turn()
        self.failure: EngineError | None = None
        self.recent_events: Callable[[], list[str]] | None = None
        """Names the last events for reports; without it, who got the baton last is named."""
        self.lock_observer: LockObserver | None = None
        """Told of everything that locks do; None: nobody watches."""
        self.tracer: Tracer | None = None
        """Told of waits, switches, wake-ups and interrupts; None: no events are recorded."""
        self.running: Actor | None = None
        """The actor that runs; `current` for callers that know that one does."""
        self._names: Final[set[str]] = set()
        self._nr_unfinished = 0
        self._switches = 0
        self._step_budget: Final = config.step_budget
        self._send_order = 0
        self._alone_ns: Final = max(_ALONE_NS, config.quantum_ns)
        self._record: Final = self.recorder.entries.append
        self._push: Final = self.policy.push
        self._is_guarded: Final = self.guard.on
        self._draws_costs: Final = self.policy.draws_costs

    # -- actors ------------------------------------------------------------------------------

    def spawn(
        self,
        name: str,
        coro: Coroutine[Any, Any, None],
        *,
        clock: Clock | None = None,
        daemon: bool = True,
        pid: int | None = None,
        is_ready: bool = True,
    ) -> Actor:
        """Make an actor of a coroutine; it gets the baton first at its clock's time.

        Without a clock it gets one of its own that shows the present time. A daemon serves others:
        the run is over when all actors that are none have ended.
        """
        assert name not in self._names, f"two actors are named {name}"
        assert SEPARATOR not in name, f"{name!r} contains {SEPARATOR!r}"
        self._names.add(name)
        if clock is None:
            clock = Clock(0 if self.running is None else self.running.clock.now)
        actor = Actor(
            index=len(self.actors), name=name, coro=coro, clock=clock, daemon=daemon, pid=pid
        )
        self.actors.append(actor)
        self._nr_unfinished += not daemon
        if is_ready:
            self.make_ready(actor, clock.now)
        return actor

    def keep_for(self, actor: Actor, *, is_busy: bool) -> None:
        """Let no run be over while a daemon is busy with what others have begun."""
        self._nr_unfinished += actor.daemon - (not is_busy)
        actor.daemon = not is_busy

    @property
    def current(self) -> Actor:
        """The actor that runs."""
        assert self.running is not None, "no actor runs"
        return self.running

    @property
    def cpu_index(self) -> int:
        """The CPU of who runs (smp_processor_id); before anybody does, the one that boots."""
        running = self.running
        return 0 if running is None or running.cpu is None else running.cpu.index

    @property
    def now_ns(self) -> int:
        """The virtual time of the actor that runs, or the latest of all when none does."""
        return latest_ns(self.actors) if self.running is None else self.running.clock.now

    def statistics(self) -> EngineStatistics:
        """Return what was done so far."""
        return EngineStatistics(
            switches=self._switches, messages=dict(self.messages), actors=len(self.actors)
        )

    def schedule(self, fingerprint: str) -> Schedule:
        """Return who got the baton so far, under the digest of what runs here."""
        return self.recorder.schedule(fingerprint, is_complete=self.is_complete)

    def recent(self) -> list[str]:
        """Return what happened last, for reports."""
        if self.recent_events is not None:
            return self.recent_events()
        return self.recorder.last(_NR_RECENT)

    def next_send_order(self, to: str) -> int:  # noqa: ARG002 - searches want to know
        """Return a number that orders what is sent to `to` by when it was sent."""
        self._send_order += 1
        return self._send_order

    # -- who goes next: called by the driver -------------------------------------------------

    def pick(self) -> Actor | None:
        """Give the baton to who goes next; None: the run is over or has to pause."""
        if (
            (self._nr_unfinished == 0 and not self.moves_for_outside)
            or self.stop_requested
            or self.failure is not None
        ):
            self.running = None
            return None
        if self._switches >= self._step_budget:
            self._give_up()
            return None
        policy = self.policy
        actor = policy.pop(self.until_ns)
        if actor is None:
            self.running = None
            if policy.next_ns >= NEVER and not self.moves_for_outside:
                self.failure = stuck(self.now_ns, self.actors, self.outside_waits, self.recent())
            return None
        self._switches += 1
        clock = actor.clock
        ready_at = actor.ready_at
        assert ready_at is not None, f"{actor} was picked but is not ready"
        if ready_at > clock.now:  # noqa: PLR1730 - faster than max()
            clock.now = ready_at
        actor.ready_at = None
        actor.waits_for = None
        entry = actor.entry_of_label.get(actor.label)
        self._record(self.recorder.new_entry(actor) if entry is None else entry)
        self.running = actor
        # refresh_limit(), without the call.
        limit = clock.now + self._alone_ns
        if policy.next_ns + policy.quantum_ns < limit:  # noqa: PLR1730 - faster than min()
            limit = policy.next_ns + policy.quantum_ns
        cpu = actor.cpu
        if cpu is not None and cpu.interrupt_ns <= limit:
            limit = cpu.interrupt_ns - 1
        self.limit = limit
        if self._is_guarded:
            self.guard.end()
        return actor

    def finish(self, actor: Actor) -> None:
        """Note that an actor's coroutine has returned."""
        actor.finished = True
        self._nr_unfinished -= not actor.daemon
        if actor.cpu is not None and actor.cpu.current is actor:
            actor.cpu.exit_thread()

    def fail(self, error: EngineError) -> None:
        """Stop the run with a report; the first one counts."""
        if self.failure is None:
            self.failure = error

    def _give_up(self) -> None:
        self.failure = StepBudgetExceeded(
            f"more than {self._step_budget} switches at t={self.now_ns} ns: "
            "perhaps nobody makes progress; raise engine.step_budget if somebody does\n"
            + last_events(self.recent())
        )
        self.running = None

    @property
    def is_complete(self) -> bool:
        """Whether all actors that are no daemons have ended."""
        return self._nr_unfinished == 0

    @property
    def is_stuck(self) -> bool:
        """Whether nobody can run at any time, unless a message comes from outside."""
        return self.policy.next_ns >= LAST_NS

    # -- what actors call ----------------------------------------------------------------------

    def refresh_limit(self) -> None:
        """Compute anew how far the running actor may go: what could come next has changed."""
        actor = self.running
        if actor is None:
            return
        policy = self.policy
        limit = min(actor.clock.now + self._alone_ns, policy.next_ns + policy.quantum_ns)
        if actor.cpu is not None:
            limit = min(limit, actor.cpu.interrupt_ns - 1)
        self.limit = limit

    def make_ready(self, actor: Actor, time_ns: int) -> None:
        """Let an actor that waits go on at `time_ns`, but not before its own time."""
        ready_at = actor.clock.now
        if time_ns > ready_at:  # noqa: PLR1730 - faster than max()
            ready_at = time_ns
        if actor.ready_at is None or ready_at < actor.ready_at:
            self._push(actor, ready_at)
            limit = ready_at + self.policy.quantum_ns
            if limit < self.limit:  # noqa: PLR1730 - faster than min()
                self.limit = limit

    async def spend(self, ns: int) -> None:
        """Let `ns` nanoseconds of the running actor's time pass.

        Interrupts of its CPU are taken inside, if they are enabled; the rest is spent afterwards.
        """
        if self._draws_costs:
            ns = self.policy.cost_ns(ns)
        actor = self.running
        assert actor is not None, "only an actor spends time"
        clock = actor.clock
        end = clock.now + ns
        if end <= self.limit:
            clock.now = end
            return
        cpu = actor.cpu
        actor.label = "spend"
        if cpu is None or cpu.interrupt_ns > end:
            self._push(actor, end)
            await PARKING
            if cpu is None or (clock.now == end and cpu.interrupt_ns > end):
                return
        await self._spend_interrupted(actor, end)

    async def _spend_interrupted(self, actor: Actor, end: int) -> None:
        """Spend until `end`, which every interrupt taken meanwhile puts off by its length."""
        clock = actor.clock
        cpu = actor.cpu
        assert cpu is not None, f"{actor} has no CPU that could be interrupted"
        while True:
            if cpu.interrupt_ns <= clock.now:
                began_ns = clock.now
                await cpu.take_interrupts()
                end += clock.now - began_ns
            elif clock.now >= end:
                return
            actor.label = "spend"
            self._push(actor, min(end, max(cpu.interrupt_ns, clock.now)))
            await PARKING

    def spend_nowait(self, ns: int) -> bool:
        """Let `ns` nanoseconds pass if that needs no switch; return whether they have passed."""
        actor = self.running
        assert actor is not None, "only an actor spends time"
        clock = actor.clock
        end = clock.now + ns
        if end > self.limit or self._draws_costs:
            return False
        clock.now = end
        return True

    def may_spend(self, ns: int) -> bool:
        """Whether `spend_nowait` would let `ns` nanoseconds pass."""
        actor = self.running
        assert actor is not None, "only an actor spends time"
        return actor.clock.now + ns <= self.limit and not self._draws_costs

    async def breathe(self) -> None:
        """Let others have the host's thread; asked for when the turn is over (engine/turn.py).

        To the machine it is nothing at all. The run may be cancelled here and go on here later, so
        the place is one between two operations or accesses, where whoever looks finds order.
        """
        await BREATHING

    def wants_step(self) -> bool:
        """Whether `step` has something to do; asking first saves a coroutine."""
        actor = self.running
        assert actor is not None, "only an actor takes steps"
        return actor.clock.now > self.limit or self.guard.on

    async def step(self, label: Label) -> None:
        """Wait for the turn to do what `label` says to shared state; then do it at once."""
        actor = self.running
        assert actor is not None, "only an actor takes steps"
        if actor.clock.now > self.limit:
            await self.pause(label.text)
        if self.guard.on:
            self.guard.begin(actor, label)

    def register(self, name: str, thing: Keyed) -> None:
        """Say that a shared object exists; asked for while exploring."""

    def touch(self, name: str, mode: Mode) -> None:
        """Say what the running step touched and could not declare; asked for while exploring."""

    def observe(self, value: Hashable) -> None:
        """Say what the running step saw and no label tells; asked for while exploring."""

    # -- what may happen by itself: engine/chance.py -----------------------------------------------

    def decide_by(self, decider: Decider) -> None:
        """Let `decider` say from now on what happens by itself."""
        self.decider, self.allowed = decider, decider.wants

    async def may(self, what: str, about: object = None) -> bool:
        """Return whether `what` happens now; ask only if anything is `allowed`."""
        return self.decider is not None and self.decider.happens(what, about)

    def late_ns(self, what: str, about: object) -> int:
        """Return by how much `what` comes later than usual, in ns; ask as for `may`."""
        return 0 if self.decider is None else self.decider.late_ns(what, about)

    async def choose(self, what: str, options: Sequence[T]) -> T:  # noqa: ARG002
        """Return one of `options`, here the first: the ordinary one."""
        return options[0]

    async def is_preempted(self, what: str) -> bool:  # noqa: ARG002
        """Return whether the running thread is preempted now, by `what`; here it never is."""
        return False

    def store(self, name: str, apply: Callable[[], object]) -> None:  # noqa: ARG002
        """Do a plain store to the object `name`: at once, or late if stores may be.

        The running step declares it. Only cells of a world forward it to the CPU that stored it.
        """
        apply()

    async def fence(self) -> None:
        """Wait until others see what this CPU has stored (smp_mb, locked operations): at once."""

    def sleeping(self, queue: Sleepers) -> None:
        """Say that an actor sleeps in `queue`; asked for while exploring, or as for `may`."""
        if self.decider is not None:
            self.decider.sleeping(queue)

    async def pause(self, label: str) -> None:
        """Let those go first whose time has come; take pending interrupts of this CPU."""
        actor = self.running
        assert actor is not None, "only an actor pauses"
        cpu = actor.cpu
        while True:
            actor.label = label
            self._push(actor, actor.clock.now)
            await PARKING
            if cpu is None or cpu.interrupt_ns > actor.clock.now:
                return
            await cpu.take_interrupts()  # Time has passed: others may be due again.

    async def wait(self, waitable: Waitable, label: str) -> None:
        """Park until somebody calls `make_ready`.

        The caller checks its condition again: an interrupt of its CPU also ends the wait.
        """
        actor = self.running
        assert actor is not None, "only an actor waits"
        cpu = actor.cpu
        if cpu is not None and cpu.current is actor and cpu.interrupt_ns < NEVER:
            self.make_ready(actor, cpu.interrupt_ns)
        actor.label = label
        actor.waits_for = waitable
        await PARKING
        cpu = actor.cpu
        if cpu is not None and cpu.interrupt_ns <= actor.clock.now:
            await cpu.take_interrupts()

    async def wait_for(self, awaited: Awaited, label: str) -> None:
        """Spin until the running actor's time reaches `awaited.at_ns`, which others set.

        Who sets it calls `make_ready` too. Interrupts are taken meanwhile, if they are enabled.
        """
        actor = self.running
        assert actor is not None, "only an actor waits"
        clock = actor.clock
        while clock.now < awaited.at_ns:
            if awaited.at_ns < NEVER:
                self.make_ready(actor, awaited.at_ns)
            await self.wait(awaited, label)
