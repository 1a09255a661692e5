"""The baton: exactly one actor runs at a time, and the policy says who is next.

Theory of operation. An actor runs until it parks. Before it parks it either stands in the ready
set with the earliest time at which it could go on, or it has named what it waits for. The driver
then asks `pick` who gets the baton. `limit` is the time up to which the actor that runs now may go
on without asking: the earliest time of any other plus the quantum, cut by the next interrupt of
its CPU. An operation that ends within the limit costs no switch.

Invariants: one actor runs; virtual time is monotone per clock; an actor has at most one valid entry
in the ready set; whoever parks without such an entry has set `waits_for`.
"""

from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final

from attrs import frozen

from mmactors.engine.actor import NEVER, Actor, Clock, Waitable, park
from mmactors.engine.config import EngineConfig
from mmactors.engine.guard import Guard, Label
from mmactors.engine.policy import Policy, make_policy
from mmactors.engine.report import EngineError, StepBudgetExceeded, deadlock
from mmactors.engine.schedule import Recorder

_NR_RECENT: Final = 12


@frozen(kw_only=True)
class EngineStatistics:
    """What the engine did so far."""

    switches: int
    """How often the baton was given."""
    messages: dict[str, int]
    """Messages sent, by kind."""
    actors: int


class Engine:
    """Holds the baton, virtual time, and all actors of one machine."""

    def __init__(self, config: EngineConfig, *, policy: Policy | None = None) -> None:
        self.config: Final = config
        self.policy: Final = policy if policy is not None else make_policy(config)
        self.recorder: Final = Recorder()
        self.guard: Final = Guard(on=config.guard)
        self.messages: Final[Counter[str]] = Counter()
        self.actors: Final[list[Actor]] = []
        self.limit = -1
        """The running actor goes on without asking up to this time, in ns."""
        self.until_ns = NEVER
        """Nobody gets the baton for something later than this."""
        self.stop_requested = False
        self.failure: EngineError | None = None
        self._current: Actor | None = None
        self._names: set[str] = set()
        self._nr_unfinished = 0
        self._switches = 0
        self._send_order = 0

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

        A daemon serves others: the run is over when all actors that are none have ended.
        """
        assert name not in self._names, f"two actors are named {name}"
        self._names.add(name)
        actor = Actor(
            index=len(self.actors),
            name=name,
            coro=coro,
            clock=clock if clock is not None else Clock(),
            daemon=daemon,
            pid=pid,
        )
        self.actors.append(actor)
        self._nr_unfinished += not daemon
        if is_ready:
            self.policy.push(actor, actor.clock.now)
        if self._current is not None:
            self.refresh_limit()
        return actor

    @property
    def current(self) -> Actor:
        """The actor that runs."""
        assert self._current is not None, "no actor runs"
        return self._current

    @property
    def now_ns(self) -> int:
        """The virtual time of the actor that runs, or the latest of all when none does."""
        if self._current is not None:
            return self._current.clock.now
        return max((actor.clock.now for actor in self.actors), default=0)

    def statistics(self) -> EngineStatistics:
        """Return what was done so far."""
        return EngineStatistics(
            switches=self._switches, messages=dict(self.messages), actors=len(self.actors)
        )

    def recent(self) -> list[str]:
        """Return who got the baton last, for reports."""
        recorder = self.recorder
        names = recorder.schedule("").names
        return [names[entry] for entry in recorder.entries[-_NR_RECENT:]]

    def next_send_order(self) -> int:
        """Return a number that orders messages by when they were sent."""
        self._send_order += 1
        return self._send_order

    # -- who goes next: called by the driver -------------------------------------------------

    def pick(self) -> Actor | None:
        """Give the baton to who goes next; None: the run is over or has to pause."""
        self._current = None
        if self._nr_unfinished == 0 or self.stop_requested or self.failure is not None:
            return None
        policy = self.policy
        next_ns = policy.next_time_ns()
        if next_ns > self.until_ns:
            if next_ns == NEVER:
                self.failure = deadlock(self.now_ns, self.actors, self.recent())
            return None
        actor = policy.pop()
        assert actor is not None, "the ready set lost its earliest entry"
        self._switches += 1
        if self._switches > self.config.step_budget:
            self.failure = StepBudgetExceeded(
                f"more than {self.config.step_budget} switches at t={actor.clock.now} ns; "
                f"the last: {', '.join(self.recent())}; "
                "raise engine.step_budget if the run does make progress"
            )
            return None
        ready_at = actor.ready_at
        assert ready_at is not None, f"{actor.name} was picked but is not ready"
        clock = actor.clock
        clock.now = max(clock.now, ready_at)
        actor.ready_at = None
        actor.waits_for = None
        self.recorder.record(actor)
        self._current = actor
        self.refresh_limit()
        return actor

    def finish(self, actor: Actor) -> None:
        """Note that an actor's coroutine has returned."""
        actor.finished = True
        self._nr_unfinished -= not actor.daemon

    def fail(self, error: EngineError) -> None:
        """Stop the run with a report; the first one counts."""
        if self.failure is None:
            self.failure = error

    @property
    def is_complete(self) -> bool:
        """Whether all actors that are no daemons have ended."""
        return self._nr_unfinished == 0

    # -- what actors call ----------------------------------------------------------------------

    def refresh_limit(self) -> None:
        """Compute anew how far the running actor may go: what could come next has changed."""
        policy = self.policy
        next_ns = policy.next_time_ns()
        limit = next_ns if next_ns == NEVER else next_ns + policy.quantum_ns()
        actor = self._current
        if actor is not None and actor.cpu is not None:
            limit = min(limit, actor.cpu.next_interrupt_ns() - 1)
        self.limit = min(limit, self.until_ns)

    def make_ready(self, actor: Actor, time_ns: int) -> None:
        """Let an actor that waits go on at `time_ns`, but not before its own time."""
        ready_at = max(time_ns, actor.clock.now)
        if actor.ready_at is None or ready_at < actor.ready_at:
            self.policy.push(actor, ready_at)
            self.refresh_limit()

    async def spend(self, ns: int) -> None:
        """Let `ns` nanoseconds of the running actor's time pass.

        Interrupts of its CPU are taken inside, if they are enabled; the rest is spent afterwards.
        """
        if self.policy.draws_costs:
            ns = self.policy.cost_ns(ns)
        actor = self._current
        assert actor is not None, "only an actor spends time"
        clock = actor.clock
        end = clock.now + ns
        if end <= self.limit:
            clock.now = end
        else:
            await self._spend_beyond_limit(actor, end)

    async def _spend_beyond_limit(self, actor: Actor, end: int) -> None:
        clock = actor.clock
        while True:
            interrupt_ns = NEVER if actor.cpu is None else actor.cpu.next_interrupt_ns()
            stop = min(end, max(interrupt_ns, clock.now))
            actor.label = "spend"
            self.policy.push(actor, stop)
            await park()
            if actor.cpu is not None and actor.cpu.has_interrupt():
                begun = clock.now
                await actor.cpu.take_interrupts()
                end += clock.now - begun
            if clock.now >= end:
                return

    async def step(self, label: Label) -> None:
        """Wait for the turn to do what `label` says to shared state; then do it at once."""
        actor = self._current
        assert actor is not None, "only an actor takes steps"
        if actor.clock.now > self.limit:
            await self.pause(label.text)
        if self.guard.on:
            self.guard.begin(actor, label)

    async def pause(self, label: str) -> None:
        """Let those go first whose time has come; then take pending interrupts of this CPU."""
        actor = self._current
        assert actor is not None, "only an actor pauses"
        actor.label = label
        self.policy.push(actor, actor.clock.now)
        await park()
        if actor.cpu is not None and actor.cpu.has_interrupt():
            await actor.cpu.take_interrupts()

    async def wait(self, waitable: Waitable, label: str) -> None:
        """Park until somebody calls `make_ready`.

        The caller checks its condition again: an interrupt of its CPU also ends the wait.
        """
        actor = self._current
        assert actor is not None, "only an actor waits"
        actor.label = label
        actor.waits_for = waitable
        await park()
        if actor.cpu is not None and actor.cpu.has_interrupt():
            await actor.cpu.take_interrupts()
