"""Interleavings of a busy machine: repeatable, seeded, replayed, the same in both drivers."""

import pytest
import trio
from engines import Log, cpu_of, engine_of, run, spawn, thread

from mmactors.engine.cell import Cell
from mmactors.engine.ipi import call_on
from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.lock.rwsem import RwSem
from mmactors.engine.lock.spinlock import Mutex, Spinlock
from mmactors.engine.mailbox import Mailbox
from mmactors.engine.scope import DriverScope
from mmactors.engine.timer import Timer
from mmactors.engine.wait_queue import WaitQueue

OPTIONS = [
    {"quantum_ns": 0},
    {"quantum_ns": 300},
    {"quantum_ns": 0, "policy": "seeded", "seed": 1},
    {"quantum_ns": 300, "policy": "seeded", "seed": 2},
    {"quantum_ns": 300, "policy": "seeded", "seed": 3, "jitter_percent": 20},
]


class BusyMachine:
    """Four CPUs with two threads each that use all that the engine has."""

    def __init__(self, **options):
        engine = self.engine = engine_of(**options)
        statistics = LockStatistics()
        self.log = Log(engine)
        self.cpus = [cpu_of(engine, index, switch_ns=3, slice_ns=50) for index in range(4)]
        self.server = Mailbox(engine, "server")
        self.ptl = Spinlock(engine, statistics.of("ptl"), name="ptl 0x1")
        self.mutex = Mutex(engine, statistics.of("mutex"), name="mutex 1")
        self.mmap_lock = RwSem(engine, statistics.of("mmap_lock"), name="mmap_lock 1")
        self.count = Cell(engine, name="count")
        self.bell = WaitQueue(engine, "the bell")
        self.timer = Timer(engine)
        engine.spawn("server", self.serve())
        for cpu in self.cpus:
            for number in range(2):
                thread(cpu, f"t{cpu.index}.{number}", self.works(cpu, number))

    async def serve(self):
        while True:
            request = await self.server.receive()
            await self.engine.spend(15)
            self.log(f"serves {request.body}")
            request.reply.send(request.body, latency_ns=2)

    async def handler(self, cpu):
        await self.engine.spend(7)
        self.log(f"flushes {cpu.index}")

    async def works(self, cpu, number):
        engine = self.engine
        for turn in range(6):
            await engine.spend(20 * turn)
            async with self.mmap_lock.read():
                self.log(f"reads {await self.count.read()}")
                await self.server.ask(turn)
                async with self.ptl:
                    await engine.spend(5)
                    self.log(f"has ptl {await self.count.add_return(1)}")
            if turn == 3 + number:
                async with self.mmap_lock.write():
                    await engine.spend(30)
                    others = [other for other in self.cpus if other is not cpu]
                    await call_on(cpu, others, self.handler, vector="TLB", latency_ns=10)
                    self.log("unmapped")
            async with self.mutex, self.ptl.irqsave():
                await engine.spend(4)
            await cpu.cond_resched()
            if turn == 2:
                await self.timer.sleep_ns(cpu, 100)
                self.bell.wake_all(at_ns=cpu.clock.now)


def outcome(**options):
    """Run the machine; return its log and schedule."""
    machine = BusyMachine(**options)
    run(machine.engine)
    return machine.log.entries, machine.engine.recorder.schedule("f")


@pytest.mark.parametrize("options", OPTIONS)
def test_both_drivers_do_the_same(options):
    """The driver is no part of the run."""
    inline, inline_schedule = outcome(driver="inline", **options)
    under_trio, trio_schedule = outcome(driver="trio", **options)

    assert 8 * 6 * 3 + 8 * 4 == len(inline)
    assert inline == under_trio
    assert list(inline_schedule) == list(trio_schedule)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_run_is_repeatable(options):
    """Same machine, same seed: the same log."""
    assert outcome(**options)[0] == outcome(**options)[0]


def test_another_seed_is_another_interleaving():
    """Ties are served in another order, each time."""
    logs = {str(outcome(policy="seeded", seed=seed)[0]) for seed in range(8)}

    assert 8 == len(logs)


@pytest.mark.parametrize("driver", ["inline", "trio"])
@pytest.mark.parametrize("options", OPTIONS)
def test_replaying_a_schedule_repeats_the_log(options, driver):
    """A schedule holds all that was chosen."""
    log, schedule = outcome(**options)
    machine = BusyMachine(schedule=schedule, driver=driver, **options)
    run(machine.engine)

    assert log == machine.log.entries


@pytest.mark.parametrize("options", OPTIONS)
def test_guard_mode_changes_nothing(options):
    """It only looks."""
    assert outcome(**options) == outcome(guard=True, **options)


@pytest.mark.parametrize("options", OPTIONS)
def test_pausing_changes_nothing(options):
    """A run that is stopped at many times is the run that is never stopped."""
    log, schedule = outcome(**options)
    machine = BusyMachine(**options)
    engine = machine.engine

    async def main():
        async with DriverScope(engine) as driver:
            for until_ns in range(0, 100_000, 77):
                engine.until_ns = until_ns
                await driver.run()

    trio.run(main)

    assert log == machine.log.entries
    assert list(schedule) == list(engine.recorder.schedule("f"))


@pytest.mark.parametrize("options", OPTIONS)
def test_time_is_monotone_for_each_cpu(options):
    """Whoever runs on a CPU, its time never goes back."""
    log, _ = outcome(**options)
    last_ns = dict.fromkeys([f"t{cpu}" for cpu in range(4)], 0)
    for now_ns, name, _ in log:
        place = name.split(".")[0]
        if place in last_ns:
            assert last_ns[place] <= now_ns
            last_ns[place] = now_ns


def test_exact_steps_are_in_the_order_of_time():
    """With quantum 0 the whole log is sorted, whatever the seed."""
    for seed in range(5):
        times = [now for now, _, _ in outcome(policy="seeded", seed=seed)[0]]

        assert sorted(times) == times


def test_a_lost_update_needs_the_right_seed():
    """A race that is there is found by some seed, and not by all."""
    results = set()
    for seed in range(20):
        engine = engine_of(policy="seeded", seed=seed)
        count = Cell(engine, name="count")

        async def increments(engine=engine, count=count):
            await engine.spend(10)
            seen = await count.read()
            await engine.spend(0)
            await count.write(seen + 1)

        spawn(engine, "a", increments())
        spawn(engine, "b", increments())
        run(engine)
        with engine.guard.suspended():
            results.add(count._column[0])

    assert {1, 2} == results
