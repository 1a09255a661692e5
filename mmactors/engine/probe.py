"""The probe: numbers and stamps what happened, and hands it to a sink, many events at a time.

Each event gets who, where, when, and what the actor was doing: `open` begins a call or a fault,
`close` ends it, and what is done on behalf of others is marked by whoever does it. Sinks never
feed back into the machine. The last events are kept for reports of crashes and deadlocks.
"""

from collections import deque
from collections.abc import Sequence
from itertools import chain
from typing import Final, Protocol

from mmactors.engine.actor import Actor, Processor
from mmactors.engine.baton import Engine
from mmactors.engine.lock.lock_observer import Observed
from mmactors.engine.trace.span import Span, Who
from mmactors.events import (
    ContentionBegin,
    ContentionEnd,
    Event,
    IpiHandled,
    IpiSend,
    SchedSwitch,
    SchedWakeupNew,
    SchedWaking,
    event_fields,
)
from mmactors.events.thread import DEFAULT_PRIO

NR_KEPT: Final = 20
NR_BATCHED: Final = 256
"""So many events are handed over at a time."""

Taken = tuple[int, int, Who, Span | None, int, Event]
"""An event with its number, from 1, its time in ns, who it happened to, what that one was doing,
and the number of its cause; 0: that of what was being done, if any."""


class EventSink(Protocol):
    """Takes events with who, where, when and why."""

    def take(self, taken: Sequence[Taken]) -> None:
        """Take some events, in the order of their numbers."""


