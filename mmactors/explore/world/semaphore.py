"""Counting semaphores for models: so many may be inside, or so many things are there to take.

Names are those of trio. To take and to give back are locked operations both.
"""

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final

from mmactors.engine.chance import TRYLOCK_FAILS
from mmactors.engine.lock.section import gives_back
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.shared import Shared, Timeout, may_time_out, must_be_declared


class SharedSemaphore(Shared):
    """A number that never falls below zero: who wants to take the last one less waits."""

    __slots__ = ("_acquire", "_max_value", "_release", "_takers", "_try", "_value")

    def __init__(
        self, engine: SearchEngine, name: str, value: int, *, max_value: int | None = None
    ) -> None:
        assert value >= 0, f"{name} begins with {value}; a semaphore is never below 0"
        assert max_value is None or value <= max_value, f"{name} begins above {max_value}"
        super().__init__(engine, name)
        self._value = value
        self._max_value: Final = max_value
        self._takers: Final[list[str]] = []
        """Who took and did not give back, for reports."""
        self._acquire: Final = self._step("acquire")
        self._try: Final = self._step("try", may_fail=True)
        self._release: Final = self._step("release")

    @property
    def value(self) -> int:
        """How many can be taken: for laws, and for actors in a `world.step` that declares it."""
        must_be_declared(self._engine, self.name, may_write=False)
        return self._value

    def key(self) -> int:
        """Return how many can be taken."""
        return self._value

    def show(self) -> str:
        """Return how many can be taken."""
        return str(self._value)

    def describe(self) -> str:
        """Say which semaphore this is, and who has taken from it."""
        takers = ", ".join(self._takers) or "nobody"
        return f"{self.name}, which is {self._value}, taken by {takers}"

    def is_above_zero(self) -> bool:
        """Return whether one can be taken."""
        return self._value > 0

    async def acquire(self, timeout: Timeout = None) -> bool:
        """Take one as soon as there is one; False: the time was out before (down)."""
        if not may_time_out(timeout):
            await self._pass(self._acquire, self.is_above_zero)
        elif not await self._pass_in_time(self._acquire, self.is_above_zero):
            return False
        self._take()
        return True

    async def acquire_nowait(self) -> bool:
        """Take one if there is one now; return whether there was (down_trylock)."""
        engine = self._engine
        await self._locked(self._try)
        if not self._value or (engine.allowed and await engine.may(TRYLOCK_FAILS)):
            return False
        self._acted()
        self._take()
        return True

    async def release(self) -> None:
        """Give one back, or one more (up); not more than `max_value`."""
        await self._locked(self._release)
        actor = self._engine.current
        is_full = self._value == self._max_value
        assert not is_full, f"{actor} releases {self.name}, which is {self._value} already"
        self._value += 1
        if actor.name in self._takers:
            self._takers.remove(actor.name)

    def _take(self) -> None:
        self._value -= 1
        self._takers.append(self._engine.current.name)

    def __aenter__(self) -> Coroutine[Any, Any, bool]:
        return self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if gives_back(kind):
            await self.release()
