"""The two drivers: who steps the coroutines. Both run the same actors and ask the same `pick`.

`TrioDriver` makes each actor a trio task, for runs that live among other trio code. `InlineDriver`
steps all actors in one task. A schedule and its log are the same under both.

The machine moves only while a task awaits `run`. It gives the thread away by the clock on the wall
(engine/turn.py), whether actors take turns or one of them runs alone. If the task that awaits `run`
is cancelled, the actor that runs comes to its next parking place or breath first, and a later `run`
goes on from there as if it had not been cancelled.
"""

from collections.abc import Callable
from inspect import CORO_CLOSED, getcoroutinestate
from itertools import repeat
from typing import Final, NoReturn, Protocol

import trio

from mmactors.engine.actor import BREATH, PARK, Actor
from mmactors.engine.baton import Engine
from mmactors.engine.report import ActorCrashed, EngineError, ForeignAwait, crash

_SWITCHES_BETWEEN_LOOKS: Final = 32
"""How often the baton is given before the clock on the wall is looked at."""
_LOOKS_BETWEEN_CHECKPOINTS: Final = 4096
"""However fast they were."""


class Driver(Protocol):
    """Moves a machine."""

    async def run(self) -> None:
        """Move the machine until `pick` gives the baton to nobody; raise the engine's failure."""

    async def close(self) -> None:
        """Leave nothing running; raise what an actor raised while it was closed."""


def advance(engine: Engine, actor: Actor) -> bool:
    """Let `actor` run until it parks, ends or breathes; return whether it keeps the baton.

    What it raises becomes the engine's failure.
    """
    try:
        trap = actor.send(None)
    except StopIteration:
        engine.finish(actor)
    except EngineError as error:
        actor.finished = True
        engine.fail(error)
    except Exception as error:  # noqa: BLE001 - the one place where an actor's error is caught
        actor.finished = True
        failure = crash(actor, error, engine.recent())
        failure.__cause__ = error
        engine.fail(failure)
    else:
        if trap is not PARK:
            if trap is BREATH:
                return True
            _refuse(engine, actor, trap)
    return False


def _refuse(engine: Engine, actor: Actor, trap: object) -> None:
    """Stop the run because `actor` awaited what is not the engine's."""
    engine.fail(
        ForeignAwait(
            f"{actor} awaited {trap!r} at t={actor.clock.now} ns, which is not the engine's: an "
            "actor may only await engine operations; let a task outside the machine await it and "
            "tell the actor"
        )
    )
    # trio's own traps that park a task carry the function that takes it off where it queues.
    give_up = getattr(trap, "abort_func", None)
    if give_up is not None:
        give_up(lambda: None)
    # At once and in this task: what the coroutine entered, such as a cancel scope, belongs to it.
    _close(actor)


