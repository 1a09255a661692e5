"""The drivers among other trio code: cancelling, going on, closing, keyboard interrupts."""

import pytest
import trio
import trio.testing
from engines import Log, engine_of, spawn

from mmactors.engine.driver import InlineDriver
from mmactors.engine.report import ActorCrashed
from mmactors.engine.schedule import ScheduleMismatch
from mmactors.engine.scope import DriverScope

DRIVERS = pytest.mark.parametrize("driver", ["inline", "trio"])


def counters(engine, log, *, nr_steps=10_000):
    """Spawn two actors that count, and close properly."""

    async def counts():
        try:
            for _ in range(nr_steps):
                await engine.spend(1)
        finally:
            log.entries.append((0, "", "closed"))

    spawn(engine, "a", counts())
    spawn(engine, "b", counts())


async def nr_tasks():
    """Return how many tasks the run has now."""
    await trio.testing.wait_all_tasks_blocked()
    return trio.lowlevel.current_statistics().tasks_living


@DRIVERS
async def test_a_machine_goes_on_after_its_mover_was_cancelled(driver):
    """Cancelling `run` stops the machine; running again finishes it, with the same log."""
    nr_steps = {"inline": 150_000, "trio": 100}[driver]  # some rounds of the event loop each
    engine = engine_of(driver=driver)
    counters(engine, Log(engine), nr_steps=nr_steps)
    async with DriverScope(engine) as mover:
        nr_cancelled = 0
        while not engine.is_complete:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_soon, scope)
                    await mover.run()
                    nursery.cancel_scope.cancel()
            nr_cancelled += scope.cancelled_caught
    whole = engine_of(driver="inline")
    counters(whole, Log(whole), nr_steps=nr_steps)
    InlineDriver(whole).run_to_end()

    assert 0 < nr_cancelled
    assert list(whole.recorder.schedule("f")) == list(engine.recorder.schedule("f"))


async def cancel_soon(scope):
    """Cancel after a few rounds of the event loop."""
    for _ in range(5):
        await trio.lowlevel.checkpoint()
    scope.cancel()


@DRIVERS
async def test_cancelling_from_outside_leaves_nothing_running(driver):
    """Actors are closed, tasks are gone."""
    before = await nr_tasks()
    engine = engine_of(driver=driver)
    log = Log(engine)
    counters(engine, log, nr_steps=10**9)

    async def never_started():
        log.entries.append((0, "", "started"))

    with trio.move_on_after(0.05) as scope:
        async with DriverScope(engine) as mover:
            engine.spawn("late", never_started(), is_ready=False)
            await mover.run()

    assert scope.cancelled_caught
    assert ["closed", "closed"] == log.texts()
    assert before == await nr_tasks()


@DRIVERS
async def test_leaving_without_running_closes_what_never_started(driver):
    """No warning of a coroutine that was never awaited."""
    engine = engine_of(driver=driver)
    log = Log(engine)
    counters(engine, log)

    async with DriverScope(engine):
        pass

    assert [] == log.texts()
    assert all(actor.finished for actor in engine.actors)


@DRIVERS
async def test_what_the_body_raises_passes_through_unwrapped(driver):
    """A nursery's group is not seen."""
    engine = engine_of(driver=driver)
    counters(engine, Log(engine))

    with pytest.raises(KeyError, match="mine"):
        async with DriverScope(engine):
            raise KeyError("mine")


@DRIVERS
async def test_an_error_while_closing_is_told_after_all_are_closed(driver):
    """One bad actor does not keep the others open."""
    engine = engine_of(driver=driver)
    log = Log(engine)

    async def is_bad():
        try:
            while True:
                await engine.spend(1)
        finally:
            raise ValueError("in finally")

    spawn(engine, "bad", is_bad())
    counters(engine, log, nr_steps=10**9)
    engine.until_ns = 100

    with pytest.raises(ActorCrashed, match=r"bad raised ValueError\('in finally'\) while it was"):
        async with DriverScope(engine) as mover:
            await mover.run()

    assert ["closed", "closed"] == log.texts()


