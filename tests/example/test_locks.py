"""Spinlocks and mutexes: who has them, when, and what lock_stat says of it."""

from itertools import pairwise

import pytest
from engines import Log, cpu_of, engine_of, run, spawn, thread

from mmactors.engine.cpu import Interrupt
from mmactors.engine.driver import close_actors
from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.lock.spinlock import Mutex, Spinlock


def lock_of(engine, kind=Spinlock, name="lock"):
    """Return a lock, and the statistics its class is counted in."""
    statistics = LockStatistics()
    return kind(engine, statistics.of("class"), name=name), statistics


@pytest.mark.parametrize("kind", [Spinlock, Mutex])
def test_waiters_have_the_lock_in_order_of_arrival(kind):
    """Sections follow each other without a gap and never overlap."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(3)]
    lock, _ = lock_of(engine, kind)
    log = Log(engine)

    async def works(before_ns):
        await engine.spend(before_ns)
        async with lock:
            log("in")
            await engine.spend(100)

    for cpu, before_ns in zip(cpus, (20, 10, 30), strict=True):
        thread(cpu, f"t{cpu.index}", works(before_ns))
    run(engine)

    assert [(10, "t1", "in"), (110, "t0", "in"), (210, "t2", "in")] == log.entries


def test_lock_stat_counts_as_the_kernel_does():
    """Contentions with their waits, acquisitions with their holds, and bounces between CPUs."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(3)]
    lock, statistics = lock_of(engine)

    async def works(before_ns, hold_ns):
        await engine.spend(before_ns)
        async with lock:
            await engine.spend(hold_ns)

    thread(cpus[0], "first", works(0, 100))
    thread(cpus[0], "again", works(300, 60))
    thread(cpus[1], "waits", works(40, 50))
    thread(cpus[2], "waits longer", works(70, 10))
    run(engine)
    write = statistics.statistics()[0].write

    assert (4, 10, 100, 220, 55) == (
        write.acquisitions,
        write.holdtime_min_ns,
        write.holdtime_max_ns,
        write.holdtime_total_ns,
        write.holdtime_avg_ns,
    )
    assert (2, 60, 80, 140, 70) == (
        write.contentions,
        write.waittime_min_ns,
        write.waittime_max_ns,
        write.waittime_total_ns,
        write.waittime_avg_ns,
    )
    assert (2, 3) == (write.con_bounces, write.acq_bounces)


def test_a_spinning_cpu_takes_interrupts():
    """Spinning with interrupts on serves them; the lock is had afterwards."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(2)]
    lock, _ = lock_of(engine)
    log = Log(engine)

    async def handler(cpu):
        log("interrupt")
        await engine.spend(500)

    async def holds():
        async with lock:
            cpus[1].raise_interrupt(Interrupt("TEST", handler), latency_ns=50)
            await engine.spend(100)

    async def spins():
        await engine.spend(10)
        async with lock:
            log("in")

    thread(cpus[0], "holds", holds())
    thread(cpus[1], "spins", spins())
    run(engine)

    assert {"interrupt": 50, "in": 550} == log.times()


def test_irqsave_keeps_interrupts_off_while_spinning_and_inside():
    """The interrupt waits for the end of the section."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(2)]
    lock, _ = lock_of(engine)
    log = Log(engine)

    async def handler(cpu):
        log("interrupt")

    async def holds():
        async with lock:
            cpus[1].raise_interrupt(Interrupt("TEST", handler), latency_ns=50)
            await engine.spend(100)

    async def spins():
        await engine.spend(10)
        async with lock.irqsave():
            log("in")
            await engine.spend(30)
        await engine.spend(1)

    thread(cpus[0], "holds", holds())
    thread(cpus[1], "spins", spins())
    run(engine)

    assert {"in": 100, "interrupt": 130} == log.times()
    assert cpus[1].irqs_enabled


