"""The primitives of worlds: a use that is wrong is found, the right one is explored to the end."""

from functools import partial

import pytest

from mmactors.engine.chance import STORE_IS_LATE, TRYLOCK_FAILS, WAKE_UP_IS_SPURIOUS
from mmactors.engine.guard import GuardViolation
from mmactors.errors import UserError
from mmactors.explore import Kind, Outcome, search


def failure_of(build, **how):
    """Return what breaks in the world of `build`."""
    verdict = search(partial(build, **how))
    assert verdict.failure is not None, str(verdict)
    return verdict.failure


def is_exhausted(build, **how):
    """Return whether every order was tried, and nothing breaks."""
    verdict = search(partial(build, **how))
    assert verdict.failure is None, verdict.failure.report
    return verdict.outcome is Outcome.EXHAUSTED


def results_of(build, **how):
    """Return what the actors can return, over all schedules."""
    seen = set()

    def watched(world):
        build(world, **how)
        actors = [actor for actor in world.engine.party if not actor.daemon and not actor.serves]

        @world.at_end
        def note():
            seen.add(tuple(actor.result for actor in actors))

    assert is_exhausted(watched)
    return seen


# -- condition -------------------------------------------------------------------------------------


def bounded_queue(world, *, looks_once=False, notifies=True, spurious=False):
    """Two consumers and a producer of two items."""
    if spurious:
        world.allow(WAKE_UP_IS_SPURIOUS)
    lock = world.lock("lock")
    filled = world.condition("filled", lock)
    items = world.cell("items", 0)

    async def consumes():
        async with filled:
            if looks_once:
                if not await items.read():
                    await filled.wait()
            else:
                await filled.wait_for(lambda: items.value > 0, reads=(items,))
            await items.add(-1)

    async def produces():
        for _ in range(2):
            async with lock:
                await items.add(1)
                if notifies:
                    await filled.notify()

    world.actor("first", consumes)
    world.actor("second", consumes)
    world.actor("producer", produces)

    @world.always
    def no_item_is_taken_twice():
        assert items.value >= 0


def test_who_was_notified_looks_again():
    """Another may have taken what it was notified of; with `if` instead of `while` it is taken."""
    assert "no_item_is_taken_twice" == failure_of(bounded_queue, looks_once=True).broken.law
    assert is_exhausted(bounded_queue)


def test_who_looks_again_does_not_mind_spurious_wake_ups():
    """And who looks once does, with one consumer and no other to take the item."""
    assert is_exhausted(bounded_queue, spurious=True)


def test_a_deadlock_names_the_condition_that_nobody_notifies():
    """Both consumers came before the items did."""
    broken = failure_of(bounded_queue, notifies=False).broken

    assert Kind.DEADLOCK is broken.kind
    assert "waits for a notify of filled" in broken.text


def test_a_notify_that_came_too_early_is_named():
    """The waiter looks outside of the lock, and waits when the notify has been given."""

    def build(world):
        lock = world.lock("lock")
        ready = world.condition("ready", lock)
        is_ready = world.cell("is_ready", False)

        async def waits():
            if not await is_ready.read():
                async with ready:
                    await ready.wait()

        async def notifies():
            await is_ready.write(True)
            async with ready:
                await ready.notify_all()

        world.actor("waiter", waits)
        world.actor("notifier", notifies)

    broken = failure_of(build).broken

    assert "lost wake-up" == broken.law
    assert "a notify of ready, which notifier gave when nobody slept: a lost wake-up" in broken.text


def test_a_notify_wakes_any_of_those_who_wait():
    """Not only the first: POSIX says so."""

    def build(world):
        lock = world.lock("lock")
        turn = world.condition("turn", lock)
        nr_waiting = world.cell("nr_waiting", 0)
        order = world.cell("order", ())

        async def waits(name):
            async with turn:
                await nr_waiting.add(1)
                await turn.wait()
                await order.write((*await order.read(), name))

        async def notifies():
            await nr_waiting.until(lambda number: number == 2)
            async with turn:
                await turn.notify()
            async with turn:
                await turn.notify()

        world.actor("a", waits, "a")
        world.actor("b", waits, "b")
        world.actor("notifier", notifies)

        @world.at_end
        def note():
            orders.add(order.value)

    orders = set()

    assert is_exhausted(build)
    assert {("a", "b"), ("b", "a")} == orders


