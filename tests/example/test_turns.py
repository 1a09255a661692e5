"""Turns: a machine is cancelled soon wherever it is, and the run does not know."""

import signal
import threading
import time

import pytest
import trio
import trio.testing
from attrs import evolve
from engines import engine_of, spawn
from machines import Lines, scenario_of

from mmactors.engine.driver import InlineDriver
from mmactors.engine.scope import DriverScope
from mmactors.engine.turn import TURN_S, Turn
from mmactors.observe.log import EventLog
from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.machine import Machine
from mmactors.workload.operation.all import parse_operation

DRIVERS = pytest.mark.parametrize("driver", ["inline", "trio"])
QUANTA = pytest.mark.parametrize("quantum_ns", [10_000, 10**9])

PROGRAMS = {
    "one that faults": ["mmap A 2M", *["touch A write", "madvise A DONTNEED"] * 2000],
    "one that hits its caches": ["mmap A 64K", "touch A read passes=1000000000"],
    "one whose operations cost nothing": ["nop"] * 60_000,
}
SOON_S = 0.5
"""Seconds of the processor: 0.1, and what is done besides. A loaded host changes little of that."""


def scenario_named(name, **options):
    """Return the machine of one CPU that runs one of the long programs."""
    texts = PROGRAMS[name]
    parsed = {text: parse_operation(text) for text in dict.fromkeys(texts)}
    scenario = scenario_of([], **options)
    process = evolve(scenario.processes[0], program=tuple(parsed[text] for text in texts))
    return evolve(scenario, processes=(process,))


async def warm_up(scenario):
    """Compile and load what the first run of a process does."""
    async with Machine(scenario) as machine:
        await machine.run(until_ns=20_000)


@DRIVERS
@QUANTA
@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_lone_program_is_cancelled_soon(name, driver, quantum_ns):
    """A deadline is kept though nobody else ever gets the baton."""
    scenario = scenario_named(name, driver=driver, quantum_ns=quantum_ns)
    await warm_up(scenario)
    async with Machine(scenario) as machine:
        began_s = time.process_time()
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.02):
            await machine.run()

        assert time.process_time() - began_s < 0.02 + SOON_S
        assert not machine.is_complete


@DRIVERS
async def test_accesses_that_are_looked_at_one_by_one_are_cancelled_soon(driver):
    """A batch of accesses which a sanitizer follows takes a second or more."""
    scenario = evolve(
        scenario_of(["mmap A 4K", "touch A read passes=10000000"], driver=driver, quantum_ns=10**9),
        sanitize=SanitizeConfig(contents=True),
    )
    await warm_up(scenario)
    async with Machine(scenario) as machine:
        began_s = time.process_time()
        with trio.move_on_after(0.05) as scope:
            await machine.run()

        assert scope.cancelled_caught
        assert time.process_time() - began_s < 0.05 + SOON_S


@DRIVERS
@pytest.mark.parametrize("options", [{"policy": "seeded", "seed": 3}, {"quantum_ns": 10**9}, {}])
async def test_a_run_that_was_cancelled_everywhere_is_the_run_that_was_not(
    driver, options, monkeypatch
):
    """Log and schedule are equal to the byte, wherever turns ended and whoever was cancelled."""
    program = ["mmap A 256K", "touch A write passes=20", "nop", "munmap A", "nop", "nop"] * 4
    scenario = scenario_of(program, driver=driver, **options)
    whole, pieces = Lines(), Lines()
    async with Machine(scenario, sink=EventLog(whole)) as machine:
        await machine.run()
        schedule = list(machine.schedule())

    monkeypatch.setattr("mmactors.engine.turn.TURN_S", 0.0)
    nr_cancelled = 0
    async with Machine(scenario, sink=EventLog(pieces)) as machine:
        while not machine.is_complete:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after, scope, 2 + nr_cancelled % 5)
                    await machine.run()
                    nursery.cancel_scope.cancel()
            nr_cancelled += scope.cancelled_caught

        assert nr_cancelled > 10
        assert schedule == list(machine.schedule())
    assert whole.lines == pieces.lines


