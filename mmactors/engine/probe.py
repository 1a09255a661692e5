"""The probe: numbers and stamps what happened, and hands it to a sink.

Sinks never feed back into the machine. The last events are kept for reports of crashes and
deadlocks.
"""

from collections import deque
from typing import Final, Protocol

from mmactors.engine.baton import Engine
from mmactors.events import Event, event_fields

NR_KEPT: Final = 20


class EventSink(Protocol):
    """Takes events with who, where and when."""

    def record(
        self, event: Event, *, seq: int, t_ns: int, actor: str, cpu: int | None, pid: int | None
    ) -> None:
        """Take one event; `seq` counts from 1."""


class EngineProbe:
    """Stamps events with the running actor's name, place and time."""

    def __init__(self, engine: Engine, sink: EventSink | None) -> None:
        self.on: bool = sink is not None
        self.nr_events = 0
        self._engine: Final = engine
        self._sink: Final = sink
        self._kept: Final[deque[tuple[int, str, Event]]] = deque(maxlen=NR_KEPT)
        if sink is not None:
            engine.recent_events = self.recent

    def emit(self, event: Event) -> None:
        """Record that `event` happened now, to the actor that runs now."""
        actor = self._engine.running
        sink = self._sink
        assert actor is not None, f"{event.name} happened while no actor runs"
        assert sink is not None, f"{event.name} was made although nobody listens"
        self.nr_events = seq = self.nr_events + 1
        t_ns = actor.clock.now
        self._kept.append((t_ns, actor.name, event))
        cpu = actor.cpu
        sink.record(
            event,
            seq=seq,
            t_ns=t_ns,
            actor=actor.name,
            cpu=None if cpu is None else cpu.index,
            pid=actor.pid,
        )

    def recent(self) -> list[str]:
        """Return the last events, one line each."""
        return [f"t={t_ns} ns {actor}: {_text(event)}" for t_ns, actor, event in self._kept]


def _text(event: Event) -> str:
    fields = (f"{name}={getattr(event, name)}" for name in event_fields(type(event)))
    return " ".join([event.name, *fields])
