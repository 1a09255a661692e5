"""The edge to trio: how tasks outside the machine talk to the actors in it.

The machine moves only while somebody outside awaits it. `OutsideSender` is a trio send channel into
a mailbox: what it sends is stamped with the machine's time on arrival and moves nothing.
`OutsideSender.ask` and `OutsideReceiver.receive` move the machine until the answer, or a message,
is there. If several tasks wait, one of them moves the machine for all, and a task in `Edge.run`
moves it for them too.

Both ends keep trio's contract. A closed end raises ClosedResourceError, also in a task that waits
in it; an end whose other side is gone raises BrokenResourceError (send, tell) or, once its buffer
is empty, EndOfChannel (receive). The other side of a receiver are the actors, who send because
something was sent to them: while any sender into the machine is open, a receiver waits though the
machine stands still; when all that were made are closed and it stands still, the channel has ended.
Where none was ever made, nothing can come, and that is a deadlock. Whoever is cancelled has sent
nothing and taken nothing; only a request that `ask` has sent stays sent, its reply is dropped.

One outside task with a repeatable program gives a repeatable run. Several tasks make a run depend
on the order in which trio steps them: it is then no longer repeatable, and under replay the second
task is refused.
"""

from collections import deque
from inspect import CORO_CLOSED, getcoroutinestate
from typing import Any, Final, Generic, TypeVar
from weakref import WeakSet

import trio
from attrs import define, field

from mmactors.engine.actor import NEVER, Actor, Clock
from mmactors.engine.baton import Engine
from mmactors.engine.driver import Driver
from mmactors.engine.mailbox import Mailbox, Request
from mmactors.engine.report import Deadlock, EngineError, deadlock, describe_waiting
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


@define(eq=False)
class _Wait:
    """One task that waits in one channel."""

    channel: "OutsideSender[Any] | OutsideReceiver[Any]"
    awaited: "OutsideReply | OutsideReceiver[Any]"
    task: trio.lowlevel.Task = field(factory=trio.lowlevel.current_task)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    """Cancelled when the channel is closed."""


class Edge:
    """All that tasks outside one machine share."""

    def __init__(self, engine: Engine, driver: Driver) -> None:
        self.is_repeatable = True
        """Whether one outside task at most has talked to the machine."""
        self._engine: Final = engine
        self._driver: Final = driver
        self._moving: Final = trio.Lock()
        self._news: Final = trio.lowlevel.ParkingLot()
        """Where tasks wait while the machine stands still, until something happens outside."""
        self._waits: Final[list[_Wait]] = []
        self._open: Final[WeakSet[OutsideSender[Any]]] = WeakSet()
        """Senders that are not closed; one that is lost can send no more either."""
        self._inlets: Final[set[Mailbox[Any]]] = set()
        """Mailboxes that ever had a sender."""
        self._seen: Final[WeakSet[trio.lowlevel.Task]] = WeakSet()
        """Tasks that talked to the machine, moved it, or made a sender."""
        self._task: trio.lowlevel.Task | None = None
        coro = _nobody()
        coro.close()
        self._actor: Final = Actor(
            index=-1, name="outside", coro=coro, clock=Clock(), daemon=True, finished=True
        )
        engine.when_closed.append(self.tell_news)

    def sender(self, mailbox: Mailbox[M]) -> "OutsideSender[M]":
        """Return a channel into `mailbox`."""
        sender = OutsideSender(self, mailbox)
        self._open.add(sender)
        self._inlets.add(mailbox)
        self._seen.add(trio.lowlevel.current_task())
        return sender

    def receiver(self, name: str, *, capacity: int = 1 << 16) -> "OutsideReceiver[Any]":
        """Return a channel out of the machine, to which actors `tell`."""
        return OutsideReceiver(self, self._engine, name, capacity)

    def enter(self) -> Actor:
        """Note that the calling task talks to the machine now; return who stands for it."""
        task = trio.lowlevel.current_task()
        self._seen.add(task)
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

    def tell_news(self) -> None:
        """Let those look again who wait while the machine stands still."""
        self._news.unpark_all()

    def closed(self, channel: "OutsideSender[Any] | OutsideReceiver[Any]") -> None:
        """Note that one end was closed: who waits in it wakes, others may have ended."""
        if isinstance(channel, OutsideSender):
            self._open.discard(channel)
        for wait in self._waits:
            if wait.channel is channel:
                wait.scope.cancel()
        self.tell_news()

    async def run(self) -> None:
        """Move the machine to its end or its time, beside tasks that wait in channels."""
        engine = self._engine
        self._seen.add(trio.lowlevel.current_task())
        try:
            while True:
                async with self._moving:
                    await self._driver.run()
                    # What stops it else is a message for who waits outside.
                    is_over = engine.turn.is_cut or not engine.stop_requested
                if is_over:
                    return
        finally:
            self.tell_news()

    async def move_until(self, wait: _Wait) -> None:
        """Move the machine, or let another task move it, until `wait.awaited.at_ns` is set.

        Return too if the channel was closed meanwhile. Raise what says that it never will be set.
        """
        engine = self._engine
        awaited = wait.awaited
        self._waits.append(wait)
        engine.outside_waits.append(awaited)
        try:
            with wait.scope:
                while awaited.at_ns == NEVER:
                    if not await self._move_for(wait):
                        self._raise_if_over(wait)
                        await self._news.park()
        finally:
            self._waits.remove(wait)
            engine.outside_waits.remove(awaited)

    async def _move_for(self, wait: _Wait) -> bool:
        """Move the machine once; return whether anything came of it for anybody outside."""
        engine = self._engine
        async with self._moving:
            if wait.awaited.at_ns < NEVER:
                return True
            if engine.is_closed:
                return False
            engine.moves_for_outside = True
            try:
                await self._driver.run()
            finally:
                engine.moves_for_outside = False
            return engine.stop_requested

    def _raise_if_over(self, wait: _Wait) -> None:
        """Raise why `wait` is in vain though the machine stands still, unless it may yet end."""
        engine = self._engine
        is_receiver = isinstance(wait.channel, OutsideReceiver)
        if engine.is_closed:
            raise trio.EndOfChannel if is_receiver else trio.BrokenResourceError
        if is_receiver:
            if self._open:
                return
            if self._inlets and engine.is_stuck and self._only_inlets_are_awaited():
                raise trio.EndOfChannel
        if self._may_somebody_act() and not (is_receiver and engine.is_stuck):
            return
        if engine.is_stuck:
            raise deadlock(engine.now_ns, engine.actors, engine.outside_waits, engine.recent())
        raise Deadlock(
            f"at t={engine.now_ns} ns the machine stands still, and a task outside waits for "
            f"{wait.awaited.describe()}; waiting inside:\n{describe_waiting(engine.actors)}"
        )

    def _only_inlets_are_awaited(self) -> bool:
        """Whether all who have not ended wait for what only closed senders could have sent."""
        return all(
            actor.finished or actor.daemon or actor.waits_for in self._inlets
            for actor in self._engine.actors
        )

    def _may_somebody_act(self) -> bool:
        """Whether a task that had to do with the machine lives and does not wait for it."""
        waiting = {wait.task for wait in self._waits}
        return any(
            task not in waiting and getcoroutinestate(task.coro) != CORO_CLOSED
            for task in self._seen
        )


