"""The edge to trio: how tasks outside the machine talk to the actors in it.

The machine moves only while somebody outside awaits it. `OutsideSender` is a trio send channel into
a mailbox: what it sends is stamped with the machine's time on arrival and moves nothing.
`OutsideSender.ask` and `OutsideReceiver.receive` move the machine until the answer, or a message,
is there. If several tasks wait, one of them moves the machine for all.

One outside task with a repeatable program gives a repeatable run. Several tasks make a run depend
on the order in which trio steps them: it is then no longer repeatable, and under replay the second
task is refused.
"""

from collections import deque
from typing import Any, Final, Generic, TypeVar

import trio
from attrs import define

from mmactors.engine.actor import NEVER, Actor, Clock, Waitable
from mmactors.engine.baton import Engine
from mmactors.engine.driver import Driver
from mmactors.engine.mailbox import Mailbox, Request
from mmactors.engine.report import Deadlock, EngineError, describe_waiting
from mmactors.engine.schedule import Replay

M = TypeVar("M")


class SecondOutsideTask(EngineError):  # noqa: N818 - says what happened
    """Two outside tasks talk to a machine that replays a schedule."""


async def _nobody() -> None:
    """Stand for the program of an outside task, which is not the engine's."""


@define(eq=False)
class OutsideReply:
    """The place where the answer to an outside task arrives."""

    engine: Engine
    asker: Actor
    """Stands for the outside task; it never runs."""
    request: str
    server: str
    at_ns: int = NEVER
    value: Any = None

    def send(self, value: Any, *, latency_ns: int = 0) -> None:
        """Answer, and let the machine stop for the outside task to take it."""
        assert self.at_ns == NEVER, f"{self.request} was answered twice"
        self.value = value
        self.at_ns = self.engine.current.clock.now + latency_ns
        if self in self.engine.outside_waits:
            self.engine.stop_requested = True

    def describe(self) -> str:
        """Say what is waited for."""
        return f"the reply to {self.request} from {self.server}"


class Edge:
    """All that tasks outside one machine share."""

    def __init__(self, engine: Engine, driver: Driver) -> None:
        self.is_repeatable = True
        """Whether one outside task at most has talked to the machine."""
        self._engine: Final = engine
        self._driver: Final = driver
        self._moving: Final = trio.Lock()
        self._task: trio.lowlevel.Task | None = None
        coro = _nobody()
        coro.close()
        self._actor: Final = Actor(
            index=-1, name="outside", coro=coro, clock=Clock(), daemon=True, finished=True
        )

    def sender(self, mailbox: Mailbox[M]) -> "OutsideSender[M]":
        """Return a channel into `mailbox`."""
        return OutsideSender(self, mailbox)

    def receiver(self, name: str, *, capacity: int = 1 << 16) -> "OutsideReceiver[Any]":
        """Return a channel out of the machine, to which actors `tell`."""
        return OutsideReceiver(self, self._engine, name, capacity)

    def enter(self) -> Actor:
        """Note that the calling task talks to the machine now; return who stands for it."""
        task = trio.lowlevel.current_task()
        if self._task is None:
            self._task = task
        elif self._task is not task:
            self.is_repeatable = False
            if isinstance(self._engine.policy, Replay):
                raise SecondOutsideTask(
                    f"tasks {self._task.name} and {task.name} both talk to a machine that replays "
                    "a schedule: their order is not in it; let one task talk for both"
                )
        actor = self._actor
        actor.clock.now = max(actor.clock.now, self._engine.now_ns)
        return actor

    async def move_until(self, awaited: "OutsideReply | OutsideReceiver[Any]") -> None:
        """Move the machine, or let another task move it, until `awaited.at_ns` is set."""
        engine = self._engine
        engine.outside_waits.append(awaited)
        try:
            while awaited.at_ns == NEVER:
                async with self._moving:
                    if awaited.at_ns == NEVER:
                        await self._driver.run()
                    if awaited.at_ns == NEVER and not engine.stop_requested:
                        raise self._stuck(awaited)
        finally:
            engine.outside_waits.remove(awaited)

    def _stuck(self, awaited: Waitable) -> Deadlock:
        engine = self._engine
        return Deadlock(
            f"at t={engine.now_ns} ns the machine stands still, and a task outside waits for "
            f"{awaited.describe()}; waiting inside:\n{describe_waiting(engine.actors)}"
        )


class OutsideSender(trio.abc.SendChannel[M], Generic[M]):
    """A channel into a mailbox, for one outside task."""

    def __init__(self, edge: Edge, mailbox: Mailbox[M]) -> None:
        self._edge: Final = edge
        self._mailbox: Final = mailbox
        self._is_closed = False

    def send_nowait(self, message: M) -> None:
        """Put a message into the mailbox, stamped with the machine's time."""
        if self._is_closed:
            raise trio.ClosedResourceError
        self._mailbox.tell(message, sender=self._edge.enter())

    async def send(self, value: M) -> None:
        """Put a message into the mailbox; the machine does not move."""
        await trio.lowlevel.checkpoint()
        self.send_nowait(value)

    async def ask(self, body: Any) -> Any:
        """Send a request and move the machine until the reply is there."""
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            raise trio.ClosedResourceError
        edge = self._edge
        actor = edge.enter()
        kind = type(body).__name__
        reply = OutsideReply(self._mailbox.engine, actor, kind, self._mailbox.name)
        request: Any = Request(body, reply)
        self._mailbox.tell(request, kind=kind, sender=actor)
        await edge.move_until(reply)
        return reply.value

    async def aclose(self) -> None:
        """Close this end; the mailbox stays."""
        self._is_closed = True
        await trio.lowlevel.checkpoint()


class OutsideReceiver(trio.abc.ReceiveChannel[M], Generic[M]):
    """A channel out of the machine: actors `tell`, one outside task receives."""

    def __init__(self, edge: Edge, engine: Engine, name: str, capacity: int) -> None:
        self.name: Final = name
        self._edge: Final = edge
        self._engine: Final = engine
        self._capacity: Final = capacity
        self._messages: Final[deque[M]] = deque()
        self._is_closed = False

    @property
    def at_ns(self) -> int:
        """NEVER while there is no message."""
        return self._engine.now_ns if self._messages else NEVER

    def tell(self, message: M) -> None:
        """Send a message out of the machine; called by actors."""
        assert len(self._messages) < self._capacity, f"nobody receives from {self.name}"
        self._messages.append(message)
        self._engine.messages[type(message).__name__] += 1
        if self in self._engine.outside_waits:
            self._engine.stop_requested = True

    async def receive(self) -> M:
        """Return the next message; move the machine until there is one."""
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            raise trio.ClosedResourceError
        self._edge.enter()
        if not self._messages:
            await self._edge.move_until(self)
        return self._messages.popleft()

    def describe(self) -> str:
        """Say what is waited for."""
        return f"a message from {self.name}"

    async def aclose(self) -> None:
        """Close this end."""
        self._is_closed = True
        await trio.lowlevel.checkpoint()
