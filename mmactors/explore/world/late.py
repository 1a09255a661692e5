"""Cells, locks and mailboxes of a world whose stores may be late (x86-TSO).

The rule (Sewell et al., x86-TSO, CACM 2010):

- A store goes into the buffer of who stores, behind its other stores: `write`, `cell.value = ...`
  in a step that only writes, giving a lock back, a message, an answer.
- A load sees the newest store of its own CPU to that cell, else memory: `read`, `until`, and
  `cell.value` in a step.
- Whatever reads and writes at once is locked: it waits until the buffer of its CPU is empty, and
  acts on memory. So do `xchg` and its like, taking a lock, a trylock that finds the lock free,
  receiving a message, sleeping and waking, what happens at any time, and a step that adds, or that
  reads and writes.
- What is no cell, such as a column of them, has no value that could wait in a buffer: a step that
  writes it is locked, and one that reads it waits until the own stores to it and to its elements
  are in memory. Where own loads may come before that, a step names the cells.

Laws look at memory. The name of what an actor looks at tells what memory holds and what it sees
instead: who reads its own store has seen something else than who reads it when it has drained.
"""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, TypeVar

from mmactors.engine.actor import PARKING, Actor
from mmactors.engine.chance import TRYLOCK_FAILS
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold
from mmactors.engine.mailbox import Answerable, MailboxFull, Request
from mmactors.explore.engine.exact import exact
from mmactors.explore.engine.step import Step, Touches
from mmactors.explore.engine.store_buffer import StoreBuffer, Stored, buffer_name
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.cell import SharedCell, SharedCount
from mmactors.explore.world.lock import SharedLock
from mmactors.explore.world.mailbox import SharedMailbox, value_of
from mmactors.explore.world.question import must_be_plain
from mmactors.explore.world.shared import Timeout, may_time_out, must_be_declared
from mmactors.label import Mode

V = TypeVar("V", bound=Hashable)
Gate = Callable[[], bool] | None


async def take_turn(engine: SearchEngine, step: Step, gate: Gate) -> None:
    """Wait for the turn to do `step`, which can be taken while `gate()` holds."""
    actor: Any = engine.current
    actor.gate = gate
    engine.parked = step
    await PARKING
    if engine.detour:
        await engine.take_interrupts(step)
    actor.gate = None


async def late_step(
    engine: SearchEngine,
    what: str,
    reads: tuple[str, ...],
    writes: tuple[str, ...],
    adds: tuple[str, ...],
) -> None:
    """Wait for the turn to touch these objects: plain loads, plain stores, or locked."""
    buffer = engine.buffer_of(engine.current)
    objects = engine.objects
    gate: Gate = None
    touches: Touches
    if adds or (reads and writes) or not all(_is_late(objects.get(name)) for name in writes):
        gate = buffer.is_empty
        touches = (
            *((name, Mode.READ) for name in reads),
            *((name, Mode.WRITE) for name in writes),
            *((name, Mode.ADD) for name in adds),
        )
    elif writes:
        touches = tuple((_slot(buffer, name), Mode.ADD) for name in writes)
    else:
        touches = tuple((name, Mode.READ) for name in reads)
        others = tuple(name for name in reads if not _is_late(objects.get(name)))
        if others:
            gate = Stored(buffer, others).is_open
    await take_turn(engine, engine.steps.of(what, touches), gate)


def _is_late(thing: object) -> bool:
    return isinstance(thing, LateCell)


def _slot(buffer: StoreBuffer, name: str) -> str:
    """Return what a step touches that stores to the cell `name`, and to no memory yet."""
    return f"{buffer.name}[{name}]"