class InlineDriver:
    """Steps all actors in the task that calls `run`."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Final = engine
        self._is_moving = False
        self._holder: Actor | None = None
        """Who breathes, and goes on before anybody is picked."""

    def _run_some(self) -> bool:
        """Give the baton some times, or until who has it breathes; return whether to go on."""
        engine = self._engine
        pick = engine.pick
        actor, self._holder = self._holder, None
        if actor is not None:
            engine.running = actor
            if advance(engine, actor):
                self._holder = actor
                return True
        for _ in repeat(None, _SWITCHES_BETWEEN_LOOKS):
            actor = pick()
            if actor is None:
                return False
            if advance(engine, actor):
                self._holder = actor
                return True
        return True

    def run_to_end(self, *, between: Callable[[], None] | None = None) -> None:
        """Move the machine without any event loop; raise the engine's failure.

        `between` is called after each turn, while the machine stands between two steps.
        """
        engine, turn = self._engine, self._engine.turn
        engine.stop_requested = turn.is_cut = False
        turn.end()
        if between is not None:
            turn.begin()
        try:
            while self._run_some() and not turn.is_cut:
                if between is not None and turn.is_over():
                    between()
                    turn.begin()
        finally:
            turn.end()
            engine.running = None
        _flush(engine)
        _raise_failure(engine)

    async def run(self) -> None:
        """Move the machine; other tasks of the trio program get their turn now and then."""
        assert not self._is_moving, "two tasks move the machine"
        self._is_moving = True
        engine, turn = self._engine, self._engine.turn
        try:
            await trio.lowlevel.checkpoint()
            engine.stop_requested = turn.is_cut = False
            turn.begin()
            nr_looks = 0
            while self._run_some() and not turn.is_cut:
                nr_looks += 1
                if nr_looks == _LOOKS_BETWEEN_CHECKPOINTS or turn.is_over():
                    await trio.lowlevel.checkpoint()
                    turn.begin()
                    nr_looks = 0
        finally:
            turn.end()
            self._is_moving = False
            engine.running = None
            _flush(engine)
        _raise_failure(engine)

    async def close(self) -> None:
        """Close all coroutines."""
        close_actors(self._engine)


class TrioDriver:
    """Makes each actor a trio task of `nursery`; the baton is passed by rescheduling."""

    def __init__(self, engine: Engine, nursery: trio.Nursery) -> None:
        self._engine: Final = engine
        self._nursery: Final = nursery
        self._host: trio.lowlevel.Task | None = None
        self._raise_cancel: Callable[[], NoReturn] | None = None
        """Raises what the host was cancelled with, once the machine stands still."""
        self._error: BaseException | None = None
        """What came out of an actor's task and is the host's: KeyboardInterrupt, a mismatch."""
        self._holder: Actor | None = None
        """Who had the baton when the machine was told to stand still, and goes on first."""
        self._is_moving = False
        self._is_closed = False

    async def run(self) -> None:
        """Move the machine while the calling task waits here."""
        assert not self._is_moving, "two tasks move the machine"
        self._is_moving = True
        engine, turn = self._engine, self._engine.turn
        try:
            await trio.lowlevel.checkpoint()
            assert not self._is_closed, "the machine was closed, or its tasks were cancelled"
            engine.stop_requested = turn.is_cut = False
            actor, self._holder = self._holder, None
            if actor is not None:
                engine.running = actor
            else:
                actor = engine.pick()
            if actor is not None:
                turn.begin()
                await self._host_until_still(actor)
        finally:
            turn.end()
            self._is_moving = False
            _flush(engine)
        _raise_failure(engine)

    async def _host_until_still(self, actor: Actor) -> None:
        """Let `actor` run, and all who get the baton from it; raise what is the host's to raise."""
        self._host = trio.lowlevel.current_task()
        self._wake(actor)
        try:
            await trio.lowlevel.wait_task_rescheduled(self._stop)
        finally:
            self._host = None
            self._engine.running = None
        error, self._error = self._error, None
        if error is not None:
            raise error
        raise_cancel, self._raise_cancel = self._raise_cancel, None
        if raise_cancel is not None:
            raise_cancel()

    async def close(self) -> None:
        """Close all coroutines and let all actor tasks end."""
        assert self._host is None, "the machine is moving"
        if not self._is_closed:
            self._is_closed = True
            for actor in self._engine.actors:
                if actor.task is not None and not actor.finished:
                    trio.lowlevel.reschedule(actor.task)
        close_actors(self._engine)

    def _wake(self, actor: Actor) -> None:
        if actor.task is None:
            self._nursery.start_soon(self._drive, actor, name=actor.name)
        else:
            trio.lowlevel.reschedule(actor.task)

    async def _drive(self, actor: Actor) -> None:
        """Be the task of `actor`: let it run, pass the baton on, and wait to get it back."""
        engine = self._engine
        actor.task = trio.lowlevel.current_task()
        wait = trio.lowlevel.wait_task_rescheduled
        while True:
            try:
                successor = actor if advance(engine, actor) else engine.pick()
                if successor is actor:
                    successor = await self._run_alone(actor)
            except BaseException as error:  # noqa: BLE001 - it is raised again, where run is awaited
                actor.finished = getcoroutinestate(actor.coro) == CORO_CLOSED
                self._error = error
                successor = None
            if successor is not None:
                self._wake(successor)
            elif self._host is not None:
                trio.lowlevel.reschedule(self._host)
            if actor.finished:
                return
            await wait(self._abort)
            if self._is_closed:
                return

    async def _run_alone(self, actor: Actor) -> Actor | None:
        """Let `actor`, who has the baton, go on until another gets it; return who, if anybody."""
        engine = self._engine
        turn = engine.turn
        pick = engine.pick
        nr_looks = 0
        while True:
            nr_looks += 1
            if nr_looks == _LOOKS_BETWEEN_CHECKPOINTS or turn.is_over():
                # Nobody cancels an actor's task while the machine moves: the host is told.
                await trio.lowlevel.cancel_shielded_checkpoint()
                if turn.is_cut:
                    self._holder = actor
                    engine.running = None
                    return None
                turn.begin()
                nr_looks = 0
            for _ in repeat(None, _SWITCHES_BETWEEN_LOOKS):
                if advance(engine, actor):
                    break
                successor = pick()
                if successor is not actor:
                    return successor

    def _stop(self, raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        self._engine.stop_requested = True
        self._engine.turn.cut()
        self._raise_cancel = raise_cancel
        return trio.lowlevel.Abort.FAILED

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        """Let an actor's task be cancelled only while the machine stands still."""
        if self._host is not None:
            return trio.lowlevel.Abort.FAILED
        self._is_closed = True
        return trio.lowlevel.Abort.SUCCEEDED


def close_actors(engine: Engine) -> None:
    """Close every coroutine that has not ended; raise the first error that one raised at that."""
    errors = [
        (actor, error)
        for actor in engine.actors
        if not actor.finished and (error := _close(actor)) is not None
    ]
    engine.running = None
    engine.is_closed = True
    for tell in engine.when_closed:
        tell()
    if errors and engine.failure is None:
        actor, error = errors[0]
        failure = ActorCrashed(f"{actor} raised {error!r} while it was being closed")
        engine.fail(failure)
        raise failure from error


def _close(actor: Actor) -> Exception | None:
    actor.finished = True
    try:
        actor.coro.close()
    except Exception as error:  # noqa: BLE001 - the others have to be closed first
        return error
    return None


def _flush(engine: Engine) -> None:
    """Hand over the events that wait: the machine stands still."""
    if engine.tracer is not None:
        engine.tracer.flush()


def _raise_failure(engine: Engine) -> None:
    if engine.failure is not None:
        raise engine.failure
