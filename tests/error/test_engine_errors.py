"""What stops a run, in words: who, when, why, and who could have helped."""

import pytest
import trio
import trio.testing
from engines import cpu_of, engine_of, run, spawn, thread

from mmactors.engine.cpu import Interrupt
from mmactors.engine.ipi import CallWithInterruptsOff, call_on
from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.lock.rcu import Rcu
from mmactors.engine.lock.rwsem import RwSem
from mmactors.engine.lock.seqcount import SeqCount
from mmactors.engine.lock.spinlock import Mutex, Spinlock
from mmactors.engine.mailbox import AskInInterrupt, Mailbox
from mmactors.engine.probe import EngineProbe
from mmactors.engine.report import (
    ActorCrashed,
    Deadlock,
    ForeignAwait,
    SleepInAtomicContext,
    StepBudgetExceeded,
)
from mmactors.engine.scope import DriverScope
from mmactors.engine.timer import Timer
from mmactors.engine.wait_queue import WaitQueue
from mmactors.events import MmPageFree

DRIVERS = pytest.mark.parametrize("driver", ["inline", "trio"])


def text_of(engine, kind):
    """Run and return the text of the error."""
    with pytest.raises(kind) as caught:
        run(engine)
    return str(caught.value)


@DRIVERS
def test_a_deadlock_names_everybody_who_waits_and_the_holders(driver):
    """The classic two locks in two orders."""
    engine = engine_of(driver=driver)
    cpus = [cpu_of(engine, index) for index in range(2)]
    statistics = LockStatistics()
    sem = RwSem(engine, statistics.of("&mm->mmap_lock"), name="mmap_lock of mm 3")
    lock = Spinlock(engine, statistics.of("ptl"), name="ptl 0x1a3")

    async def first():
        async with sem.write():
            await engine.spend(100)
            async with lock:
                pass

    async def second():
        async with lock:
            await engine.spend(90)
            await sem.acquire_read()

    async def third():
        await engine.spend(20)
        await sem.acquire_read()

    thread(cpus[0], "thread 7", first())
    thread(cpus[1], "thread 8", third())
    engine.spawn("service", second(), daemon=False)

    assert text_of(engine, Deadlock) == (
        "at t=100 ns nobody can run; waiting:\n"
        "  cpu0/thread 7 at t=100ns: waits for ptl 0x1a3, held by service\n"
        "  cpu1/thread 8 at t=20ns: waits for mmap_lock of mm 3, held for write by cpu0/thread 7\n"
        "  service at t=90ns: waits for mmap_lock of mm 3, held for write by cpu0/thread 7\n"
        "last events:\n"
        "  thread 7: start\n"
        "  thread 8: start\n"
        "  service: start\n"
        "  thread 7: write lock mmap_lock of mm 3\n"
        "  service: lock ptl 0x1a3\n"
        "  thread 8: spend\n"
        "  service: spend\n"
        "  thread 7: spend"
    )


def test_a_deadlock_of_two_askers_names_what_they_asked():
    """Who asks in a circle is found, with the request and the server."""
    engine = engine_of()
    boxes = {name: Mailbox(engine, name) for name in ("a", "b")}

    async def asks(me, other):
        await engine.spend(5)
        await boxes[other].ask(me)

    spawn(engine, "a", asks("a", "b"))
    spawn(engine, "b", asks("b", "a"))
    text = text_of(engine, Deadlock)

    assert "a at t=5ns: waits for the reply to str from b" in text
    assert "b at t=5ns: waits for the reply to str from a" in text


@DRIVERS
def test_a_crash_says_who_when_and_what_happened_last(driver):
    """The actor's own exception is the cause; the last events are the probe's."""
    engine = engine_of(driver=driver)

    class Sink:
        def take(self, taken):
            pass

    probe = EngineProbe(engine, Sink())

    async def fails():
        await engine.spend(1234)
        probe.emit(MmPageFree(pfn=17, order=3))
        raise ValueError("no such page")

    cpu = cpu_of(engine, 1)
    thread(cpu, "init", fails())
    with pytest.raises(ActorCrashed) as caught:
        run(engine)

    assert isinstance(caught.value.__cause__, ValueError)
    assert (
        "cpu1/init raised ValueError('no such page') at t=1234 ns\n"
        "last events:\n"
        "  t=0 ns cpu1: sched_switch prev_comm=swapper/1 prev_pid=0 prev_prio=120 prev_state=0 "
        "next_comm=init next_pid=0 next_prio=120\n"
        "  t=1234 ns init: mm_page_free pfn=17 order=3"
    ) == str(caught.value)


