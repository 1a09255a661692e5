"""Events for models: something that has happened, until somebody clears it.

Names are those of threading and trio. Unlike a wait queue, an event loses nothing: who comes later
finds it set. Where stores may be late, to set and to clear are plain stores, and to look is a load:
an event is no barrier.
"""

from typing import Final

from mmactors.explore.engine.store_buffer import StoreBuffer
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.shared import Shared, Timeout, may_time_out, must_be_declared
from mmactors.label import Mode


class SharedEvent(Shared):
    """A flag that can be waited for."""

    __slots__ = ("_clear", "_is_set", "_look", "_set", "_wait")

    def __init__(self, engine: SearchEngine, name: str) -> None:
        super().__init__(engine, name)
        self._is_set = False
        self._set: Final = self._step("set")
        self._clear: Final = self._step("clear")
        self._look: Final = self._step("look at", Mode.READ)
        self._wait: Final = self._step("wait for", Mode.READ)

    @property
    def value(self) -> bool:
        """Whether it is set: for laws, and for actors in a `world.step` that declares it."""
        must_be_declared(self._engine, self.name, may_write=False)
        return self._is_set

    def key(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def show(self) -> str:
        """Return whether it is set."""
        return "set" if self._is_set else "not set"

    def describe(self) -> str:
        """Say which event this is."""
        return f"{self.name} to be set"

    async def set(self) -> None:
        """Let it have happened; all who wait go on."""
        await self._store(self._set, self._become_set, True)

    async def clear(self) -> None:
        """Let it not have happened, for who comes from now on."""
        await self._store(self._clear, self._become_clear, False)

    async def is_set(self) -> bool:
        """Return whether it has happened."""
        await self._turn(self._look)
        newest = self._newest(self._buffer())
        return self._is_set if newest is None else bool(newest.value)

    async def wait(self, timeout: Timeout = None) -> bool:
        """Wait until it has happened; False: the time was out before."""
        buffer = self._buffer()

        def has_happened() -> bool:
            return self._seen_by(buffer)

        is_in_time = True
        if may_time_out(timeout):
            is_in_time = await self._pass_in_time(self._wait, has_happened, is_locked=False)
        else:
            await self._pass(self._wait, has_happened, is_locked=False)
        self._newest(buffer)
        return is_in_time

    def _become_set(self) -> None:
        self._is_set = True

    def _become_clear(self) -> None:
        self._is_set = False

    def _seen_by(self, buffer: StoreBuffer | None) -> bool:
        newest = None if buffer is None else buffer.newest(self.name)
        return self._is_set if newest is None else bool(newest.value)
