"""Mailboxes for models: messages of one sender arrive in order; those of several in any order.

The operations are those of `mmactors.engine.mailbox.Mailbox`. Which of the waiting senders is
served next is a choice of the search, so that a message may be late without any clock.
"""

from collections import deque
from collections.abc import Hashable
from typing import Any, Final

from mmactors.engine.actor import Actor
from mmactors.engine.mailbox import AskInInterrupt, MailboxFull, Reply, Request
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.untimed import MAX_ACTORS, SearchEngine
from mmactors.explore.world.shared import Shared, Timeout, may_time_out
from mmactors.label import Mode

_NOBODY: Final = MAX_ACTORS
"""The option of a receiver whose time is out."""


def value_of(message: Any) -> Hashable:
    """Return what is equal for equal messages; whom a reply goes to is known by the sender."""
    return ("request", message.body) if isinstance(message, Request) else message


class SharedMailbox(Shared):
    """The bounded queues of one receiver, one for each sender."""

    __slots__ = ("_capacity", "_queues", "_receive", "_timed_out")

    def __init__(self, engine: SearchEngine, name: str, *, capacity: int = 1 << 10) -> None:
        super().__init__(engine, name)
        self._capacity: Final = capacity
        self._queues: Final[dict[int, deque[Any]]] = {}
        self._receive: Final = self._step("receive")
        out = f"receive {name} (timed out)"
        self._timed_out: Final = engine.steps.of(out, ((name, Mode.READ),))

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def key(self) -> Hashable:
        """Return what waits, by sender."""
        return tuple(
            (index, tuple(map(value_of, queue))) for index, queue in sorted(self._queues.items())
        )

    def held(self) -> tuple[object, ...]:
        """Return all messages, for who looks at whether they are changed in place."""
        return tuple(value_of(message) for queue in self._queues.values() for message in queue)

    def show(self) -> str:
        """Return how many messages wait."""
        return f"{len(self)} messages"

    def tell(self, message: Any) -> None:
        """Send `message`, as a part of the step that the sender takes."""
        engine = self._engine
        sender = engine.current
        queue = self._queues.setdefault(sender.index, deque())
        if len(queue) >= self._capacity:
            raise MailboxFull(f"{self.name} holds {len(queue)} messages of {sender.name}")
        queue.append(message)
        engine.touch(self._from(sender), Mode.WRITE)

    async def ask(self, body: Any) -> Any:
        """Send a request and wait for its answer; the server calls `request.reply.send(value)`."""
        engine = self._engine
        asker = engine.current
        kind = type(body).__name__
        if asker.cpu is not None and asker.cpu.contexts:
            raise AskInInterrupt(f"{asker} asked {self.name} for {kind} in an interrupt")
        step = engine.steps.of(f"ask {self.name}", ((self._from(asker), Mode.WRITE),))
        await self._turn(step)
        reply: Reply[Any] = Reply(engine, asker, kind, self.name)
        self.tell(Request(body, reply))
        await engine.wait_for(reply, f"reply from {self.name}")
        return reply.value

    async def receive(self, timeout: Timeout = None) -> Any:
        """Take the oldest message of one of the senders; wait until there is one.

        Return None if the time was out before.
        """
        if may_time_out(timeout):
            sender = await self._choose_way(self._senders_or_nobody, self._timed_out)
        else:
            sender = await self._choose_way(self._senders, self._receive)
        if sender == _NOBODY:
            return None
        queue = self._queues[sender]
        message = queue.popleft()
        if not queue:
            del self._queues[sender]
        return message

    def _senders(self) -> list[tuple[int, Step]]:
        engine = self._engine
        found = []
        for index in sorted(self._queues):
            sender = engine.actors[index]
            text = f"receive {self.name} from {sender.name}"
            found.append((index, engine.steps.of(text, ((self._from(sender), Mode.WRITE),))))
        return found

    def _senders_or_nobody(self) -> list[tuple[int, Step]]:
        return self._senders() or [(_NOBODY, self._timed_out)]

    def _from(self, sender: Actor) -> str:
        return f"{self.name}[{sender.name}]"
