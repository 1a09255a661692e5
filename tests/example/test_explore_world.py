"""What a world is made of, and what the search makes of it."""

from functools import partial

import pytest

from mmactors.engine.cell import Cell
from mmactors.engine.ipi import call_on
from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.lock.rcu import Rcu
from mmactors.engine.lock.rwsem import RwSem
from mmactors.engine.lock.spinlock import Mutex, Spinlock
from mmactors.engine.mailbox import Mailbox
from mmactors.explore import Kind, Options, Outcome, search


def results_of(build):
    """Return what the actors can return, over all schedules."""
    seen = set()

    def watched(world):
        build(world)
        actors = list(world.engine.party)

        @world.at_end
        def note():
            seen.add(tuple(actor.result for actor in actors))

    assert Outcome.EXHAUSTED is search(watched).outcome
    return seen


# -- choices ---------------------------------------------------------------------------------------


def test_every_option_of_a_choice_is_tried():
    """A trylock that fails, an allocation that fails: an actor asks, the search answers."""

    def build(world):
        async def allocates():
            first = await world.choose("allocation", "succeeds", "fails")
            return first, await world.choose("retry", 1, 2)

        world.actor("a", allocates)

    expected = {((first, second),) for first in ("succeeds", "fails") for second in (1, 2)}

    assert expected == results_of(build)


def test_a_choice_is_no_preemption_and_stands_in_the_schedule():
    """So that a replay takes it again."""

    def build(world):
        async def allocates():
            assert "fails" != await world.choose("allocation", "succeeds", "fails")

        world.actor("a", allocates)

    failure = search(build).failure

    assert (("a", "allocation: fails"),) == failure.script
    assert 0 == failure.nr_preemptions


def test_a_daemon_may_act_at_any_time_or_never():
    """A TLB that evicts an entry, or not."""

    def build(world):
        entry = world.cell("tlb", "P")

        async def evicts():
            await entry.write(None)

        async def loads():
            return await entry.read(), await entry.read()

        world.actor("tlb", evicts, daemon=True)
        world.actor("cpu", loads)

    loads = {result[1] for result in results_of(build)}

    assert {("P", "P"), ("P", None), (None, None)} == loads


def test_messages_of_several_senders_come_in_any_order_and_those_of_one_in_order():
    """Late is a choice, overtaking is not possible."""

    def build(world):
        box = world.mailbox("box")

        async def sends(*messages):
            for message in messages:
                box.tell(message)

        async def receives():
            return tuple([await box.receive() for _ in range(3)])

        world.actor("a", sends, 1, 2)
        world.actor("b", sends, 3)
        world.actor("receiver", receives)

    received = {result[2] for result in results_of(build)}

    assert {(1, 2, 3), (1, 3, 2), (3, 1, 2)} == received


def test_an_asker_waits_for_the_answer():
    """Requests and replies work as in the engine."""

    def build(world):
        box = world.mailbox("box")

        async def serves():
            while True:
                request = await box.receive()
                request.reply.send(request.body + 1)

        async def asks(number):
            return await box.ask(number)

        world.actor("server", serves, daemon=True)
        world.actor("a", asks, 1)
        world.actor("b", asks, 5)

    assert {(None, 2, 6)} == results_of(build)


# -- progress --------------------------------------------------------------------------------------


def test_a_deadlock_names_who_waits_for_whom():
    """Two locks in two orders."""

    def build(world):
        locks = world.lock("mmap_lock"), world.lock("i_mutex")

        async def takes(first, second):
            async with first, second:
                pass

        world.actor("fault", takes, *locks)
        world.actor("punch", takes, *reversed(locks))

    failure = search(build).failure

    assert Kind.DEADLOCK is failure.broken.kind
    assert 1 == failure.nr_preemptions
    assert (
        "  fault: waits for i_mutex, held by punch\n  punch: waits for mmap_lock, held by fault"
        == failure.broken.text
    )


def test_a_lock_taken_in_one_order_is_explored_to_the_end():
    """Each of two critical sections may come first."""

    def build(world):
        lock = world.lock("ptl")
        count = world.cell("count", 0)

        async def counts():
            async with lock:
                seen = await count.read()
                await count.write(seen + 1)
            return seen

        world.actor("a", counts)
        world.actor("b", counts)

    assert {(0, 1), (1, 0)} == results_of(build)


def test_a_lost_wake_up_is_called_by_its_name():
    """The waker comes between the look and the sleep."""

    def build(world, *, fixed):
        is_done = world.cell("done", 0)
        queue = world.wait_queue("waiters")
        lock = world.lock("lock")

        async def waits():
            if fixed:
                await is_done.until(bool)
            elif not await is_done.read():
                await queue.sleep()

        async def wakes():
            async with lock:
                await is_done.write(1)
            await queue.wake()

        world.actor("waiter", waits)
        world.actor("waker", wakes)

    failure = search(partial(build, fixed=False)).failure

    assert "lost wake-up" == failure.broken.law
    assert "waiters, which waker gave when nobody slept: a lost wake-up" in failure.broken.text
    assert Outcome.EXHAUSTED is search(partial(build, fixed=True)).outcome