async def cancel_after(scope, nr_rounds):
    """Cancel after some rounds of the event loop."""
    for _ in range(nr_rounds):
        await trio.lowlevel.checkpoint()
    scope.cancel()


@DRIVERS
async def test_an_actor_that_was_cancelled_while_it_breathed_goes_on_first(driver):
    """It kept the baton: nobody was picked, no time passed, its limit is what it was."""
    engine = engine_of(driver=driver, quantum_ns=10**6)
    done = []

    async def breathes():
        for number in range(4):
            await engine.breathe()
            await engine.spend(1)
            done.append((number, engine.now_ns))

    async def waits():
        await engine.spend(5)
        done.append(("waits", engine.now_ns))

    spawn(engine, "breathes", breathes())
    spawn(engine, "waits", waits())
    async with DriverScope(engine) as mover:
        for nr_done in range(4):
            with trio.CancelScope() as scope:
                engine.turn.begin = lambda scope=scope: scope.cancel()
                engine.turn.is_over = lambda: True
                await mover.run()
            assert scope.cancelled_caught
            assert nr_done == len(done)
            assert engine.running is None
        del engine.turn.begin, engine.turn.is_over
        await mover.run()

    assert [(0, 1), (1, 2), (2, 3), (3, 4), ("waits", 5)] == done
    assert ["breathes: start", "waits: start"] == engine.recorder.last(9)


@DRIVERS
def test_an_interrupt_from_the_keyboard_ends_a_lone_program_soon(driver):
    """Ctrl-C comes out of trio.run."""
    scenario = scenario_named("one that hits its caches", driver=driver)
    trio.run(warm_up, scenario)

    async def main():
        async with Machine(scenario) as machine:
            await machine.run()

    main_thread = threading.main_thread().ident
    timer = threading.Timer(0.1, signal.pthread_kill, (main_thread, signal.SIGINT))
    began_s = time.process_time()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        trio.run(main)

    assert time.process_time() - began_s < 0.1 + SOON_S + 1.0


@DRIVERS
def test_a_machine_whose_operations_cost_nothing_stops_when_it_is_told_to(driver):
    """`stop` from another thread needs no operation that spends time; it does not starve."""
    scenario = scenario_named("one whose operations cost nothing", driver=driver)
    trio.run(warm_up, scenario)

    async def main():
        async with Machine(scenario) as machine:
            timer = threading.Timer(0.03, machine.stop)
            timer.start()
            await machine.run()
            timer.join()

            assert not machine.is_complete

    trio.run(main)


def test_a_turn_ends_by_the_clock_on_the_wall_and_not_by_trios():
    """A mock clock that stands still makes no machine keep the thread."""
    turn = Turn()
    assert not turn.is_over()
    turn.begin()
    assert not turn.is_over()
    time.sleep(TURN_S)
    assert turn.is_over()
    turn.end()
    assert not turn.is_over()
    turn.cut()
    assert turn.is_over()
    assert turn.is_cut


async def test_an_actor_may_breathe_without_any_event_loop():
    """A driver that shares the thread with nobody goes on at once."""
    engine = engine_of()
    done = []

    async def breathes():
        await engine.breathe()
        done.append(engine.current.name)

    spawn(engine, "a", breathes())
    InlineDriver(engine).run_to_end()

    assert ["a"] == done


@DRIVERS
async def test_other_tasks_are_stepped_while_a_lone_program_runs(driver):
    """And what they see of the machine grows."""
    scenario = scenario_named("one that hits its caches", driver=driver)
    seen = []
    async with Machine(scenario) as machine, trio.open_nursery() as nursery:
        nursery.start_soon(machine.run)
        for _ in range(20):
            await trio.sleep(TURN_S)
            seen.append(machine.progress().accesses)
        nursery.cancel_scope.cancel()

    assert seen == sorted(seen)
    assert len(set(seen)) > 5