@DRIVERS
def test_awaiting_trio_inside_the_machine_is_an_error(driver):
    """The coroutine is closed, its finally blocks run, and nothing hangs."""
    engine = engine_of(driver=driver)
    closed = []

    async def awaits():
        await engine.spend(10)
        try:
            with trio.CancelScope():
                await trio.sleep(1000)
        finally:
            closed.append(True)

    async def for_ever():
        while True:
            await engine.spend(7)

    spawn(engine, "awaits", awaits())
    spawn(engine, "other", for_ever())
    text = text_of(engine, ForeignAwait)

    assert text.startswith("awaits awaited ")
    assert "at t=10 ns, which is not the engine's" in text
    assert text.endswith("let a task outside the machine await it and tell the actor")
    assert [True] == closed


@DRIVERS
def test_a_foreign_await_leaves_no_trace_in_the_object_awaited(driver):
    """An event that an actor waited for can still be set, and wakes nobody by mistake."""

    async def main():
        engine = engine_of(driver=driver)
        event = trio.Event()

        async def awaits():
            await event.wait()

        spawn(engine, "awaits", awaits())
        with pytest.raises(ForeignAwait):
            async with DriverScope(engine) as mover:
                await mover.run()
        event.set()
        await trio.testing.wait_all_tasks_blocked()

    trio.run(main)


@DRIVERS
def test_a_livelock_ends_at_the_step_budget(driver):
    """The message says how to go on if it is none."""
    engine = engine_of(driver=driver, step_budget=100)

    async def spins():
        while True:
            await engine.spend(0)

    spawn(engine, "a", spins())
    spawn(engine, "b", spins())
    text = text_of(engine, StepBudgetExceeded)

    assert text.startswith("more than 100 switches at t=0 ns: perhaps nobody makes progress; raise")
    assert "last events:\n" in text


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("spinlock", "1 spinlocks held, 0 RCU read sections, interrupts on, in no interrupt"),
        ("irqs off", "0 spinlocks held, 0 RCU read sections, interrupts off, in no interrupt"),
        ("interrupt", "0 spinlocks held, 0 RCU read sections, interrupts off, in interrupt TEST"),
    ],
)
def test_sleeping_in_atomic_context_is_reported(how, what):
    """The message says who slept for what, and why that was wrong."""
    engine = engine_of()
    cpu = cpu_of(engine, 0)
    statistics = LockStatistics()
    lock = Spinlock(engine, statistics.of("ptl"), name="ptl 0x1")
    queue = WaitQueue(engine, "the bell")

    async def handler(cpu):
        await queue.sleep()

    async def sleeps():
        match how:
            case "spinlock":
                async with lock:
                    await queue.sleep()
            case "irqs off":
                with cpu.irqs_off():
                    await queue.sleep()
            case "interrupt":
                cpu.raise_interrupt(Interrupt("TEST", handler), latency_ns=5)
                await engine.spend(10)

    thread(cpu, "init", sleeps())

    assert f"cpu0/init went to sleep waiting for the bell, with {what}" == text_of(
        engine, SleepInAtomicContext
    )


def test_a_mutex_is_not_for_atomic_context():
    """Waiting for it would sleep."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(2)]
    mutex = Mutex(engine, LockStatistics().of("mutex"), name="mutex 5")

    async def holds():
        async with mutex:
            await engine.spend(100)

    async def waits():
        await engine.spend(10)
        with cpus[1].irqs_off():
            await mutex.acquire()

    thread(cpus[0], "holds", holds())
    thread(cpus[1], "waits", waits())
    text = text_of(engine, SleepInAtomicContext)

    assert "cpu1/waits went to sleep waiting for mutex 5, held by cpu0/holds" in text


def test_asking_in_an_interrupt_is_an_error():
    """Who answers interrupts never asks."""
    engine = engine_of()
    cpu = cpu_of(engine, 0)
    mailbox = Mailbox(engine, "zone 0 Normal")

    async def handler(cpu):
        await mailbox.ask("AllocPages")

    async def body():
        cpu.raise_interrupt(Interrupt("TLB", handler), latency_ns=5)
        await engine.spend(10)

    thread(cpu, "init", body())

    assert (
        "cpu0/init asked zone 0 Normal for str in interrupt TLB: who answers interrupts never "
        "asks, else two CPUs could wait for each other"
    ) == text_of(engine, AskInInterrupt)


def test_calling_other_cpus_with_interrupts_off_is_an_error():
    """The kernel warns of it, because it can hang."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(3)]

    async def handler(cpu):
        await engine.spend(1)

    async def body():
        with cpus[0].irqs_off():
            await call_on(cpus[0], cpus[1:], handler, vector="TLB", latency_ns=5)

    thread(cpus[0], "init", body())

    assert (
        "cpu0/init calls cpu1, cpu2 (TLB) with interrupts off: should one of them do the same, "
        "both would hang"
    ) == text_of(engine, CallWithInterruptsOff)