class OutsideSender(trio.abc.SendChannel[M], Generic[M]):
    """A channel into a mailbox, for one outside task."""

    def __init__(self, edge: Edge, mailbox: Mailbox[M]) -> None:
        self._edge: Final = edge
        self._mailbox: Final = mailbox
        self._is_closed = False

    def send_nowait(self, message: M) -> None:
        """Put a message into the mailbox, stamped with the machine's time.

        Raise trio.ClosedResourceError if this end is closed, trio.BrokenResourceError if who read
        the mailbox has ended, MailboxFull if nobody moved the machine for too long.
        """
        self._must_be_open()
        self._mailbox.tell(message, sender=self._edge.enter())
        self._edge.tell_news()

    def _must_be_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError
        if not self._mailbox.may_be_read:
            raise trio.BrokenResourceError

    async def send(self, value: M) -> None:
        """Put a message into the mailbox; the machine does not move. Raise as `send_nowait`."""
        await trio.lowlevel.checkpoint()
        self.send_nowait(value)

    async def ask(self, body: Any) -> Any:
        """Send a request and move the machine until the reply is there.

        Raise as `send_nowait`, and Deadlock if the machine stands still without a reply and no
        other task that had to do with it is left to change that.
        """
        await trio.lowlevel.checkpoint()
        self._must_be_open()
        edge = self._edge
        actor = edge.enter()
        kind = type(body).__name__
        reply = OutsideReply(self._mailbox.engine, actor, kind, self._mailbox.name)
        request: Any = Request(body, reply)
        self._mailbox.tell(request, kind=kind, sender=actor)
        edge.tell_news()
        await edge.move_until(_Wait(self, reply))
        if self._is_closed:
            raise trio.ClosedResourceError
        return reply.value

    async def aclose(self) -> None:
        """Close this end, also for a task that waits in `ask`; the mailbox stays."""
        self._is_closed = True
        self._edge.closed(self)
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
        """Send a message out of the machine; called by actors.

        Raise trio.BrokenResourceError if the other end is closed.
        """
        if self._is_closed:
            raise trio.BrokenResourceError
        assert len(self._messages) < self._capacity, f"nobody receives from {self.name}"
        self._messages.append(message)
        self._engine.messages[type(message).__name__] += 1
        if self in self._engine.outside_waits:
            self._engine.stop_requested = True
            self._edge.tell_news()

    async def receive(self) -> M:
        """Return the next message; move the machine until there is one.

        Raise trio.ClosedResourceError if this end is closed, or is closed meanwhile;
        trio.EndOfChannel if no message is left and all senders into the machine are closed;
        Deadlock if there never was one and the machine stands still.
        """
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            raise trio.ClosedResourceError
        self._edge.enter()
        if not self._messages:
            await self._edge.move_until(_Wait(self, self))
            if self._is_closed:
                raise trio.ClosedResourceError
        return self._messages.popleft()

    def describe(self) -> str:
        """Say what is waited for."""
        return f"a message from {self.name}"

    async def aclose(self) -> None:
        """Close this end, also for tasks that wait in `receive`."""
        self._is_closed = True
        self._edge.closed(self)
        await trio.lowlevel.checkpoint()
