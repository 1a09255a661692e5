"""Reader-writer semaphores: sharing, excluding, handing over."""

import pytest
from engines import Log, cpu_of, engine_of, run, thread

from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.lock.rwsem import RwSem


class World:
    """A semaphore, a CPU for each thread, and a log of who is inside when."""

    def __init__(self, **options):
        self.engine = engine_of(**options)
        self.statistics = LockStatistics()
        self.sem = RwSem(self.engine, self.statistics.of("&mm->mmap_lock"), name="mmap_lock 1")
        self.log = Log(self.engine)

    def spawn(self, mode, *, at_ns, hold_ns):
        """Add a thread that enters at a time, unless it has to wait."""
        index = len(self.engine.actors)
        cpu = cpu_of(self.engine, index)

        async def body():
            await self.engine.spend(at_ns)
            async with self.sem.read() if mode == "r" else self.sem.write():
                self.log(f"{mode}{at_ns}")
                await self.engine.spend(hold_ns)

        thread(cpu, f"{mode}{at_ns} {index}", body())

    def run(self):
        """Run and return when each thread entered."""
        run(self.engine)
        return self.log.times()


def test_readers_share():
    """Readers do not wait for readers."""
    world = World()
    for at_ns in (10, 20, 30):
        world.spawn("r", at_ns=at_ns, hold_ns=100)

    assert {"r10": 10, "r20": 20, "r30": 30} == world.run()


def test_a_writer_is_alone():
    """A writer waits for all readers, and readers wait for the writer."""
    world = World()
    world.spawn("r", at_ns=10, hold_ns=100)
    world.spawn("r", at_ns=20, hold_ns=200)
    world.spawn("w", at_ns=30, hold_ns=100)
    world.spawn("r", at_ns=240, hold_ns=10)

    assert {"r10": 10, "r20": 20, "w30": 220, "r240": 320} == world.run()


def test_nobody_overtakes_a_waiting_writer():
    """A reader that comes after a waiting writer queues, although readers are inside."""
    world = World()
    world.spawn("r", at_ns=10, hold_ns=100)
    world.spawn("w", at_ns=20, hold_ns=100)
    world.spawn("r", at_ns=30, hold_ns=100)

    assert {"r10": 10, "w20": 110, "r30": 210} == world.run()


def test_readers_are_let_in_together_wherever_they_queue():
    """When a reader is first in the queue, all waiting readers enter (rwsem_mark_wake)."""
    world = World()
    world.spawn("w", at_ns=0, hold_ns=100)
    world.spawn("r", at_ns=10, hold_ns=50)
    world.spawn("w", at_ns=20, hold_ns=100)
    world.spawn("r", at_ns=30, hold_ns=70)

    assert {"w0": 0, "r10": 100, "r30": 100, "w20": 170} == world.run()


def test_downgrading_lets_waiting_readers_in_and_no_writer():
    """A writer that becomes a reader keeps writers out until it leaves."""
    world = World()
    engine = world.engine

    async def body():
        async with world.sem.write():
            await engine.spend(100)
            await world.sem.downgrade()
            world.log("downgraded")
            await engine.spend(100)

    thread(cpu_of(engine, 100), "downgrades", body())
    world.spawn("r", at_ns=10, hold_ns=10)
    world.spawn("w", at_ns=20, hold_ns=10)

    assert {"downgraded": 100, "r10": 100, "w20": 200} == world.run()


def test_a_writer_first_in_the_queue_stays_first_after_a_downgrade():
    """A downgrade wakes readers only if one of them is first."""
    world = World()
    engine = world.engine

    async def body():
        async with world.sem.write():
            await engine.spend(100)
            await world.sem.downgrade()
            await engine.spend(100)

    thread(cpu_of(engine, 100), "downgrades", body())
    world.spawn("w", at_ns=10, hold_ns=10)
    world.spawn("r", at_ns=20, hold_ns=10)

    assert {"w10": 200, "r20": 210} == world.run()


