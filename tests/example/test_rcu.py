"""RCU: grace periods wait for the readers that were there when they began."""

import pytest
from engines import Log, cpu_of, engine_of, run, thread

from mmactors.engine.lock.rcu import Rcu
from mmactors.engine.report import SleepInAtomicContext
from mmactors.engine.wait_queue import WaitQueue


def world_of(**options):
    """Return an engine with three CPUs, its RCU, and a log."""
    engine = engine_of(**options)
    cpus = [cpu_of(engine, index) for index in range(3)]
    return engine, cpus, Rcu(engine, cpus), Log(engine)


def test_synchronize_waits_for_the_readers_that_were_inside():
    """A reader that comes later does not put the grace period off."""
    engine, cpus, rcu, log = world_of()

    async def reads(cpu, at_ns, ns):
        await engine.spend(at_ns)
        async with rcu.read(cpu):
            await engine.spend(ns)

    async def frees():
        await engine.spend(50)
        await rcu.synchronize()
        log("may free")

    thread(cpus[0], "early reader", reads(cpus[0], 10, 100))
    thread(cpus[1], "late reader", reads(cpus[1], 80, 1000))
    thread(cpus[2], "frees", frees())
    run(engine)

    assert [(110, "frees", "may free")] == log.entries


def test_without_readers_a_grace_period_is_over_at_once():
    """Nobody is waited for."""
    engine, cpus, rcu, log = world_of()

    async def frees():
        await engine.spend(50)
        await rcu.synchronize()
        log("may free")

    thread(cpus[2], "frees", frees())
    run(engine)

    assert [(50, "frees", "may free")] == log.entries
    assert 1 == rcu.nr_periods


def test_nested_sections_end_with_the_outermost():
    """Leaving an inner section does not end the reader's claim."""
    engine, cpus, rcu, log = world_of()

    async def reads():
        async with rcu.read(cpus[0]):
            async with rcu.read(cpus[0]):
                await engine.spend(100)
            await engine.spend(100)

    async def frees():
        await engine.spend(50)
        await rcu.synchronize()
        log("may free")

    thread(cpus[0], "reads", reads())
    thread(cpus[2], "frees", frees())
    run(engine)

    assert [(200, "frees", "may free")] == log.entries


def test_callbacks_run_in_order_after_a_grace_period_of_their_own():
    """A callback that comes during a grace period waits for the next one."""
    engine, cpus, rcu, log = world_of()

    async def reads(cpu, at_ns, ns):
        await engine.spend(at_ns)
        async with rcu.read(cpu):
            await engine.spend(ns)

    async def frees():
        await engine.spend(10)
        rcu.call(lambda: log("first"))
        rcu.call(lambda: log("second"))
        await engine.spend(50)
        rcu.call(lambda: log("third"))
        await engine.spend(1000)

    thread(cpus[0], "a", reads(cpus[0], 0, 100))
    thread(cpus[1], "b", reads(cpus[1], 50, 250))
    thread(cpus[2], "frees", frees())
    run(engine)

    assert [(100, "rcu", "first"), (100, "rcu", "second"), (300, "rcu", "third")] == log.entries


def test_a_grace_period_is_late_never_early_when_a_reader_ran_ahead():
    """A section that was left ahead of time still counts until its own time."""
    engine, cpus, rcu, log = world_of(quantum_ns=10_000)

    async def reads():
        async with rcu.read(cpus[0]):
            await engine.spend(5000)
        await engine.spend(100)

    async def frees():
        await engine.spend(50)
        await rcu.synchronize()
        log("may free")

    thread(cpus[0], "reads", reads())
    thread(cpus[2], "frees", frees())
    run(engine)

    assert [(5000, "frees", "may free")] == log.entries


def test_sleeping_in_a_read_section_is_an_error():
    """A kernel without preemption does not sleep there."""
    engine, cpus, rcu, _ = world_of()

    async def sleeps():
        async with rcu.read(cpus[0]):
            await WaitQueue(engine, "the bell").sleep()

    thread(cpus[0], "sleeps", sleeps())

    with pytest.raises(SleepInAtomicContext, match="1 RCU read sections"):
        run(engine)
