"""CPUs: threads that borrow them, interrupts, sleeping and waking."""

import pytest
from engines import Log, cpu_of, engine_of, run, thread

from mmactors.engine.cpu import Interrupt
from mmactors.engine.ipi import call_on
from mmactors.engine.timer import Timer
from mmactors.engine.wait_queue import WaitQueue
from mmactors.label import Label, Mode

STEP = Label("step", (("thing", Mode.WRITE),))


def interrupt_of(log, *, ns=5, name="handler"):
    """Return an interrupt that takes `ns` and is logged at its begin."""

    async def handler(cpu):
        log(f"{name} on {cpu.index}")
        await cpu.engine.spend(ns)

    return Interrupt("TEST", handler)


def test_an_interrupt_cuts_spend_and_the_rest_is_spent_afterwards():
    """The handler's time is added to the work it cuts."""
    engine = engine_of()
    cpus = [cpu_of(engine, 0), cpu_of(engine, 1)]
    log = Log(engine)

    async def works():
        await engine.spend(100)
        log("done")

    async def sends():
        await engine.spend(30)
        cpus[0].raise_interrupt(interrupt_of(log), latency_ns=10)

    thread(cpus[0], "works", works())
    thread(cpus[1], "sends", sends())
    run(engine)

    assert [(40, "works", "handler on 0"), (105, "works", "done")] == log.entries
    assert 1 == cpus[0].interrupts["TEST"]
    assert 5 == cpus[0].times.irq_ns


def test_an_interrupt_waits_until_interrupts_are_on():
    """With interrupts off it stays pending; the next boundary after that takes it."""
    engine = engine_of()
    cpus = [cpu_of(engine, 0), cpu_of(engine, 1)]
    log = Log(engine)

    async def works():
        with cpus[0].irqs_off():
            await engine.spend(100)
            log("critical")
        await engine.spend(20)
        log("done")

    async def sends():
        await engine.spend(30)
        cpus[0].raise_interrupt(interrupt_of(log), latency_ns=0)

    thread(cpus[0], "works", works())
    thread(cpus[1], "sends", sends())
    run(engine)

    assert {"critical": 100, "handler on 0": 100, "done": 125} == log.times()


def test_an_idle_cpu_takes_interrupts():
    """The idle context runs the handler, at the time of arrival."""
    engine = engine_of()
    cpus = [cpu_of(engine, 0), cpu_of(engine, 1)]
    log = Log(engine)

    async def sends():
        await engine.spend(30)
        cpus[0].raise_interrupt(interrupt_of(log, name="first"), latency_ns=10)
        cpus[0].raise_interrupt(interrupt_of(log, name="second"), latency_ns=11)
        cpus[0].raise_interrupt(interrupt_of(log, name="third"), latency_ns=70)
        await engine.spend(100)

    thread(cpus[1], "sends", sends())
    run(engine)

    assert {"first on 0": 40, "second on 0": 45, "third on 0": 100} == log.times()
    assert {"cpu0"} == {actor for _, actor, _ in log.entries}


def test_an_interrupt_that_comes_while_another_is_handled_is_not_lost():
    """It is taken although its CPU did not know of it when it began to spin again."""
    engine = engine_of()
    cpus = [cpu_of(engine, 0), cpu_of(engine, 1)]
    log = Log(engine)

    async def spins():
        queue = WaitQueue(engine, "nothing")
        while engine.now_ns < 90:
            await engine.wait(queue, "spin")
        log("over")

    async def sends():
        cpus[0].raise_interrupt(interrupt_of(log, ns=20, name="long"), latency_ns=10)
        await engine.spend(15)
        cpus[0].raise_interrupt(interrupt_of(log, name="during"), latency_ns=0)
        cpus[0].raise_interrupt(interrupt_of(log, name="later"), latency_ns=80)

    thread(cpus[0], "spins", spins())
    thread(cpus[1], "sends", sends())
    run(engine)

    assert {"long on 0": 10, "during on 0": 30, "later on 0": 95, "over": 100} == log.times()


def test_a_step_after_an_interrupt_waits_for_its_turn_again():
    """With quantum 0 the time that the handler took puts the step off."""
    engine = engine_of()
    cpus = [cpu_of(engine, 0), cpu_of(engine, 1)]
    log = Log(engine)

    async def steps():
        with cpus[0].irqs_off():
            await engine.spend(50)
        await engine.step(STEP)
        log("a")

    async def sends():
        cpus[0].raise_interrupt(interrupt_of(log, ns=100), latency_ns=20)
        await engine.spend(100)
        await engine.step(STEP)
        log("b")

    thread(cpus[0], "steps", steps())
    thread(cpus[1], "sends", sends())
    run(engine)

    assert [(50, "handler on 0"), (100, "b"), (150, "a")] == [
        (now, what) for now, _, what in log.entries
    ]


def test_threads_share_a_cpu_in_slices():
    """Who has used up its slice goes behind the others; the switch costs."""
    engine = engine_of()
    cpu = cpu_of(engine, 0, switch_ns=2, slice_ns=10)
    log = Log(engine)

    async def works():
        for _ in range(3):
            await engine.spend(10)
            log("worked")
            await cpu.cond_resched()

    async def body():
        await works()
        cpu.exit_thread()

    thread(cpu, "a", body())
    thread(cpu, "b", body())
    run(engine)

    assert [(10, "a"), (22, "b"), (34, "a"), (46, "b"), (58, "a"), (70, "b")] == [
        (now, name) for now, name, _ in log.entries
    ]
    # Two to threads that had only to return, one from idle, one to idle.
    assert 9 == cpu.context_switches