def test_both_sides_are_counted():
    """lock_stat has a line for writers and one for readers."""
    world = World()
    world.spawn("w", at_ns=0, hold_ns=100)
    world.spawn("r", at_ns=10, hold_ns=50)
    world.spawn("r", at_ns=300, hold_ns=50)
    world.run()
    counted = world.statistics.statistics()[0]

    assert "&mm->mmap_lock" == counted.name
    assert (1, 0, 100) == (
        counted.write.acquisitions,
        counted.write.contentions,
        counted.write.holdtime_total_ns,
    )
    assert (2, 1, 90, 100) == (
        counted.read.acquisitions,
        counted.read.contentions,
        counted.read.waittime_total_ns,
        counted.read.holdtime_total_ns,
    )


@pytest.mark.parametrize("mode", ["r", "w"])
def test_sections_do_not_overlap_in_time_when_cpus_run_ahead(mode):
    """A writer's section is alone in virtual time, whatever the quantum."""
    world = World(quantum_ns=10_000)
    spans = []

    async def works(kind, ns):
        for _ in range(10):
            await world.engine.spend(ns)
            async with world.sem.read() if kind == "r" else world.sem.write():
                began_ns = world.engine.now_ns
                await world.engine.spend(100)
                spans.append((kind, began_ns, world.engine.now_ns))

    for index, (kind, ns) in enumerate((("w", 70), (mode, 90), ("r", 30))):
        thread(cpu_of(world.engine, index), f"t{index}", works(kind, ns))
    run(world.engine)

    for number, (kind, begin, end) in enumerate(spans):
        for other, other_begin, other_end in spans[number + 1 :]:
            assert {kind, other} == {"r"} or end <= other_begin or other_end <= begin


def test_the_holder_is_named():
    """A description says who holds it and how."""
    world = World()
    engine = world.engine
    said = []

    async def body():
        said.append(world.sem.describe())
        async with world.sem.write():
            said.append(world.sem.describe())
            await world.sem.downgrade()
            said.append(world.sem.describe())

    thread(cpu_of(engine, 3), "thread 7", body())
    run(engine)

    assert [
        "mmap_lock 1, held by nobody",
        "mmap_lock 1, held for write by cpu3/thread 7",
        "mmap_lock 1, held for read by cpu3/thread 7",
    ] == said


def test_the_short_ways_do_all_or_nothing():
    """They refuse what would wait, and an error in a section lets others in."""
    world = World(quantum_ns=100)
    engine, sem = world.engine, world.sem
    answers = []

    async def body():
        answers.append(sem.acquire_write_nowait())
        answers.append(sem.acquire_read_nowait())
        answers.append(sem.release_write_nowait())
        answers.append(sem.acquire_read_nowait())
        answers.append(sem.acquire_write_nowait())
        answers.append(sem.release_read_nowait())
        for section in (sem.read(), sem.write()):
            try:
                async with section:
                    {}["a key that is not there"]
            except KeyError:
                answers.append(sem.describe())
        async with sem.write():
            await engine.spend(200)  # Beyond the limit: the release has to wait for its turn.
        async with sem.read():
            await engine.spend(200)

    async def other():
        for _ in range(100):
            await engine.spend(10)

    thread(cpu_of(engine, 0), "body", body())
    thread(cpu_of(engine, 1), "other", other())
    run(engine)

    assert [True, False, True, True, False, True] == answers[:6]
    assert ["mmap_lock 1, held by nobody"] * 2 == answers[6:]


def test_a_trylock_for_reading_fails_for_a_writer_and_for_who_waits():
    """down_read_trylock gives way to those who queue; down_write_trylock needs it free."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(3)]
    sem = RwSem(engine, LockStatistics().of("class"), name="sem")
    got = []

    async def reads():
        async with sem.read():
            await engine.spend(100)

    async def writes():
        await engine.spend(50)
        async with sem.write():
            await engine.spend(100)

    async def tries():
        for _ in range(3):
            await engine.spend(20)
            read = await sem.trylock_read()
            if read:
                await sem.release_read()
            got.append((engine.now_ns, read, await sem.trylock_write()))
        await engine.spend(200)
        got.append((engine.now_ns, await sem.trylock_write(), await sem.trylock_read()))
        await sem.release_write()

    thread(cpus[0], "reads", reads())
    thread(cpus[1], "writes", writes())
    thread(cpus[2], "tries", tries())
    run(engine)

    assert [
        (20, True, False),
        (40, True, False),
        (60, False, False),
        (260, True, False),
    ] == got