def test_a_sleeping_waiter_gives_its_cpu_away():
    """Another thread of the CPU works while the first waits for a mutex."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(2)]
    lock, _ = lock_of(engine, Mutex)
    log = Log(engine)

    async def holds():
        async with lock:
            await engine.spend(100)

    async def waits():
        await engine.spend(10)
        async with lock:
            log("in")

    async def works():
        await engine.spend(40)
        log("worked")

    thread(cpus[0], "holds", holds())
    thread(cpus[1], "waits", waits())
    thread(cpus[1], "works", works())
    run(engine)

    assert {"worked": 50, "in": 100} == log.times()


def test_sections_never_overlap_even_if_a_cpu_runs_ahead():
    """Who is behind finds the lock free, and still waits for the time of its release."""
    engine = engine_of(quantum_ns=10_000)
    cpus = [cpu_of(engine, index) for index in range(2)]
    lock, statistics = lock_of(engine)
    sections = []

    async def works(ns):
        for _ in range(20):
            await engine.spend(ns)
            async with lock:
                began_ns = engine.now_ns
                await engine.spend(100)
                sections.append((began_ns, engine.now_ns))

    thread(cpus[0], "a", works(70))
    thread(cpus[1], "b", works(90))
    run(engine)
    sections.sort()

    assert all(end <= begin for (_, end), (begin, _) in pairwise(sections))
    assert 40 == statistics.statistics()[0].write.acquisitions


def test_the_short_way_takes_no_lock_that_needs_waiting():
    """`acquire_nowait` and `release_nowait` do all or nothing."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(2)]
    lock, _ = lock_of(engine)
    answers = []

    async def holds():
        answers.append(lock.acquire_nowait())  # The other CPU could come first at time 0.
        await lock.acquire()
        await engine.spend(100)
        answers.append(lock.release_nowait())

    async def tries():
        await engine.spend(10)
        answers.append(lock.acquire_nowait())
        await engine.spend(300)
        answers.append(lock.acquire_nowait())
        answers.append(lock.release_nowait())

    thread(cpus[0], "holds", holds())
    thread(cpus[1], "tries", tries())
    run(engine)

    assert [False, False, True, True, True] == answers
    assert [0, 0] == [cpu.spinlocks_held for cpu in cpus]


def test_an_error_inside_a_section_releases_the_lock():
    """Who catches the error may go on."""
    engine = engine_of()
    lock, _ = lock_of(engine)

    async def fails():
        try:
            async with lock.irqsave():
                {}["a key that is not there"]
        except KeyError:
            pass
        async with lock:
            pass

    cpu = cpu_of(engine, 0)
    thread(cpu, "fails", fails())
    run(engine)

    assert lock.holder is None
    assert (0, True) == (cpu.spinlocks_held, cpu.irqs_enabled)


@pytest.mark.parametrize("kind", [Spinlock, Mutex])
def test_locks_serve_actors_without_a_cpu(kind):
    """A service with a clock of its own just waits."""
    engine = engine_of()
    lock, _ = lock_of(engine, kind)

    async def works():
        async with lock:
            await engine.spend(100)

    for name in "abc":
        spawn(engine, name, works())
    run(engine)

    assert 300 == engine.now_ns


def test_a_mailbox_that_is_a_lock_is_counted_too():
    """Its server accounts each request: who asked, how long it waited and was served."""
    statistics = LockStatistics()
    zone_lock = statistics.of("&zone->lock")
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(2)]
    for cpu, waited_ns, held_ns in ((cpus[0], 0, 100), (cpus[0], 0, 50), (cpus[1], 30, 60)):
        zone_lock.account(cpu=cpu, waited_ns=waited_ns, held_ns=held_ns)
    close_actors(engine)
    write = statistics.statistics()[0].write

    assert (3, 50, 100, 210) == (
        write.acquisitions,
        write.holdtime_min_ns,
        write.holdtime_max_ns,
        write.holdtime_total_ns,
    )
    assert (1, 30, 1, 1) == (
        write.contentions,
        write.waittime_total_ns,
        write.con_bounces,
        write.acq_bounces,
    )


@pytest.mark.parametrize("kind", [Spinlock, Mutex])
def test_a_trylock_takes_what_is_free_and_never_waits(kind):
    """It fails while the lock is held; taken by it, the lock is held like any other."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(2)]
    lock, statistics = lock_of(engine, kind)
    got = []

    async def holds():
        async with lock:
            await engine.spend(100)

    async def tries():
        for _ in range(2):
            await engine.spend(60)
            got.append((engine.now_ns, await lock.trylock()))
        got.append((cpus[1].spinlocks_held, lock.holder.name))
        await lock.release()

    thread(cpus[0], "holds", holds())
    thread(cpus[1], "tries", tries())
    run(engine)

    assert [(60, False), (120, True), (int(kind is Spinlock), "tries")] == got
    assert 0 == cpus[1].spinlocks_held
    assert 2 == statistics.statistics()[0].write.acquisitions
