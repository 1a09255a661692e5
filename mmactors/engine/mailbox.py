"""Mailboxes: how actors talk. `tell` sends and goes on, `ask` sends and waits, `receive` takes.

Messages of one sender to one mailbox arrive in the order in which they were sent. Queueing in the
mailbox of a serving actor is contention on the structure it serves; its service time is hold time.
A mailbox that stands for a lock has the lock's class: asking it is taking a spinlock, and having
the answer is giving it back.
"""

from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from attrs import define

from mmactors.engine.actor import NEVER, Actor
from mmactors.engine.baton import Engine
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold, StandIn
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.engine.report import EngineError

M = TypeVar("M")
R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


class MailboxFull(EngineError):  # noqa: N818 - says what happened
    """More messages wait than the mailbox's bound allows: somebody sends without end."""

    may_be_caught: ClassVar[bool] = True


class AskInInterrupt(EngineError):  # noqa: N818 - says what happened
    """An interrupt handler asked somebody and would have waited for the reply."""


@define(eq=False)
class Reply(Generic[R]):
    """The place where the answer to one request arrives."""

    engine: Engine
    asker: Actor
    request: str
    server: str
    at_ns: int = NEVER
    """When the answer is there for the asker."""
    value: R | None = None

    def send(self, value: R, *, latency_ns: int = 0) -> None:
        """Answer; the asker goes on `latency_ns` after the server's present time."""
        assert self.at_ns == NEVER, f"{self.request} was answered twice"
        self.value = value
        engine = self.engine
        self.at_ns = engine.current.clock.now + latency_ns
        engine.make_ready(self.asker, self.at_ns)

    def describe(self) -> str:
        """Say what is waited for."""
        return f"the reply to {self.request} from {self.server}"


class Answerable(Protocol[R_contra]):
    """What a server needs to know of a request's reply."""

    asker: Actor

    def send(self, value: R_contra, *, latency_ns: int = 0) -> None:
        """Answer."""


@define(eq=False)
class Request(Generic[R]):
    """A message that wants an answer."""

    body: Any
    reply: Answerable[R]


def _arrival(entry: tuple[int, int, int, object]) -> tuple[int, int, int]:
    return entry[:3]


def _value_of(message: Any) -> Hashable:
    if isinstance(message, Request):
        return message.reply.asker.index, message.body
    value: Hashable = message
    return value


class Mailbox(Generic[M]):
    """The bounded queue of one receiver."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        *,
        capacity: int = 1 << 16,
        lock_class: LockClass | None = None,
        hands_over: bool = False,
    ) -> None:
        """`hands_over`: what is answered does not depend on the order of requests, but for time."""
        self.name: Final = name
        self.hands_over: Final = hands_over
        self.engine: Final = engine
        self._lock: Final = None if lock_class is None else StandIn(name, lock_class)
        self._capacity: Final = capacity
        self._heap: list[tuple[int, int, int, M]] = []
        self._last_arrival_ns: dict[int, int] = {}
        self._receiver: Actor | None = None
        self._reader: Actor | None = None
        """Who has called `receive` last."""
        engine.register(name, self)

    def key(self) -> Hashable:
        """Return what waits, in the order in which it came; requests by who asks for what."""
        return tuple(map(_value_of, [entry[3] for entry in sorted(self._heap, key=_arrival)]))

    def show(self) -> str:
        """Return how much waits."""
        return f"{len(self)} messages"

    def __len__(self) -> int:
        return len(self._heap)

    def tell(
        self,
        message: M,
        *,
        latency_ns: int = 0,
        kind: str | None = None,
        sender: Actor | None = None,
    ) -> None:
        """Send `message`; it arrives `latency_ns` after the sender's present time.

        The sender is the running actor, unless it is one that stands for a task outside.
        """
        engine = self.engine
        if sender is None:
            sender = engine.current
        heap = self._heap
        if len(heap) >= self._capacity:
            raise MailboxFull(f"{self.name} holds {len(heap)} messages; {sender.name} sent another")
        index = sender.index
        arrival_ns = sender.clock.now + latency_ns
        arrival_ns = max(arrival_ns, self._last_arrival_ns.get(index, 0))
        self._last_arrival_ns[index] = arrival_ns
        tie = engine.policy.tie(index, arrival_ns)
        heappush(heap, (arrival_ns, tie, engine.next_send_order(self.name), message))
        engine.messages[kind if kind is not None else type(message).__name__] += 1
        receiver = self._receiver
        if receiver is not None:
            engine.make_ready(receiver, arrival_ns)

    async def ask(self, body: Any, *, latency_ns: int = 0) -> Any:
        """Send a request and spin until its answer is there; interrupts are taken if enabled."""
        engine = self.engine
        asker = engine.current
        kind = type(body).__name__
        if asker.cpu is not None and asker.cpu.contexts:
            raise AskInInterrupt(
                f"{asker} asked {self.name} for {kind} in interrupt {asker.cpu.contexts[-1]}: "
                "who answers interrupts never asks, else two CPUs could wait for each other"
            )
        reply: Reply[Any] = Reply(engine, asker, kind, self.name)
        request: Any = Request(body, reply)
        lock = self._lock
        if lock is not None and engine.lock_observer is not None:
            engine.lock_observer.acquire(lock, Hold.WRITE, TOP_LEVEL)
        self.tell(request, latency_ns=latency_ns, kind=kind)
        await engine.wait_for(reply, "reply")
        if lock is not None and engine.lock_observer is not None:
            engine.lock_observer.acquired(lock)
            engine.lock_observer.release(lock)
        return reply.value

    async def receive(self) -> M:
        """Take the message that arrived first; wait for one if there is none."""
        engine = self.engine
        receiver = self._reader = engine.current
        heap = self._heap
        clock = receiver.clock
        if not heap or heap[0][0] > clock.now or clock.now > engine.limit:
            assert self._receiver is None, f"{receiver} and {self._receiver} read {self.name}"
            self._receiver = receiver
            while True:
                if heap:
                    engine.make_ready(receiver, heap[0][0])
                await engine.wait(self, "receive")
                if heap and heap[0][0] <= clock.now:
                    break
            self._receiver = None
        return heappop(heap)[3]

    def is_read_by(self, actor: Actor) -> bool:
        """Return whether it is `actor` who has called `receive` last."""
        return self._reader is actor

    def waiting(self) -> frozenset[int]:
        """Return who has asked and was not received yet, as numbers."""
        messages = [entry[3] for entry in self._heap]
        return frozenset(
            message.reply.asker.index for message in messages if isinstance(message, Request)
        )

    def forget_actors(self) -> None:
        """Note that the actor which received here is gone; nothing may wait to be received."""
        assert not self._heap, f"{self.name} holds {len(self._heap)} messages"
        self._receiver = self._reader = None
        self._last_arrival_ns.clear()

    @property
    def may_be_read(self) -> bool:
        """Whether who reads here, if anybody ever did, is there still."""
        reader = self._reader
        return not self.engine.is_closed and (reader is None or not reader.finished)

    def describe(self) -> str:
        """Say what is waited for."""
        return f"a message to {self.name}"
