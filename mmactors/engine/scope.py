"""Where a machine's actors live: inside it they can run, after it nothing is left running."""

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final

import trio

from mmactors.engine.baton import Engine
from mmactors.engine.driver import Driver, InlineDriver, TrioDriver


class DriverScope:
    """An async context manager that gives the driver which the engine's options name.

    What its body raises passes through as it is, not wrapped into the group of a nursery.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine: Final = engine
        self._nursery_manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._driver: Driver | None = None

    async def __aenter__(self) -> Driver:
        if self._engine.config.driver == "inline":
            self._driver = InlineDriver(self._engine)
        else:
            self._nursery_manager = trio.open_nursery()
            nursery = await self._nursery_manager.__aenter__()
            self._driver = TrioDriver(self._engine, nursery)
        return self._driver

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._driver is not None, "the scope was never entered"
        try:
            await self._driver.close()
        finally:
            if self._nursery_manager is not None:
                await self._nursery_manager.__aexit__(None, None, None)
