"""Where the time of CPUs and threads goes, and what is a context switch."""

from attrs import astuple
from engines import Log, cpu_of, engine_of, run, thread

from mmactors.engine.cpu import Interrupt
from mmactors.engine.cpu_times import CpuUsage, Usage, cpu_usage, thread_usage
from mmactors.engine.wait_queue import WaitQueue


def test_what_a_thread_has_of_a_cpu_is_system_time_unless_it_is_in_user_mode():
    """An interrupt belongs to neither, wherever it comes."""
    engine = engine_of()
    cpus = [cpu_of(engine, 0), cpu_of(engine, 1)]

    async def handler(cpu):
        await engine.spend(7)

    async def works():
        await engine.spend(100)
        cpus[0].times.enter_user(cpus[0].clock.now)
        await engine.spend(50)
        cpus[0].times.leave_user(worker.times, cpus[0].clock.now)
        await engine.spend(10)

    async def sends():
        for at_ns in (30, 120):
            await engine.spend(at_ns - cpus[1].clock.now)
            cpus[0].raise_interrupt(Interrupt("TEST", handler), latency_ns=0)

    worker = thread(cpus[0], "works", works())
    thread(cpus[1], "sends", sends())
    run(engine)

    assert CpuUsage(user_ns=50, system_ns=110, irq_ns=14) == cpu_usage(cpus[0], engine.now_ns)
    assert Usage(user_ns=50, system_ns=110) == thread_usage(cpus[0], worker, engine.now_ns)


def test_the_times_of_a_cpu_add_up_at_every_moment():
    """In the middle of user mode, of an interrupt, of a sleep, and before a thread's first step."""
    engine = engine_of()
    cpu, looker_cpu = cpu_of(engine, 0, switch_ns=3), cpu_of(engine, 1)
    queue = WaitQueue(engine, "the bell")
    seen = []

    async def handler(cpu):
        await engine.spend(20)

    async def sleeps():
        cpu.times.enter_user(cpu.clock.now)
        await engine.spend(40)
        cpu.times.leave_user(sleeper.times, cpu.clock.now)
        await queue.sleep()
        await engine.spend(10)

    async def looks():
        for _ in range(12):
            await engine.spend(10)
            now_ns = looker_cpu.clock.now
            if now_ns == 20:
                cpu.raise_interrupt(Interrupt("TEST", handler), latency_ns=0)
            if now_ns == 100:
                queue.wake_all(at_ns=now_ns)
            seen.append((now_ns, cpu_usage(cpu, now_ns)))

    sleeper = thread(cpu, "sleeps", sleeps())
    thread(looker_cpu, "looks", looks())
    run(engine)

    assert [now_ns for now_ns, _ in seen] == [sum(astuple(usage)) for _, usage in seen]
    assert CpuUsage(user_ns=30, irq_ns=20) == dict(seen)[50]
    assert CpuUsage(user_ns=40, idle_ns=40, irq_ns=20) == dict(seen)[100]
    assert CpuUsage(user_ns=40, system_ns=10, idle_ns=50, irq_ns=20) == dict(seen)[120]


def test_switches_are_counted_to_idle_and_from_idle_too():
    """A thread that sleeps and wakes alone switches twice; it is what ctxt counts."""
    engine = engine_of()
    cpus = [cpu_of(engine, 0), cpu_of(engine, 1)]
    queue = WaitQueue(engine, "the bell")
    log = Log(engine)

    async def sleeps():
        await engine.spend(10)
        await queue.sleep()
        log("awake")

    async def rings():
        await engine.spend(100)
        queue.wake_all(at_ns=100)

    sleeper = thread(cpus[0], "sleeps", sleeps())
    thread(cpus[1], "rings", rings())
    run(engine)

    assert {"awake": 100} == log.times()
    assert (4, 2) == tuple(cpu.context_switches for cpu in cpus)
    assert (2, 0) == (sleeper.times.nvcsw, sleeper.times.nivcsw)


def test_who_has_used_up_its_slice_switches_against_its_will():
    """Ending is voluntary; what another thread does is not counted as one's own."""
    engine = engine_of()
    cpu = cpu_of(engine, 0, slice_ns=10)

    async def works():
        for _ in range(3):
            await engine.spend(10)
            await cpu.cond_resched()

    first, second = (thread(cpu, name, works()) for name in ("a", "b"))
    run(engine)

    assert (1, 3) == (first.times.nvcsw, first.times.nivcsw)
    assert (1, 3) == (second.times.nvcsw, second.times.nivcsw)
    assert 9 == cpu.context_switches