@DRIVERS
async def test_an_actor_that_awaits_while_closing_is_an_error(driver):
    """Nobody steps it any more; the report says so instead of hanging."""
    engine = engine_of(driver=driver)

    async def awaits():
        try:
            while True:
                await engine.spend(1)
        finally:
            await engine.pause("too late")

    spawn(engine, "awaits", awaits())
    spawn(engine, "other", awaits())
    engine.until_ns = 100

    with pytest.raises(ActorCrashed, match="while it was being closed"):
        async with DriverScope(engine) as mover:
            await mover.run()


@DRIVERS
def test_an_interrupt_from_the_keyboard_comes_out_of_run(driver):
    """Raised in an actor, it ends the run as itself, and everything is closed."""
    engine = engine_of(driver=driver)
    log = Log(engine)

    async def interrupted():
        await engine.spend(50)
        raise KeyboardInterrupt

    async def main():
        async with DriverScope(engine) as mover:
            await mover.run()

    counters(engine, log)
    spawn(engine, "interrupted", interrupted())

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)

    assert ["closed", "closed"] == log.texts()


@DRIVERS
async def test_a_schedule_that_does_not_fit_comes_out_of_run(driver):
    """Errors of the policy are raised where the machine is moved."""
    recorded = engine_of()
    counters(recorded, Log(recorded), nr_steps=5)
    InlineDriver(recorded).run_to_end()
    engine = engine_of(driver=driver, schedule=recorded.recorder.schedule("f"))
    counters(engine, Log(engine), nr_steps=6)

    with pytest.raises(ScheduleMismatch):
        async with DriverScope(engine) as mover:
            await mover.run()


@DRIVERS
async def test_two_tasks_cannot_move_one_machine(driver):
    """The second one is told so."""
    engine = engine_of(driver=driver)
    counters(engine, Log(engine), nr_steps=10**9)

    with pytest.raises(AssertionError, match="two tasks move the machine"):  # noqa: PT012
        async with DriverScope(engine) as mover:
            errors = []

            async def also():
                try:
                    await mover.run()
                except AssertionError as error:
                    errors.append(error)
                    scope.cancel()

            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(also)
                    nursery.start_soon(also)
            raise errors[0]


@DRIVERS
async def test_other_tasks_get_their_turn_while_the_machine_moves(driver):
    """A machine does not keep the event loop to itself."""
    engine = engine_of(driver=driver)
    counters(engine, Log(engine), nr_steps={"inline": 150_000, "trio": 20_000}[driver])
    turns = []

    async def lives():
        while True:
            turns.append(engine.is_complete)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lives)
        async with DriverScope(engine) as mover:
            await mover.run()
        nursery.cancel_scope.cancel()

    assert 10 < turns.count(False)


async def test_the_machine_stands_still_while_nobody_moves_it():
    """Time passes only inside `run`."""
    engine = engine_of(driver="trio", quantum_ns=0)
    counters(engine, Log(engine))
    async with DriverScope(engine) as mover:
        engine.until_ns = 500
        await mover.run()
        before = engine.now_ns
        await trio.testing.wait_all_tasks_blocked()

        assert before == engine.now_ns == 500


@DRIVERS
async def test_cancelling_a_machine_at_rest_leaves_nothing_running(driver):
    """Its tasks end, its coroutines are closed."""
    before = await nr_tasks()
    engine = engine_of(driver=driver)
    log = Log(engine)
    counters(engine, log)
    engine.until_ns = 100
    with trio.move_on_after(0.05) as scope:
        async with DriverScope(engine) as mover:
            await mover.run()
            await trio.sleep_forever()

    assert scope.cancelled_caught
    assert ["closed", "closed"] == log.texts()
    assert before == await nr_tasks()


@DRIVERS
async def test_a_shielded_mover_finishes_in_a_cancelled_scope(driver):
    """Actors are not cancelled while the machine moves."""
    engine = engine_of(driver=driver)
    counters(engine, Log(engine), nr_steps=500)
    with trio.CancelScope() as scope:
        async with DriverScope(engine) as mover:
            engine.until_ns = 100
            await mover.run()
            engine.until_ns = 1 << 62
            with trio.CancelScope(shield=True):
                trio.lowlevel.spawn_system_task(cancel_soon, scope)
                await mover.run()

    assert engine.is_complete