def test_a_wait_without_the_lock_is_an_error():
    """As in threading."""

    def build(world):
        ready = world.condition("ready", world.lock("lock"))
        world.actor("a", ready.wait)

    assert "a waits for ready without lock, held by nobody" in failure_of(build).broken.text


# -- semaphore -------------------------------------------------------------------------------------


def pool(world, *, first="slots", second="slots"):
    """Two actors need two things each, of a pool of two; they may take them one by one."""
    slots = world.semaphore("slots", 2, max_value=2)
    turn = world.lock("turn")

    async def works():
        if first == "turn":
            async with turn:
                await slots.acquire()
                await slots.acquire()
        else:
            await slots.acquire()
            await slots.acquire()
        await slots.release()
        await slots.release()

    world.actor("a", works)
    world.actor("b", works)

    @world.always
    def there_are_two():
        assert 0 <= slots.value <= 2


def test_a_semaphore_that_is_taken_in_parts_is_a_deadlock_that_names_the_takers():
    """Each has one and waits for the other's."""
    broken = failure_of(pool).broken

    assert Kind.DEADLOCK is broken.kind
    assert "a: waits for slots, which is 0, taken by" in broken.text
    assert is_exhausted(pool, first="turn")


def test_a_bounded_semaphore_refuses_what_was_never_taken():
    """threading.BoundedSemaphore raises; without a bound it is how items are counted."""

    def build(world, *, max_value):
        slots = world.semaphore("slots", 1, max_value=max_value)
        world.actor("a", slots.release)

    broken = failure_of(build, max_value=1).broken

    assert "a releases slots, which is 1 already" in broken.text
    assert is_exhausted(build, max_value=None)


# -- event -----------------------------------------------------------------------------------------


def test_an_event_that_is_cleared_too_early_is_missed():
    """Set and clear at once wakes only who had been waiting; nobody is told."""

    def build(world, *, clears):
        tick = world.event("tick")

        async def ticks():
            await tick.set()
            if clears:
                await tick.clear()

        world.actor("waiter", tick.wait)
        world.actor("ticker", ticks)

    broken = failure_of(build, clears=True).broken

    assert Kind.DEADLOCK is broken.kind
    assert "waiter: waits for tick to be set" in broken.text
    assert is_exhausted(build, clears=False)


# -- once ------------------------------------------------------------------------------------------


def lazily(world, *, how):
    """Two actors need what is made at first use."""
    made = world.cell("made", 0)
    flag = world.once_flag("made once")
    is_begun = world.cell("is_begun", 0)

    async def makes():
        await made.add(1)

    async def uses():
        if how == "call_once":
            await flag.call(makes)
        elif not await is_begun.xchg(1):
            await makes()
        assert await made.read(), "used before it was made"

    world.actor("a", uses)
    world.actor("b", uses)

    @world.at_end
    def it_is_made_once():
        assert 1 == made.value


def test_who_comes_second_waits_until_it_is_done():
    """A flag that says that somebody has begun is not enough."""
    assert "used before it was made" in failure_of(lazily, how="flag").broken.text
    assert is_exhausted(lazily, how="call_once")


def test_what_raised_is_not_done():
    """The next who calls tries again, as with std::call_once."""

    def build(world):
        flag = world.once_flag("init")
        nr_tries = world.atomic("nr_tries", 0)

        async def init():
            if not await nr_tries.fetch_add(1):
                raise OSError

        async def calls():
            try:
                return await flag.call(init)
            except OSError:
                return "failed"

        world.actor("a", calls)
        world.actor("b", calls)

    assert {("failed", True), (True, "failed")} == results_of(build)


