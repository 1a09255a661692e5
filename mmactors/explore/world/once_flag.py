"""Once-flags for models: something that is done by whoever comes first, and by nobody else.

As `std::call_once` of C++ and `pthread_once`: who comes while it is done waits, who comes later
finds it done. `world.once` is something else: what is made once for all schedules of a search.

Where stores may be late, the flag is set by a plain store, behind all that was stored before, and
to find it set is a load; to begin is locked.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from mmactors.engine.actor import Actor
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.shared import Shared, must_be_declared


class SharedOnceFlag(Shared):
    """A flag that says whether something was done, or is."""

    __slots__ = ("_call", "_fail", "_finish", "_is_done", "_runner")

    def __init__(self, engine: SearchEngine, name: str) -> None:
        super().__init__(engine, name)
        self._is_done = False
        self._runner: Actor | None = None
        """Who does it."""
        self._call: Final = self._step("call")
        self._finish: Final = self._step("finish")
        self._fail: Final = self._step("fail")

    @property
    def value(self) -> bool:
        """Whether it is done: for laws, and for actors in a `world.step` that declares it."""
        must_be_declared(self._engine, self.name, may_write=False)
        return self._is_done

    def key(self) -> bool | int:
        """Return whether it is done, or who does it, as a number."""
        return self._is_done if self._runner is None else self._runner.index + 2

    def show(self) -> str:
        """Return whether it is done, or who does it."""
        if self._runner is not None:
            return f"done by {self._runner.name} now"
        return "done" if self._is_done else "not done"

    def describe(self) -> str:
        """Say which flag this is, and who does it."""
        return f"{self.name}, {self.show()}"

    async def call(self, function: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Do `function()` if nobody has; return, when it is done, whether this call did it.

        If it raises, it is not done, and the next who calls tries again.
        """
        actor = self._engine.current
        buffer = self._buffer()

        def is_known() -> bool:
            return self._is_done or (buffer is not None and buffer.newest(self.name) is not None)

        assert self._runner is not actor or is_known(), (
            f"{actor} calls {self.name} from inside of it"
        )

        def may_pass() -> bool:
            is_empty = buffer is None or buffer.is_empty()
            return is_known() or (self._runner is None and is_empty)

        await self._pass(self._call, may_pass, is_locked=False)
        if self._newest(buffer) is not None or self._is_done:
            return False
        self._runner = actor
        try:
            await function()
        except Exception:
            await self._locked(self._fail)
            self._runner = None
            raise
        await self._store(self._finish, self._become_done, "done")
        return True

    def _become_done(self) -> None:
        self._runner = None
        self._is_done = True