class LateCell(SharedCell[V], Generic[V]):
    """A shared value whose writes may be seen late."""

    __slots__ = ()

    def key(self) -> Hashable:
        """Return what memory holds, and what the running actor sees instead, if it does."""
        engine = self._engine
        actor = engine.running
        if actor is not None:
            buffer = engine.buffers.get(buffer_name(actor))
            newest = None if buffer is None else buffer.newest(self.name)
            if newest is not None:
                return super().key(), exact(newest.value)
        return super().key()

    @property
    def value(self) -> V:
        """What memory holds: for laws. For an actor in a step that declares it: what it loads."""
        engine = self._engine
        actor = engine.running
        if actor is None:
            return self._value
        buffer = engine.buffer_of(actor)
        value = self._seen_by(buffer)
        if self._is_stored_by(actor, buffer):
            engine.touch(self.name, Mode.READ)
            engine.observe((exact(value),))  # By the end of the step there is another store.
        else:
            must_be_declared(self._engine, self.name, may_write=False)
        return value

    @value.setter
    def value(self, value: V) -> None:
        engine = self._engine
        actor = engine.running
        if actor is not None:
            buffer = engine.buffer_of(actor)
            if self._is_stored_by(actor, buffer):
                buffer.push(self.name, lambda: self.renew(value), value)
                return
            must_be_declared(self._engine, self.name, may_write=True)
        self._value = value

    async def read(self) -> V:
        """Return what this CPU stored last, if that is still in its buffer, else the value."""
        engine = self._engine
        await take_turn(engine, self._steps.read, None)
        return self._seen_by(engine.buffer_of(engine.current))

    async def write(self, value: V) -> None:
        """Put a store into the buffer of this CPU."""
        engine = self._engine
        buffer = engine.buffer_of(engine.current)
        step = engine.steps.of(f"store {self.name}", ((buffer.name, Mode.ADD),))
        await take_turn(engine, step, None)
        buffer.push(self.name, lambda: self.renew(value), value)

    async def until(self, is_good: Callable[[V], bool]) -> V:
        """Wait, without spinning, until what this CPU sees is good; return it."""
        must_be_plain("the condition", is_good)
        engine = self._engine
        buffer = engine.buffer_of(engine.current)
        await take_turn(engine, self._steps.until, lambda: is_good(self._seen_by(buffer)))
        return self._seen_by(buffer)

    def _seen_by(self, buffer: StoreBuffer) -> V:
        newest = buffer.newest(self.name)
        if newest is None:
            return self._value
        value: V = newest.value
        return value

    def _is_stored_by(self, actor: Any, buffer: StoreBuffer) -> bool:
        """Return whether the running step stores to this cell, and does nothing else with it."""
        return (_slot(buffer, self.name), Mode.ADD) in actor.pending.touches

    async def _turn(self, step: Step) -> None:
        """Wait for the turn to do what is locked: it leaves nothing in the buffer."""
        engine = self._engine
        await take_turn(engine, step, engine.buffer_of(engine.current).is_empty)


class LateCount(LateCell[int], SharedCount):
    """A shared integer whose writes may be seen late."""

    __slots__ = ()


class _Acquire:
    """What somebody waits for who takes a lock."""

    def __init__(self, lock: SharedLock, buffer: StoreBuffer) -> None:
        self._lock: Final = lock
        self._buffer: Final = buffer

    def is_open(self) -> bool:
        """Return whether the lock can be taken."""
        return self._lock.holder is None and self._buffer.is_empty()

    def can_try(self) -> bool:
        """Return whether a trylock can look: who sees the lock taken does not try to write."""
        is_seen_taken = self._lock.holder is not None and not self.is_given_back()
        return is_seen_taken or self._buffer.is_empty()

    def is_given_back(self) -> bool:
        """Return whether the store that gives the lock back is in the buffer."""
        return self._buffer.newest(self._lock.name) is not None

    def describe(self) -> str:
        """Say what is waited for."""
        return self._lock.describe() if self._buffer.is_empty() else self._buffer.describe()


