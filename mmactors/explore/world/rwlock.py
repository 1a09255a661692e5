"""Locks that readers share, for models (kernel/locking/{qrwlock,rwsem}.c, v6.1).

With `fair`, as both of the kernel have it, a reader that comes while a writer waits waits behind
it; so who takes the lock for reading twice can wait for itself, with a writer in between. Without,
readers overtake writers, as those of POSIX may. Everything else that a queue could do is covered,
because each who waits may also come later.

Where stores may be late, a writer gives back by a plain store, and all else is locked.
"""

from typing import ClassVar, Final

from mmactors.engine.actor import Actor
from mmactors.engine.chance import TRYLOCK_FAILS
from mmactors.engine.lock.lock_observer import TOP_LEVEL, Hold
from mmactors.engine.lock.section import Section
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.lock import class_of
from mmactors.explore.world.shared import Shared, Timeout, may_time_out
from mmactors.label import Mode


class SharedRwLock(Shared):
    """A lock with one writer, or any number of readers."""

    __slots__ = (
        "_asking",
        "_downgrade",
        "_is_fair",
        "_read_hold",
        "_read_lock",
        "_read_trylock",
        "_read_unlock",
        "_readers",
        "_write_lock",
        "_write_trylock",
        "_write_unlock",
        "_writer",
        "lock_class",
    )
    sleeps: ClassVar[bool] = False

    def __init__(self, engine: SearchEngine, name: str, *, fair: bool) -> None:
        super().__init__(engine, name)
        self.lock_class: Final = class_of(engine, name)
        self._is_fair: Final = fair
        self._read_hold: Final = Hold.READ if fair else Hold.RECURSIVE_READ
        self._readers: Final[list[Actor]] = []
        self._asking: Final[list[Actor]] = []
        """Writers that wait, and make readers wait."""
        self._writer: Actor | None = None
        self._read_lock: Final = self._step("read_lock")
        self._read_trylock: Final = self._step("read_trylock", may_fail=True)
        self._read_unlock: Final = self._step("read_unlock")
        self._write_lock: Final = self._step("write_lock")
        self._write_trylock: Final = self._step("write_trylock", may_fail=True)
        self._write_unlock: Final = self._step("write_unlock")
        self._downgrade: Final = self._step("downgrade")

    def key(self) -> tuple[int | None, tuple[int, ...], tuple[int, ...]]:
        """Return who writes, who reads and who asks to write, as numbers."""
        return (
            None if self._writer is None else self._writer.index,
            tuple(sorted(actor.index for actor in self._readers)),
            tuple(sorted(actor.index for actor in self._asking)),
        )

    def show(self) -> str:
        """Return who has the lock, and who asks for it."""
        has = "free"
        if self._writer is not None:
            has = f"written by {self._writer.name}"
        elif self._readers:
            has = f"read by {_names(self._readers)}"
        return has + (f", {_names(self._asking)} waits to write" if self._asking else "")

    def describe(self) -> str:
        """Say which lock this is, and who has it or comes first."""
        return f"{self.name}, {self.show()}"

    # -- readers -----------------------------------------------------------------------------------

    async def acquire_read(self, timeout: Timeout = None) -> bool:
        """Take the lock for reading; False: the time was out before (read_lock)."""
        observer = self._engine.lock_observer
        if observer is not None:
            observer.acquire(self, self._read_hold, TOP_LEVEL)
        if not may_time_out(timeout):
            await self._pass(self._read_lock, self._may_read)
        elif not await self._pass_in_time(self._read_lock, self._may_read):
            if observer is not None:
                observer.release(self)
            return False
        self._readers.append(self._engine.current)
        if observer is not None:
            observer.acquired(self)
        return True

    async def trylock_read(self) -> bool:
        """Take the lock for reading if that needs no waiting; return whether it was taken."""
        engine = self._engine
        await self._locked(self._read_trylock)
        if not self._may_read() or (engine.allowed and await engine.may(TRYLOCK_FAILS)):
            return False
        self._acted()
        self._readers.append(engine.current)
        if engine.lock_observer is not None:
            engine.lock_observer.tried(self, self._read_hold, TOP_LEVEL)
        return True

    async def release_read(self) -> None:
        """Read no more (read_unlock)."""
        await self._locked(self._read_unlock)
        actor = self._engine.current
        assert actor in self._readers, f"{actor} gives back {self.describe()}"
        self._readers.remove(actor)
        if self._engine.lock_observer is not None:
            self._engine.lock_observer.release(self)

    def read(self) -> Section:
        """Return a context in which the lock is taken for reading."""
        return Section(self.acquire_read, self.release_read)

    # -- the writer --------------------------------------------------------------------------------

    async def acquire_write(self, timeout: Timeout = None) -> bool:
        """Take the lock alone; False: the time was out before (write_lock)."""
        engine = self._engine
        actor = engine.current
        assert not self._is_written_by(actor), f"{actor} takes {self.name} twice"
        observer = engine.lock_observer
        if observer is not None:
            observer.acquire(self, Hold.WRITE, TOP_LEVEL)
        if self._is_fair:
            is_in_time = await self._ask_to_write(actor, timeout)
        else:
            is_in_time = await self._wait_to_write(timeout, out_mode=Mode.READ)
        if not is_in_time:
            if observer is not None:
                observer.release(self)
            return False
        self._writer = actor
        if observer is not None:
            observer.acquired(self)
        return True

    async def _ask_to_write(self, actor: Actor, timeout: Timeout) -> bool:
        """Be seen by readers that come later, unless there is nothing to wait for."""
        await self._locked(self._write_lock)
        if self._is_free():
            return True
        self._asking.append(actor)
        is_in_time = await self._wait_to_write(timeout, out_mode=Mode.WRITE)
        self._asking.remove(actor)
        return is_in_time

    async def _wait_to_write(self, timeout: Timeout, *, out_mode: Mode) -> bool:
        if may_time_out(timeout):
            return await self._pass_in_time(self._write_lock, self._is_free, out_mode=out_mode)
        await self._pass(self._write_lock, self._is_free)
        return True

    async def trylock_write(self) -> bool:
        """Take the lock alone if it is free; return whether it was."""
        engine = self._engine
        await self._locked(self._write_trylock)
        if not self._is_free() or (engine.allowed and await engine.may(TRYLOCK_FAILS)):
            return False
        self._acted()
        self._writer = engine.current
        if engine.lock_observer is not None:
            engine.lock_observer.tried(self, Hold.WRITE, TOP_LEVEL)
        return True

    async def release_write(self) -> None:
        """Write no more (write_unlock)."""
        actor = self._engine.current
        assert self._is_written_by(actor), f"{actor} gives back {self.describe()}"
        await self._store(self._write_unlock, self._end_write, "free")
        if self._engine.lock_observer is not None:
            self._engine.lock_observer.release(self)

    async def downgrade(self) -> None:
        """Let the writer be a reader; nobody writes in between (downgrade_write)."""
        actor = self._engine.current
        assert self._is_written_by(actor), f"{actor} downgrades {self.describe()}"
        await self._locked(self._downgrade)
        self._writer = None
        self._readers.append(actor)
        if self._engine.lock_observer is not None:
            self._engine.lock_observer.downgrade(self)

    def write(self) -> Section:
        """Return a context in which the lock is taken alone."""
        return Section(self.acquire_write, self.release_write)

    def _is_written_by(self, actor: Actor) -> bool:
        """Return whether an actor has the lock alone, and has not given it back in its buffer."""
        buffer = self._buffer()
        is_given_back = buffer is not None and buffer.newest(self.name) is not None
        return self._writer is actor and not is_given_back

    def _end_write(self) -> None:
        self._writer = None

    def _may_read(self) -> bool:
        return self._writer is None and not self._asking

    def _is_free(self) -> bool:
        return self._writer is None and not self._readers


def _names(actors: list[Actor]) -> str:
    return " and ".join(actor.name for actor in actors)