def test_a_call_from_inside_is_an_error_and_one_that_never_ends_is_named():
    """C++ calls the first undefined; here it says so."""

    def build(world, *, is_nested):
        flag = world.once_flag("init")
        never = world.event("never")

        async def inside():
            if is_nested:
                await flag.call(inside)
            else:
                await never.wait()

        world.actor("a", flag.call, inside)
        world.actor("b", flag.call, inside)

    assert "calls init from inside of it" in failure_of(build, is_nested=True).broken.text
    text = failure_of(build, is_nested=False).broken.text
    assert "b: waits for init, done by a now" in text


# -- rwlock ----------------------------------------------------------------------------------------


def reader_writer(world, *, with_lock=True, fair=True, reads_twice=False):
    """A writer changes two cells that a reader sees changed together."""
    lock = world.rwlock("lock", fair=fair)
    x, y = world.cell("x", 0), world.cell("y", 0)

    async def writes():
        await lock.acquire_write()
        await x.write(1)
        await y.write(1)
        await lock.release_write()

    async def reads():
        if not with_lock:
            return await x.read(), await y.read()
        async with lock.read():
            if reads_twice:
                async with lock.read():
                    return await x.read(), await y.read()
            return await x.read(), await y.read()

    async def checks():
        seen = await reads()
        assert seen in ((0, 0), (1, 1)), f"half written: {seen}"

    world.actor("writer", writes)
    world.actor("reader", checks)
    world.actor("other", checks)


def test_a_reader_with_the_lock_sees_all_or_nothing():
    """And one without sees half."""
    assert "half written" in failure_of(reader_writer, with_lock=False).broken.text
    assert is_exhausted(reader_writer)


def test_to_read_twice_is_a_deadlock_of_fair_locks_only():
    """The writer waits for the first read section, and the second behind the writer."""
    broken = failure_of(reader_writer, reads_twice=True).broken

    assert Kind.DEADLOCK is broken.kind
    assert "writer: waits for lock, read by " in broken.text
    assert ", writer waits to write" in broken.text
    assert is_exhausted(reader_writer, reads_twice=True, fair=False)


def test_nobody_writes_between_writing_and_reading_of_who_downgrades():
    """downgrade_write."""

    def build(world):
        lock = world.rwlock("lock")
        value = world.cell("value", 0)

        async def writes(own):
            async with lock.write():
                await value.write(own)
            return own

        async def downgrades(own):
            await lock.acquire_write()
            await value.write(own)
            await lock.downgrade()
            assert own == await value.read()
            await lock.release_read()

        world.actor("a", downgrades, 1)
        world.actor("b", writes, 2)

    assert is_exhausted(build)


def test_lockdep_knows_readers_from_recursive_readers():
    """A fair lock that is read in an interrupt and outside with interrupts on, and written."""

    def build(world, *, fair):
        world.lockdep()
        lock = world.rwlock("tasklist_lock", fair=fair)

        async def reads():
            async with lock.read(), lock.read():
                pass

        world.actor("a", reads)

    assert "tasklist_lock" in str(failure_of(build, fair=True).broken)
    assert is_exhausted(build, fair=False)


# -- barrier ---------------------------------------------------------------------------------------


def test_nobody_passes_a_barrier_before_all_have_come_again_and_again():
    """Two rounds; without the barrier each sees the other half done."""

    def build(world, *, with_barrier):
        barrier = world.barrier("barrier", 2)
        done = world.cell("done a", 0), world.cell("done b", 0)

        async def works(own, other):
            for number in (1, 2):
                await own.write(number)
                if with_barrier:
                    await barrier.wait()
                assert number <= await other.read(), "the other is behind"
                if with_barrier:
                    await barrier.wait()

        world.actor("a", works, *done)
        world.actor("b", works, *reversed(done))

    assert "the other is behind" in failure_of(build, with_barrier=False).broken.text
    assert is_exhausted(build, with_barrier=True)