class EngineProbe:
    """Stamps events with the running actor's name, place, time and doing."""

    def __init__(self, engine: Engine, sink: EventSink | None) -> None:
        self.on: bool = sink is not None
        self.nr_events = 0
        self._engine: Final = engine
        self._sink: Final = sink
        self._batch: list[Taken] = []
        self._kept: Final[deque[Taken]] = deque(maxlen=NR_KEPT)
        self._nr_ipis = 0
        if sink is not None:
            engine.recent_events = self.recent
            engine.tracer = self

    def emit(self, event: Event, cause: int = 0) -> int:
        """Record that `event` happened now, to the actor that runs now; return its number."""
        actor = self._engine.running
        assert actor is not None, f"{event.name} happened while no actor runs"
        assert self.on, f"{event.name} was made although nobody listens"
        who = actor.who
        if who is None or who.place is not actor.cpu:
            who = _stand(actor)
        self.nr_events = seq = self.nr_events + 1
        batch = self._batch
        batch.append((seq, actor.clock.now, who, actor.span, cause, event))
        if len(batch) >= NR_BATCHED:
            self.flush()
        return seq

    def emit_of(self, actor: Actor, event: Event, *, at_ns: int, cause: int = 0) -> int:
        """Record that `event` happened to an actor that does not run; return its number."""
        assert self.on, f"{event.name} was made although nobody listens"
        self.nr_events = seq = self.nr_events + 1
        self._batch.append((seq, at_ns, who_is(actor), actor.span, cause, event))
        if len(self._batch) >= NR_BATCHED:
            self.flush()
        return seq

    def open(self, event: Event) -> None:
        """Record that `event` happened now, and began what the running actor does next."""
        actor = self._engine.current
        outer = actor.span
        cause, behalf = 0, None
        if outer is not None:
            cause, behalf = outer.opener or outer.cause, outer.on_behalf_of
        span = Span(self.nr_events + 1, 0, behalf, outer, actor.clock.now)
        actor.span = span
        self.emit(event, cause)

    def close(self, event: Event) -> None:
        """Record that `event` happened now, and ended what `open` began."""
        actor = self._engine.current
        span = actor.span
        assert span is not None, f"{actor} ends with {event.name} what never began"
        self.emit(event)
        actor.span = span.outer

    def spent_ns(self) -> int:
        """Return how long the running actor has been doing what it does."""
        actor = self._engine.current
        assert actor.span is not None, f"{actor} does nothing"
        return actor.clock.now - actor.span.began_ns

    def flush(self) -> None:
        """Hand over what waits."""
        batch, self._batch = self._batch, []
        self._kept.extend(batch[-NR_KEPT:])
        if batch and self._sink is not None:
            self._sink.take(batch)

    def recent(self) -> list[str]:
        """Return the last events, one line each."""
        last = deque(chain(self._kept, self._batch), maxlen=NR_KEPT)
        return [f"t={t_ns} ns {who.actor}: {_text(event)}" for _, t_ns, who, _, _, event in last]

    # -- what the engine's parts report: engine/trace/tracer.py ------------------------------------

    def begin_contention(self, lock: Observed, holder: Actor | None, flags: int) -> int:
        """Record that the running actor begins to wait for a lock; return the event's number."""
        return self.emit(_contention(lock, holder, flags))

    def end_contention(self, lock: Observed, *, begun: int, wait_ns: int, ret: int = 0) -> None:
        """Record that the running actor has the lock, or has given up."""
        self.emit(ContentionEnd(lock=lock.name, ret=ret, wait_ns=wait_ns), begun)

    def contended(
        self, lock: Observed, waiter: Actor, holder: Actor | None, flags: int, *, wait_ns: int
    ) -> None:
        """Record that `waiter` has waited for what it has now, since its own present time."""
        began_ns = waiter.clock.now
        begun = self.emit_of(waiter, _contention(lock, holder, flags), at_ns=began_ns)
        end = ContentionEnd(lock=lock.name, ret=0, wait_ns=wait_ns)
        self.emit_of(waiter, end, at_ns=began_ns + wait_ns, cause=begun)

    def send_ipi(self, vector: str, targets: Sequence[Processor]) -> tuple[int, Span]:
        """Record that CPUs are interrupted; return the call's number, and what handlers do."""
        self._nr_ipis = number = self._nr_ipis + 1
        numbers = tuple(target.index for target in targets)
        seq = self.emit(IpiSend(id=number, vector=vector, targets=numbers))
        return number, Span(0, seq, who_is(self._engine.current))

    def ipi_handled(self, number: int, vector: str, ns: int) -> None:
        """Record that a CPU has done what it was interrupted for."""
        self.emit(IpiHandled(id=number, vector=vector, ns=ns))

    def on_behalf_of(self, actor: Actor) -> Span:
        """Return what somebody does that `actor` wants now."""
        doing = actor.span
        if doing is None:
            return Span(0, 0, who_is(actor))
        if doing.on_behalf_of is not None:
            return Span(0, doing.opener or doing.cause, doing.on_behalf_of)
        return Span(0, doing.opener, who_is(actor))

    def switch(self, cpu: Processor, then: Actor, *, state: int, at_ns: int) -> None:
        """Record that a CPU goes to another thread; it happens to the one that was there."""
        before = cpu.current
        event = SchedSwitch(
            prev_comm=_comm(cpu, before),
            prev_pid=before.tid or 0,
            prev_prio=DEFAULT_PRIO,
            prev_state=state,
            next_comm=_comm(cpu, then),
            next_pid=then.tid or 0,
            next_prio=DEFAULT_PRIO,
        )
        cause, then.woken_by = then.woken_by, 0
        self.emit_of(before, event, at_ns=at_ns, cause=cause)

    def waking(self, thread: Actor) -> None:
        """Record that the running actor wakes a thread."""
        thread.woken_by = self.emit(_wakeup(SchedWaking, thread))

    def woken_new(self, thread: Actor) -> None:
        """Record that a new thread may run; those that the machine begins with nobody has made."""
        if self._engine.running is not None:
            thread.woken_by = self.emit(_wakeup(SchedWakeupNew, thread))


def who_is(actor: Actor) -> Who:
    """Return who an actor is, and where it stands."""
    who = actor.who
    return _stand(actor) if who is None or who.place is not actor.cpu else who


def _stand(actor: Actor) -> Who:
    cpu = actor.cpu
    index = None if cpu is None else cpu.index
    actor.who = who = Who(actor.name, index, actor.pid, actor.tid, cpu)
    return who


def _contention(lock: Observed, holder: Actor | None, flags: int) -> ContentionBegin:
    return ContentionBegin(
        lock=lock.name,
        class_=lock.lock_class.name,
        holder=None if holder is None else holder.name,
        flags=flags,
    )


def _wakeup(kind: type[SchedWaking | SchedWakeupNew], thread: Actor) -> Event:
    cpu = thread.cpu
    assert cpu is not None, f"{thread.name} has no CPU to wake up on"
    return kind(comm=thread.name, task_pid=thread.tid or 0, prio=DEFAULT_PRIO, target_cpu=cpu.index)


def _comm(cpu: Processor, thread: Actor) -> str:
    """Return the name of a thread as the scheduler's tracepoints have it."""
    return f"swapper/{cpu.index}" if thread is cpu.idle else thread.name


def _text(event: Event) -> str:
    names = event_fields(type(event))
    fields = (f"{name}={getattr(event, attribute)}" for name, attribute in names.items())
    return " ".join([event.name, *fields])
