"""The two drivers: who steps the coroutines. Both run the same actors and ask the same `pick`.

`TrioDriver` makes each actor a trio task, for runs that live among other trio code. `InlineDriver`
steps all actors in one task. A schedule and its log are the same under both.
"""

from typing import Final, Protocol

import trio

from mmactors.engine.actor import PARK, Actor
from mmactors.engine.baton import Engine
from mmactors.engine.report import EngineError, ForeignAwait, crash

_SWITCHES_BETWEEN_CHECKPOINTS: Final = 2048


class Driver(Protocol):
    """Moves a machine."""

    async def run(self) -> None:
        """Move the machine until `pick` gives the baton to nobody; raise the engine's failure."""

    async def close(self) -> None:
        """Leave nothing running."""


def advance(engine: Engine, actor: Actor) -> None:
    """Let `actor` run until it parks or ends. What it raises becomes the engine's failure."""
    try:
        trap = actor.coro.send(None)
    except StopIteration:
        engine.finish(actor)
    except EngineError as error:
        engine.fail(error)
    except Exception as error:  # noqa: BLE001 - the one place where an actor's error is caught
        failure = crash(actor, error, engine.recent())
        failure.__cause__ = error
        engine.fail(failure)
    else:
        if trap is not PARK:
            engine.fail(
                ForeignAwait(
                    f"{actor.name} awaited {trap!r}, which is not the engine's: "
                    "an actor may only await engine operations; let a task outside the machine "
                    "await it and tell the actor"
                )
            )


class InlineDriver:
    """Steps all actors in the task that calls `run`."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Final = engine

    def run_some(self, nr_switches: int) -> bool:
        """Give the baton at most `nr_switches` times; return whether the machine can go on."""
        engine = self._engine
        pick = engine.pick
        for _ in range(nr_switches):
            actor = pick()
            if actor is None:
                return False
            advance(engine, actor)
        return True

    def run_to_end(self) -> None:
        """Move the machine without any event loop; raise the engine's failure."""
        while self.run_some(_SWITCHES_BETWEEN_CHECKPOINTS):
            pass
        _raise_failure(self._engine)

    async def run(self) -> None:
        """Move the machine; other tasks of the trio program get their turn now and then."""
        while self.run_some(_SWITCHES_BETWEEN_CHECKPOINTS):
            await trio.lowlevel.checkpoint()
        _raise_failure(self._engine)

    async def close(self) -> None:
        """Close all coroutines."""
        close_actors(self._engine)


class TrioDriver:
    """Makes each actor a trio task of `nursery`; the baton is passed by rescheduling."""

    def __init__(self, engine: Engine, nursery: trio.Nursery) -> None:
        self._engine: Final = engine
        self._nursery: Final = nursery
        self._host: trio.lowlevel.Task | None = None

    async def run(self) -> None:
        """Move the machine while the calling task waits here."""
        assert self._host is None, "two tasks move the machine"
        await trio.lowlevel.checkpoint()
        actor = self._engine.pick()
        if actor is not None:
            self._host = trio.lowlevel.current_task()
            self._wake(actor)
            try:
                await trio.lowlevel.wait_task_rescheduled(self._abort_host)
            finally:
                self._host = None
        _raise_failure(self._engine)

    async def close(self) -> None:
        """Cancel all actor tasks and close all coroutines."""
        self._nursery.cancel_scope.cancel()
        close_actors(self._engine)

    def _wake(self, actor: Actor) -> None:
        if actor.task is None:
            self._nursery.start_soon(self._drive, actor, name=actor.name)
        else:
            trio.lowlevel.reschedule(actor.task)

    async def _drive(self, actor: Actor) -> None:
        engine = self._engine
        actor.task = trio.lowlevel.current_task()
        while True:
            advance(engine, actor)
            successor = engine.pick()
            while successor is actor:
                advance(engine, actor)
                successor = engine.pick()
            if successor is not None:
                self._wake(successor)
            elif self._host is not None:
                trio.lowlevel.reschedule(self._host)
            if actor.finished:
                return
            await trio.lowlevel.wait_task_rescheduled(_abort)

    def _abort_host(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._engine.stop_requested = True
        return trio.lowlevel.Abort.SUCCEEDED


def _abort(_raise_cancel: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.SUCCEEDED


def close_actors(engine: Engine) -> None:
    """Close every coroutine that has not ended."""
    for actor in engine.actors:
        if not actor.finished:
            actor.coro.close()
            actor.finished = True


def _raise_failure(engine: Engine) -> None:
    if engine.failure is not None:
        raise engine.failure