def test_a_barrier_tells_each_as_how_many_th_it_came_and_who_is_missing():
    """threading.Barrier.wait returns a number that is different for each."""

    def build(world, *, parties):
        barrier = world.barrier("barrier", parties)
        world.actor("a", barrier.wait)
        world.actor("b", barrier.wait)

    assert {(0, 1), (1, 0)} == results_of(build, parties=2)
    assert "waits for 1 more at barrier, where a, b waits" in (
        failure_of(build, parties=3).broken.text
    )


# -- atomics ---------------------------------------------------------------------------------------


def store_buffering(world, *, order, is_late=True):
    """SB: each stores its own flag, then loads the other's."""
    if is_late:
        world.allow(STORE_IS_LATE)
    flags = world.atomic("x"), world.atomic("y")

    async def does(own, other):
        await own.store(1, order)
        return await other.load("acquire")

    world.actor("a", does, *flags)
    world.actor("b", does, *reversed(flags))


def test_only_sequentially_consistent_stores_keep_a_load_behind_them():
    """What x86 compiles to mov may wait in the store buffer; xchg may not."""
    assert (0, 0) in results_of(store_buffering, order="release")
    assert (0, 0) in results_of(store_buffering, order="relaxed")
    assert (0, 0) not in results_of(store_buffering, order="seq_cst")
    assert (0, 0) not in results_of(store_buffering, order="release", is_late=False)


def test_release_and_acquire_publish_in_every_order_of_x86():
    """MP: who sees the flag sees the data."""

    def build(world):
        world.allow(STORE_IS_LATE)
        data, flag = world.atomic("data"), world.atomic("flag")

        async def publishes():
            await data.store(1, "relaxed")
            await flag.store(1, "release")

        async def uses():
            if await flag.load("acquire"):
                assert await data.load("relaxed")

        world.actor("a", publishes)
        world.actor("b", uses)

    assert is_exhausted(build)


def test_an_order_that_an_operation_cannot_have_is_refused():
    """A load cannot release."""

    def build(world):
        flag = world.atomic("flag")
        world.actor("a", flag.load, "release")

    with pytest.raises(UserError, match="load flag: the order is 'release'; expected one of"):
        search(build)


@pytest.mark.parametrize("how", ["fetch_add", "add", "cmpxchg"])
def test_what_reads_and_writes_at_once_loses_nothing(how):
    """And a load before a store does."""

    def build(world, *, how):
        count = world.atomic("count", 0)

        async def counts():
            if how == "add":
                await count.add(1)
            elif how == "fetch_add":
                await count.fetch_add(1, "relaxed")
            elif how == "cmpxchg":
                seen = await count.load()
                while not await count.cmpxchg(expected=seen, value=seen + 1):
                    seen = await count.load()
            else:
                await count.store(await count.load() + 1)

        world.actor("a", counts)
        world.actor("b", counts)

        @world.at_end
        def both_are_counted():
            assert 2 == count.value

    assert is_exhausted(build, how=how)
    assert "both_are_counted" == failure_of(build, how="load and store").broken.law


# -- interrupts ------------------------------------------------------------------------------------


def counted_in_interrupt(world, *, irqs_off=False, times=1):
    """A counter that an interrupt counts, too, on the same CPU."""
    count = world.cell("count", 0)

    async def counts():
        if irqs_off:
            async with world.irqs_off():
                await count.write(await count.read() + 1)
        else:
            await count.write(await count.read() + 1)

    async def handler():
        await count.write(await count.read() + 1)
        nr_taken.append(1)

    nr_taken = []
    task = world.actor("task", counts)
    world.interrupt("tick", handler, on=task, times=times)

    @world.at_end
    def all_are_counted():
        seen.add(count.value)
        assert 1 + len(nr_taken) == count.value


seen = set()


def test_an_interrupt_comes_between_any_two_steps_or_never():
    """Between the read and the write it makes the task forget what it counted."""
    failure = failure_of(counted_in_interrupt)

    assert "all_are_counted" == failure.broken.law
    assert ("task", "interrupt on cpu of task") in failure.script