def test_a_thread_that_returns_gives_its_cpu_away():
    """The next thread runs although nobody called exit_thread."""
    engine = engine_of()
    cpu = cpu_of(engine, 0)
    log = Log(engine)

    async def works():
        await engine.spend(10)
        log("worked")

    thread(cpu, "a", works())
    thread(cpu, "b", works())
    run(engine)

    assert [(10, "a", "worked"), (20, "b", "worked")] == log.entries
    assert 0 == cpu.nr_running(engine.now_ns)


def test_a_thread_of_the_future_does_not_block_its_cpu():
    """Others run until its time comes, and idle time is counted."""
    engine = engine_of()
    cpu = cpu_of(engine, 0)
    log = Log(engine)

    async def works(ns):
        await engine.spend(ns)
        log("worked")

    thread(cpu, "future", works(1), at_ns=1000)
    thread(cpu, "present", works(10))
    run(engine)

    assert [(10, "present", "worked"), (1001, "future", "worked")] == log.entries
    assert 990 == cpu.times.idle_ns


def test_sleepers_wake_in_order_of_arrival():
    """A wait queue is first come, first served; sleeping gives the CPU to others."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(3)]
    queue = WaitQueue(engine, "the bell")
    log = Log(engine)

    async def sleeps(before_ns):
        await engine.spend(before_ns)
        await queue.sleep()
        log("awake")

    async def rings():
        await engine.spend(100)
        queue.wake(1, at_ns=100)
        await engine.spend(100)
        queue.wake_all(at_ns=200)

    thread(cpus[0], "second", sleeps(20))
    thread(cpus[1], "first", sleeps(10))
    thread(cpus[1], "third", sleeps(20))
    thread(cpus[2], "rings", rings())
    run(engine)

    assert [(100, "first"), (200, "second"), (200, "third")] == sorted(
        (now, name) for now, name, _ in log.entries
    )


def test_a_handler_on_an_idle_cpu_may_wake_a_thread():
    """The thread runs after the handler, not beside it: only the top context of a CPU runs."""
    engine = engine_of()
    cpus = [cpu_of(engine, 0), cpu_of(engine, 1)]
    queue = WaitQueue(engine, "the handler")
    log = Log(engine)

    async def handler(cpu):
        queue.wake_all(at_ns=cpu.clock.now)
        await engine.spend(30)
        log("handled")

    async def sleeps():
        await queue.sleep()
        log("awake")

    async def sends():
        await engine.spend(10)
        cpus[0].raise_interrupt(Interrupt("TEST", handler), latency_ns=0)

    thread(cpus[0], "sleeps", sleeps())
    thread(cpus[1], "sends", sends())
    run(engine)

    assert [(40, "cpu0", "handled"), (40, "sleeps", "awake")] == log.entries


def test_an_interrupt_meant_for_idle_is_taken_by_the_thread_that_came():
    """Idle does not run beside the thread that has just been put on its CPU."""
    engine = engine_of()
    cpus = [cpu_of(engine, 0), cpu_of(engine, 1)]
    queue = WaitQueue(engine, "work")
    log = Log(engine)

    async def sleeps():
        await queue.sleep()
        await engine.spend(100)
        log("done")

    async def sends():
        await engine.spend(10)
        cpus[0].raise_interrupt(interrupt_of(log), latency_ns=50)
        queue.wake_all(at_ns=10)

    thread(cpus[0], "sleeps", sleeps())
    thread(cpus[1], "sends", sends())
    run(engine)

    assert [(60, "sleeps", "handler on 0"), (115, "sleeps", "done")] == log.entries


def test_sleeping_for_a_time_is_ended_by_the_local_timer():
    """The timer interrupt is counted; other threads use the CPU meanwhile."""
    engine = engine_of()
    cpu = cpu_of(engine, 0)
    log = Log(engine)
    timer = Timer(engine)

    async def sleeps():
        await timer.sleep_ns(cpu, 500)
        log("slept")

    async def works():
        await engine.spend(200)
        log("worked")

    thread(cpu, "sleeps", sleeps())
    thread(cpu, "works", works())
    run(engine)

    assert {"worked": 200, "slept": 500} == log.times()
    assert 1 == cpu.interrupts["LOC"]
    assert 300 == cpu.times.idle_ns


@pytest.mark.parametrize("driver", ["inline", "trio"])
def test_cpus_that_call_each_other_both_get_on(driver):
    """Who waits for an acknowledgement takes interrupts meanwhile."""
    engine = engine_of(driver=driver)
    cpus = [cpu_of(engine, index) for index in range(4)]
    log = Log(engine)

    async def handler(cpu):
        await engine.spend(10)

    async def calls(cpu):
        others = [other for other in cpus if other is not cpu]
        await call_on(cpu, others, handler, vector="TEST", latency_ns=100)
        log("all have")

    for cpu in cpus:
        thread(cpu, f"t{cpu.index}", calls(cpu))
    run(engine)

    assert 4 == len(log.entries)
    assert [3] * 4 == [cpu.interrupts["TEST"] for cpu in cpus]
    assert {130} == {now for now, _, _ in log.entries}


def test_a_call_is_over_when_the_slowest_target_has_run_it():
    """One target with interrupts off keeps the caller spinning."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(3)]
    log = Log(engine)

    async def handler(cpu):
        await engine.spend(10)

    async def calls():
        await call_on(cpus[0], cpus[1:], handler, vector="TEST", latency_ns=100)
        log("all have")

    async def is_busy():
        with cpus[2].irqs_off():
            await engine.spend(1000)

    thread(cpus[0], "calls", calls())
    thread(cpus[2], "busy", is_busy())
    run(engine)

    assert [(1010, "calls", "all have")] == log.entries