def test_a_livelock_is_a_cycle_that_a_fair_schedule_cannot_leave():
    """Two actors that give way to each other for ever."""

    def build(world):
        wants = world.cell("a wants", 1), world.cell("b wants", 1)

        async def gives_way(own, other):
            while await other.read():
                await own.write(0)
                await own.write(1)
            await own.write(0)

        world.actor("a", gives_way, *wants)
        world.actor("b", gives_way, *reversed(wants))

    failure = search(build, options=Options(max_steps=200)).failure

    assert Kind.LIVELOCK is failure.broken.kind
    assert "everybody has a turn, again and again, and nothing changes" in failure.broken.text
    assert "then it goes on like this for ever" in failure.report


def test_spinning_for_a_value_is_no_livelock():
    """Looking again shows nothing new until somebody writes; so it is done only then."""

    def build(world):
        is_ready = world.cell("ready", 0)

        async def spins():
            while not await is_ready.read():
                pass

        async def sets():
            await is_ready.write(1)

        world.actor("spinner", spins)
        world.actor("setter", sets)

    verdict = search(build)

    assert Outcome.EXHAUSTED is verdict.outcome
    assert verdict.nr_schedules < 20


def test_spinning_for_what_nobody_writes_is_a_livelock():
    """Everybody else has ended."""

    def build(world):
        is_ready = world.cell("ready", 0)

        async def spins():
            while not await is_ready.read():
                pass

        world.actor("spinner", spins)

    assert Kind.LIVELOCK is search(build).failure.broken.kind


def test_a_schedule_that_may_have_no_end_bounds_the_verdict():
    """The state never repeats, so it is no livelock, and the verdict is no proof."""

    def build(world):
        count = world.cell("count", 0)

        async def counts():
            while True:
                await count.write(await count.read() + 1)

        world.actor("a", counts)

    verdict = search(build, options=Options(max_steps=100))

    assert Outcome.BOUNDED is verdict.outcome
    assert ("a",) == verdict.endless
    assert "a schedule was cut that may have no end (a went on" in str(verdict)


# -- scope, laws, state ----------------------------------------------------------------------------


def test_only_steps_in_scope_are_choice_points():
    """The verdict names what was shared outside it."""

    def build(world, *, has_scope):
        pte = world.cell("pte", 0)
        counter = world.cell("nr_events", 0)

        async def faults(value):
            for _ in range(3):
                await counter.add_return(1)
            await pte.write(value)

        world.actor("a", faults, 1)
        world.actor("b", faults, 2)
        if has_scope:
            world.scope(pte)

    narrow = search(partial(build, has_scope=True))
    wide = search(partial(build, has_scope=False))

    assert "exhausted within scope {pte}: 2 schedules; shared outside the scope: nr_events" == str(
        narrow
    )
    assert wide.nr_schedules > 10 * narrow.nr_schedules
    assert Outcome.EXHAUSTED is wide.outcome


def test_a_law_holds_after_each_step():
    """Not only at the end."""

    def build(world):
        count = world.cell("refcount", 1)

        async def drops_and_takes():
            await count.add_return(-1)
            await count.add_return(1)

        world.actor("a", drops_and_takes)

        @world.always
        def the_object_lives():
            return count.value > 0

    failure = search(build).failure

    assert "the_object_lives" == failure.broken.law
    assert 1 == len(failure.script)


def test_what_is_made_once_is_put_back_for_each_schedule():
    """Something big is restored from its snapshot instead of being made again."""
    made = []

    class Memory:
        def __init__(self):
            made.append(self)
            self.words = [0]

        def snapshot(self):
            return list(self.words)

        def restore(self, snapshot):
            self.words[:] = snapshot

    def build(world):
        memory = world.once("memory", Memory)

        async def writes():
            await world.step("store", writes=("memory",))
            memory.words[0] += 1

        world.actor("a", writes)
        world.actor("b", writes)

        @world.at_end
        def both_stores_are_there():
            assert 2 == memory.words[0]

    assert Outcome.EXHAUSTED is search(build).outcome
    assert 1 == len(made)


def test_states_of_watched_objects_are_not_explored_twice():
    """Two orders of two stores that come to the same are followed once."""

    def build(world, *, is_watched):
        words = [0]
        if is_watched:
            world.watch("memory", lambda: words[0])

        async def stores():
            for _ in range(3):
                await world.step("store", writes=("memory",))
                words[0] |= 1

        world.actor("a", stores)
        world.actor("b", stores)

    watched = search(partial(build, is_watched=True))
    unknown = search(partial(build, is_watched=False))

    assert Outcome.EXHAUSTED is watched.outcome
    assert Outcome.EXHAUSTED is unknown.outcome
    assert watched.nr_schedules < unknown.nr_schedules