@pytest.mark.parametrize("times", [1, 2])
def test_it_does_not_come_while_interrupts_are_off(times):
    """It waits, and comes after: also after the last step of the task."""
    seen.clear()

    assert is_exhausted(counted_in_interrupt, irqs_off=True, times=times)
    assert set(range(1, times + 2)) == seen


def test_an_interrupt_comes_before_the_first_and_after_the_last_step():
    """The handler sees every state that the task leaves."""

    def build(world):
        x = world.cell("x", 0)

        async def writes():
            for value in (1, 2):
                await x.write(value)

        async def looks():
            values.add(await x.read())

        world.interrupt("tick", looks, on=world.actor("task", writes))

    values = set()

    assert is_exhausted(build)
    assert {0, 1, 2} == values


def test_a_handler_that_wants_the_lock_of_whom_it_interrupts_never_gets_it():
    """And lockdep says so without that."""

    def build(world, *, irqs_off, lockdep=False):
        if lockdep:
            world.lockdep()
        lock = world.lock("lock")

        async def works():
            if irqs_off:
                async with world.irqs_off(), lock:
                    pass
            else:
                async with lock:
                    pass

        async def handler():
            async with lock:
                pass

        world.interrupt("tick", handler, on=world.actor("task", works))

    assert "task takes lock twice" in failure_of(build, irqs_off=False).broken.text
    assert is_exhausted(build, irqs_off=True)
    assert is_exhausted(build, irqs_off=True, lockdep=True)
    assert "lock" in failure_of(build, irqs_off=False, lockdep=True).broken.law


def test_a_handler_runs_while_its_actor_waits_and_may_end_the_wait():
    """Standing before a lock, asleep in a queue, at a barrier."""

    def build(world, *, waits_for):
        lock, queue = world.lock("lock"), world.wait_queue("queue")
        event = world.event("event")

        async def waits():
            if waits_for == "queue":
                await queue.sleep()
            elif waits_for == "event":
                await event.wait()
            else:
                async with lock:
                    pass

        async def handler():
            await event.set()
            await queue.wake()

        async def holds():
            if waits_for == "lock":
                async with lock:
                    await event.wait()

        world.actor("holder", holds)
        world.interrupt("tick", handler, on=world.actor("task", waits), times=1)

        @world.always
        def it_comes_at_last():
            reached.add(event.value)

    reached = set()
    for waits_for in ("queue", "event", "lock"):
        reached.clear()
        search(partial(build, waits_for=waits_for))

        assert {False, True} == reached


def test_an_interrupt_for_who_has_none_is_a_text_that_says_what_to_do():
    """An actor whose CPU nobody interrupts has none to turn off."""

    def build(world):
        world.actor("a", world.local_irq_disable)

    assert "make some with world.interrupt(name, handler, on=...)" in failure_of(build).broken.text


# -- time-outs -------------------------------------------------------------------------------------


def test_every_wait_may_end_too_early_if_it_has_a_time_out():
    """Each returns whether it was in time, and each does so in some schedule."""

    def build(world):
        lock, slots, event = world.lock("lock"), world.semaphore("slots", 0), world.event("event")
        rwlock, queue = world.rwlock("rwlock"), world.wait_queue("queue")
        guard = world.lock("guard")
        condition, box = world.condition("condition", guard), world.mailbox("box")

        async def waits():
            results = [
                await lock.acquire(timeout=1),
                await slots.acquire(timeout=1),
                await event.wait(timeout=1),
                await rwlock.acquire_read(timeout=1),
                await rwlock.acquire_write(timeout=1) if rwlock_writes else None,
                await queue.sleep(timeout=1),
                await box.receive(timeout=1),
            ]
            await guard.acquire()
            results.append(await condition.wait(timeout=1))
            return tuple(results)

        async def holds():
            await lock.acquire(timeout=1)
            await rwlock.acquire_write(timeout=1)
            await event.set()

        world.actor("holder", holds)
        world.actor("waiter", waits)

    rwlock_writes = False
    lasts = {result[1] for result in results_of(build)}

    assert {result[0] for result in lasts} == {True, False}
    assert {result[2] for result in lasts} == {True, False}
    assert {result[3] for result in lasts} == {True, False}
    assert {(result[1], *result[4:]) for result in lasts} == {(False, None, False, None, False)}