def test_a_call_that_nobody_takes_names_the_cpu_that_does_not():
    """The deadlock report says whose interrupts are off."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(2)]
    mailbox = Mailbox(engine, "nobody serves this")

    async def handler(cpu):
        await engine.spend(1)

    async def calls():
        await engine.spend(5)
        await call_on(cpus[0], cpus[1:], handler, vector="TLB", latency_ns=5)

    async def hangs():
        with cpus[1].irqs_off():
            await mailbox.ask("anything")

    thread(cpus[0], "calls", calls())
    thread(cpus[1], "hangs", hangs())

    assert (
        "cpu0/calls at t=5ns: waits for interrupt TLB to be handled by "
        "cpu1 (interrupts off, runs cpu1/hangs)"
    ) in text_of(engine, Deadlock)


def test_releasing_what_another_holds_is_an_error():
    """The message names both."""
    engine = engine_of()
    lock = Spinlock(engine, LockStatistics().of("ptl"), name="ptl 0x1")

    async def holds():
        await lock.acquire()
        await engine.spend(100)

    async def releases():
        await engine.spend(50)
        await lock.release()

    spawn(engine, "holds", holds())
    spawn(engine, "releases", releases())

    assert "releases releases ptl 0x1, held by holds" in text_of(engine, ActorCrashed)


def test_two_actors_of_one_name_are_refused():
    """Names identify actors in schedules."""
    engine = engine_of()

    async def body():
        pass

    spawn(engine, "a", body())
    again = body()

    with pytest.raises(AssertionError, match="two actors are named a"):
        spawn(engine, "a", again)
    again.close()
    run(engine)


def test_the_first_failure_counts_and_stays():
    """A machine that failed does not go on."""
    engine = engine_of()

    async def fails():
        raise ValueError("first")

    spawn(engine, "a", fails())
    first = text_of(engine, ActorCrashed)

    assert first == text_of(engine, ActorCrashed)


def test_a_grace_period_that_never_ends_names_the_readers():
    """The report says whose read section is open."""
    engine = engine_of()
    cpus = [cpu_of(engine, index) for index in range(2)]
    rcu = Rcu(engine, cpus)
    mailbox = Mailbox(engine, "nobody serves this")

    async def reads():
        async with rcu.read(cpus[0]):
            await mailbox.ask("anything")

    async def frees():
        await engine.spend(50)
        await rcu.synchronize()

    thread(cpus[0], "reads", reads())
    thread(cpus[1], "frees", frees())
    text = text_of(engine, Deadlock)

    assert (
        "cpu1/frees at t=50ns: waits for an RCU grace period: "
        "the read sections of cpu0 (cpu0/reads)"
    ) in text
    assert "rcu at t=50ns: waits for the read sections of cpu0 (cpu0/reads)" in text


def test_a_reader_that_spins_for_a_writer_names_it():
    """A writer that never ends is found."""
    engine = engine_of()
    count = SeqCount(engine, name="tlb_gen")

    async def writes():
        await count.write_begin()
        await Mailbox(engine, "nobody serves this").ask("anything")

    async def reads():
        await engine.spend(10)
        await count.read_begin()

    spawn(engine, "writes", writes())
    spawn(engine, "reads", reads())

    assert "reads at t=10ns: waits for tlb_gen, written by writes" in text_of(engine, Deadlock)


def test_threads_without_a_cpu_are_named():
    """Who waits for its next slice, and idle CPUs, stand in the report."""
    engine = engine_of()
    cpus = [cpu_of(engine, index, slice_ns=10) for index in range(2)]
    mailbox = Mailbox(engine, "nobody serves this")

    async def is_preempted():
        await engine.spend(20)
        await cpus[0].cond_resched()

    async def hangs():
        await mailbox.ask("anything")

    thread(cpus[0], "preempted", is_preempted())
    thread(cpus[0], "hangs", hangs())
    text = text_of(engine, Deadlock)

    assert "cpu0/preempted at t=20ns: waits for its next slice of cpu0" in text
    assert "cpu1 at t=0ns: waits for an interrupt or a thread for cpu1" in text


def test_sleeping_for_a_time_with_a_spinlock_held_is_reported():
    """The timer is no exception."""
    engine = engine_of()
    cpu = cpu_of(engine, 0)
    lock = Spinlock(engine, LockStatistics().of("ptl"), name="ptl 0x1")

    async def sleeps():
        async with lock:
            await Timer(engine).sleep_ns(cpu, 500)

    thread(cpu, "init", sleeps())

    assert "waiting for the time 500 ns, with 1 spinlocks held" in text_of(
        engine, SleepInAtomicContext
    )


def test_a_callback_that_never_comes_is_no_deadlock():
    """RCU's own actor does not keep a run alive, and says what it waits for."""
    engine = engine_of()
    cpus = [cpu_of(engine, 0)]
    Rcu(engine, cpus)

    async def hangs():
        await Mailbox(engine, "nobody serves this").ask("anything")

    thread(cpus[0], "hangs", hangs())

    assert "rcu at t=0ns: waits for a callback" in text_of(engine, Deadlock)
