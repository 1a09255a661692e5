"""Contexts in which a lock is held (`async with sem.read()`)."""

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Protocol

from attrs import define, frozen

from mmactors.engine.lock.lock_observer import Nesting


def gives_back(kind: type[BaseException] | None) -> bool:
    """Return whether who leaves a context by an exception of this kind gives back what it holds.

    As any context manager does. But an assertion is a law that is broken there and then, and what
    is no Exception ends a coroutine that is thrown away: neither has steps any more.
    """
    return kind is None or (issubclass(kind, Exception) and not issubclass(kind, AssertionError))


@frozen(eq=False)
class Section:
    """What is done between `enter` and `leave`."""

    enter: Callable[[], Coroutine[Any, Any, object]]
    leave: Callable[[], Coroutine[Any, Any, None]]

    async def __aenter__(self) -> None:
        await self.enter()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if gives_back(kind):
            await self.leave()


class Semaphore(Protocol):
    """What readers share and a writer has alone."""

    def acquire_read_nowait(self, nesting: Nesting) -> bool:
        """Share it if no waiting of any kind is needed; return whether it was."""

    async def acquire_read(self, nesting: Nesting) -> None:
        """Share it."""

    def acquire_write_nowait(self, nesting: Nesting) -> bool:
        """Have it alone if no waiting of any kind is needed; return whether it was."""

    async def acquire_write(self, nesting: Nesting) -> None:
        """Have it alone."""

    async def leave(self, kind: type[BaseException] | None) -> None:
        """Give back whatever the running actor holds, at the end of a context."""


@define(eq=False)
class Held:
    """`async with sem.acquired()`: what is held already is given back."""

    sem: Semaphore

    async def __aenter__(self) -> None:
        """Do nothing: the semaphore is held."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.sem.leave(kind)


@define(eq=False)
class ReadSection(Held):
    """`async with sem.read()`."""

    nesting: Nesting

    async def __aenter__(self) -> None:
        if not self.sem.acquire_read_nowait(self.nesting):
            await self.sem.acquire_read(self.nesting)


@define(eq=False)
class WriteSection(Held):
    """`async with sem.write()`."""

    nesting: Nesting

    async def __aenter__(self) -> None:
        if not self.sem.acquire_write_nowait(self.nesting):
            await self.sem.acquire_write(self.nesting)