def test_who_ignores_that_the_time_is_out_uses_what_it_has_not():
    """The commonest bug with time-outs."""

    def build(world, *, looks):
        lock, inside = world.lock("lock"), world.cell("inside", 0)

        async def enters():
            is_mine = await lock.acquire(timeout=0.5)
            if looks and not is_mine:
                return
            await inside.add(1)
            await inside.add(-1)
            if is_mine:
                await lock.release()

        world.actor("a", enters)
        world.actor("b", enters)

        @world.always
        def one_is_inside():
            assert inside.value <= 1

    failure = failure_of(build, looks=False)

    assert "lock lock (timed out)" in failure.report
    assert is_exhausted(build, looks=True)


def test_a_writer_whose_time_is_out_lets_readers_in_again():
    """It asks no more."""

    def build(world):
        lock = world.rwlock("lock")

        async def reads():
            async with lock.read(), lock.read():
                pass

        async def writes():
            if await lock.acquire_write(timeout=True):
                await lock.release_write()

        world.actor("reader", reads)
        world.actor("writer", writes)

    assert is_exhausted(build)


def test_a_wake_up_between_the_look_and_the_sleep_is_not_lost_if_the_queue_looks_again():
    """wait_event: `unless` is looked at from inside the queue."""

    def build(world, *, looks_again):
        done, queue = world.cell("done", 0), world.wait_queue("queue")

        async def waits():
            if looks_again:
                await queue.sleep(unless=lambda: bool(done.value), reads=(done,))
            elif not await done.read():
                await queue.sleep()

        async def wakes():
            await done.write(1)
            await queue.wake()

        world.actor("waiter", waits)
        world.actor("waker", wakes)

    assert "lost wake-up" == failure_of(build, looks_again=False).broken.law
    assert is_exhausted(build, looks_again=True)


# -- late stores, failures, guards -----------------------------------------------------------------


@pytest.mark.parametrize("how", ["lock", "semaphore", "rwlock", "condition", "once_flag", "event"])
def test_what_was_stored_before_is_seen_by_who_was_let_in(how):
    """Where stores are late, what gives back comes behind what was stored under it."""

    def build(world):
        world.allow(STORE_IS_LATE)
        count, lock = world.cell("count", 0), world.lock("lock")
        slots, rwlock = world.semaphore("slots", 1), world.rwlock("rwlock")
        condition, flag = world.condition("condition", lock), world.once_flag("flag")
        event, is_first = world.event("event"), world.cell("is_first", True)

        async def counts():
            await count.write(await count.read() + 1)

        async def works():
            if how == "lock":
                async with lock:
                    await counts()
            elif how == "semaphore":
                async with slots:
                    await counts()
            elif how == "rwlock":
                async with rwlock.write():
                    await counts()
            elif how == "once_flag":
                await flag.call(counts)
                assert await count.read()
                await count.add(1)
            elif await is_first.xchg(False):
                async with lock:
                    await counts()
                    await event.set()
                    await condition.notify()
            elif how == "event":
                await event.wait()
                await counts()
            else:
                async with condition:
                    await condition.wait_for(event.is_set)
                    await counts()

        world.actor("a", works)
        world.actor("b", works)

        @world.at_end
        def both_are_counted():
            assert 2 + (how == "once_flag") == count.value

    assert is_exhausted(build)


def test_an_event_is_no_barrier():
    """SB with events: to set one is a plain store."""

    def build(world):
        world.allow(STORE_IS_LATE)
        events = world.event("x"), world.event("y")

        async def does(own, other):
            await own.set()
            return await other.is_set()

        world.actor("a", does, *events)
        world.actor("b", does, *reversed(events))

    assert (False, False) in results_of(build)