class LateLock(SharedLock):
    """A lock that others may see given back late."""

    __slots__ = ()

    async def acquire(self, timeout: Timeout = None) -> bool:
        """Take the lock when it is free and all stores of this CPU are in memory."""
        engine = self._engine
        actor = engine.current
        waits = _Acquire(self, engine.buffer_of(actor))
        is_twice = self.holder is actor and not waits.is_given_back()
        assert not is_twice, f"{actor} takes {self.name} twice"
        observer = engine.lock_observer
        if observer is not None:
            observer.acquire(self, Hold.WRITE, TOP_LEVEL)
        if not may_time_out(timeout):
            await take_turn(engine, self._lock, waits.is_open)
        elif not await self._pass_in_time(self._lock, self._may_pass):
            if observer is not None:
                observer.release(self)
            return False
        self.holder = actor
        if observer is not None:
            observer.acquired(self)
        return True

    async def acquire_nowait(self) -> bool:
        """Take the lock if it is free now; return whether it was (spin_trylock)."""
        engine = self._engine
        actor = engine.current
        await take_turn(engine, self._trylock, _Acquire(self, engine.buffer_of(actor)).can_try)
        if self.holder is not None or await engine.may(TRYLOCK_FAILS):
            return False
        self._acted()
        self.holder = actor
        if engine.lock_observer is not None:
            engine.lock_observer.tried(self, Hold.WRITE, TOP_LEVEL)
        return True

    async def release(self) -> None:
        """Put the store that gives the lock back into the buffer of this CPU."""
        engine = self._engine
        actor = engine.current
        buffer = engine.buffer_of(actor)
        step = engine.steps.of(f"unlock {self.name}", ((buffer.name, Mode.ADD),))
        await take_turn(engine, step, None)
        is_held = self.holder is actor and buffer.newest(self.name) is None
        assert is_held, f"{actor} releases {self.describe()}"
        if engine.lock_observer is not None:
            engine.lock_observer.release(self)
        buffer.push(self.name, self._free, "free")

    def _free(self) -> None:
        self.holder = None


class _LateReply:
    """The place where an answer arrives that is a store of the server's."""

    def __init__(self, engine: SearchEngine, name: str, reply: Answerable[Any]) -> None:
        self.asker: Actor = reply.asker
        self._engine: Final = engine
        self._name: Final = name
        self._reply: Final = reply

    def send(self, value: Any, *, latency_ns: int = 0) -> None:
        """Answer; the asker goes on when the answer has drained."""
        engine = self._engine
        reply = self._reply
        engine.buffer_of(engine.current).push(
            self._name, lambda: reply.send(value, latency_ns=latency_ns), value
        )


class LateMailbox(SharedMailbox):
    """A mailbox whose messages are stores; taking one out is locked."""

    __slots__ = ()

    def tell(self, message: Any) -> None:
        """Send `message` as a store, behind the other stores of this CPU."""
        engine = self._engine
        sender = engine.current
        name = self._from(sender)
        buffer = engine.buffer_of(sender)
        nr_waiting = len(self._queues.get(sender.index, ())) + buffer.nr_stores(name)
        if nr_waiting >= self._capacity:
            raise MailboxFull(f"{self.name} holds {nr_waiting} messages of {sender.name}")
        if isinstance(message, Request):
            message = Request(message.body, _LateReply(engine, name, message.reply))
        buffer.push(name, lambda: self._arrive(sender, message), value_of(message))

    async def receive(self, timeout: Timeout = None) -> Any:
        """Take the oldest message of one of the senders, when all own stores are in memory."""
        engine = self._engine
        actor: Any = engine.current
        buffer = engine.buffer_of(actor)
        actor.gate = lambda: buffer.is_empty()  # noqa: PLW0108 - it waits for a message, really
        message = await super().receive(timeout)
        actor.gate = None
        return message

    def _arrive(self, sender: Actor, message: Any) -> None:
        self._queues.setdefault(sender.index, deque()).append(message)