@pytest.mark.parametrize("is_looked_at", [False, True])
def test_a_value_without_a_hash_is_explored_without_names_for_states(is_looked_at):
    """It takes more schedules, and is as sure."""

    def build(world):
        pages = world.cell("pages", [1, 2])
        count = world.cell("count", 0)

        async def works():
            await count.add_return(1)
            if is_looked_at:
                await pages.write([*await pages.read(), 3])

        world.actor("a", works)
        world.actor("b", works)

    assert Outcome.EXHAUSTED is search(build).outcome


# -- actors of the engine --------------------------------------------------------------------------


def test_locks_and_cells_of_the_engine_are_explored_as_they_are():
    """An actor does not know which engine it runs on."""

    def build(world, *, fixed):
        engine = world.engine
        count = Cell(engine, 0, name="count")
        mutex = Mutex(engine, LockStatistics().of("mutex"), name="mutex")

        async def counts():
            if fixed:
                async with mutex:
                    await count.write(await count.read() + 1)
            else:
                await count.write(await count.read() + 1)
            return await count.read()

        first = world.actor("a", counts)
        second = world.actor("b", counts)

        @world.at_end
        def both_are_counted():
            assert 2 == max(first.result, second.result)

    assert 1 == search(partial(build, fixed=False)).failure.nr_preemptions
    assert Outcome.EXHAUSTED is search(partial(build, fixed=True)).outcome


def test_an_interrupt_is_taken_at_any_step_of_its_cpu_and_never_while_they_are_off():
    """pgd_lock with interrupts off, against its holder's wait for them (a79e53d85683)."""

    def build(world, *, fixed):
        lock = Spinlock(world.engine, LockStatistics().of("pgd_lock"), name="pgd_lock")
        cpus = [world.cpu(index) for index in range(2)]
        handled = []

        async def handler(cpu):
            handled.append(cpu.index)

        async def flushes():
            async with lock:
                await call_on(cpus[0], [cpus[1]], handler, vector="TLB", latency_ns=10)

        async def faults():
            async with lock if fixed else lock.irqsave():
                pass

        cpus[0].spawn_thread("flusher", flushes())
        cpus[1].spawn_thread("faulter", faults())

        @world.at_end
        def the_interrupt_was_handled():
            assert [1] == handled

    failure = search(partial(build, fixed=False)).failure

    assert Kind.DEADLOCK is failure.broken.kind
    assert "interrupt TLB to be handled by cpu1 (interrupts off" in failure.broken.text
    assert "waits for pgd_lock, held by cpu0/flusher" in failure.broken.text
    assert Outcome.EXHAUSTED is search(partial(build, fixed=True)).outcome


def test_a_grace_period_ends_after_the_readers():
    """Freed after synchronize_rcu, an object is never seen dead; without it, it is."""

    def build(world, *, fixed):
        cpus = [world.cpu(index) for index in range(2)]
        rcu = Rcu(world.engine, cpus)
        pointer = Cell(world.engine, 1, name="pointer")
        is_alive = Cell(world.engine, 1, name="alive")

        async def reads():
            async with rcu.read(cpus[0]):
                if await pointer.read():
                    assert await is_alive.read(), "used after it was freed"

        async def frees():
            await pointer.write(0)
            if fixed:
                await rcu.synchronize()
            await is_alive.write(0)

        cpus[0].spawn_thread("reader", reads())
        cpus[1].spawn_thread("updater", frees())

    assert 1 == search(partial(build, fixed=False)).failure.nr_preemptions
    assert Outcome.EXHAUSTED is search(partial(build, fixed=True)).outcome


@pytest.mark.parametrize("downgrades", [False, True])
def test_a_semaphore_of_the_engine_keeps_readers_out_until_it_is_downgraded(downgrades):
    """What a writer does after its downgrade, readers can see half done."""

    def build(world):
        sem = RwSem(world.engine, LockStatistics().of("mmap_lock"), name="mmap_lock")
        value = Cell(world.engine, 0, name="value")

        async def writes():
            async with sem.write():
                await value.write(1)
                if downgrades:
                    await sem.downgrade()
                await value.write(2)

        async def reads():
            async with sem.read():
                assert 1 != await value.read()

        world.actor("writer", writes)
        world.actor("reader", reads)

    assert downgrades == (not search(build).is_good)


def test_a_mailbox_of_the_engine_is_served_in_every_order_of_sending():
    """Its messages stay in the order of their arrival."""

    def build(world):
        engine = world.engine
        box = Mailbox(engine, "box")

        async def serves():
            served = []
            for _ in range(2):
                request = await box.receive()
                await engine.spend(5)
                served.append(request.body)
                request.reply.send(request.body)
            return tuple(served)

        async def asks(number):
            return await box.ask(number)

        world.actor("server", serves)
        world.actor("a", asks, 1)
        world.actor("b", asks, 2)

    assert {((1, 2), 1, 2), ((2, 1), 1, 2)} == results_of(build)