def test_a_trylock_of_each_kind_fails_though_it_could_have_succeeded():
    """If the world allows that."""

    def build(world):
        world.allow(TRYLOCK_FAILS, times=3)
        lock, slots, rwlock = world.lock("lock"), world.semaphore("slots"), world.rwlock("rwlock")

        async def tries():
            return (
                await lock.acquire_nowait(),
                await slots.acquire_nowait(),
                await rwlock.trylock_read(),
                await rwlock.trylock_write(),
            )

        world.actor("a", tries)

    tried = {result[0] for result in results_of(build)}

    assert {result[:3] for result in tried} == {
        (a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)
    }
    assert (False, False, False, True) in tried


@pytest.mark.parametrize("kind", ["semaphore", "event", "once_flag", "atomic"])
def test_a_value_is_read_in_a_step_that_declares_it_or_not_at_all(kind):
    """The search would not know that it was seen."""

    def build(world, *, declares):
        thing = getattr(world, kind)("thing")

        async def looks():
            await world.step("look", reads=(thing,) if declares else ("other",))
            return thing.value

        world.actor("a", looks)

    def text_of_failure():
        try:
            return failure_of(build, declares=False).broken.text
        except GuardViolation as error:
            return str(error)

    assert "thing was read by a in step 'look', which does not declare it" in text_of_failure()
    assert is_exhausted(build, declares=True)


def test_two_objects_of_one_name_are_refused():
    """Whatever they are."""

    def build(world):
        world.event("x")
        world.semaphore("x")

    with pytest.raises(AssertionError, match="two objects are named x"):
        search(build)


def test_a_finding_of_lockdep_is_what_a_rwlock_in_two_orders_is():
    """A lock and a rwlock, each inside the other; no schedule needs to hang."""

    def build(world):
        world.lockdep()
        lock, rwlock = world.lock("lock"), world.rwlock("rwlock")

        async def one():
            async with lock, rwlock.read():
                pass

        async def two():
            async with rwlock.write(), lock:
                pass

        world.actor("a", one)
        world.actor("b", two)

    broken = failure_of(build).broken

    assert Kind.LAW is broken.kind
    assert "rwlock" in broken.text
    assert "lock" in broken.text


@pytest.mark.parametrize("how", ["event", "queue", "condition", "mailbox", "lock", "rwlock"])
def test_a_loop_with_a_time_out_is_explored_to_the_end(how):
    """If nothing changed since the time was out, nothing new can come: it waits for a change."""

    def build(world):
        lock, event, queue = world.lock("lock"), world.event("event"), world.wait_queue("queue")
        condition, box = world.condition("condition", lock), world.mailbox("box")
        rwlock = world.rwlock("rwlock")

        async def polls():
            if how == "event":
                while not await event.wait(timeout=1):
                    pass
            elif how == "queue":
                while not await event.is_set():
                    await queue.sleep(timeout=1)
            elif how == "condition":
                async with condition:
                    while not await event.is_set():
                        await condition.wait(timeout=1)
            elif how == "mailbox":
                while await box.receive(timeout=1) is None:
                    pass
            elif how == "rwlock":
                while not await rwlock.acquire_write(timeout=1):
                    pass
                await rwlock.release_write()
            else:
                while not await lock.acquire(timeout=1):
                    pass
                await lock.release()

        async def works():
            async with rwlock.read(), lock:
                await event.set()
                await condition.notify()
            await queue.wake()
            box.tell("done")

        world.actor("poller", polls)
        world.actor("worker", works)

    assert is_exhausted(build)


def test_a_loop_that_counts_its_time_outs_gives_up():
    """It stands somewhere else each time: what it does then is explored, too."""

    def build(world):
        event, queue = world.event("event"), world.wait_queue("queue")

        async def waits():
            for nr_tries in range(4):
                if await event.is_set():
                    return nr_tries
                await queue.sleep(timeout=1)
            return "gave up"

        world.actor("waiter", waits)
        world.actor("setter", event.set)

    assert {0, 1, 2, 3, "gave up"} == {result[0] for result in results_of(build)}
