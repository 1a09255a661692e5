"""Messages, answers, events and locks keep the order of the stores around them."""

from functools import partial

import pytest
from late_stores import BREAKS, CRASHES, HOLDS, judge, late

from mmactors.engine.cell import Cell
from mmactors.engine.chance import TRYLOCK_FAILS
from mmactors.engine.guard import GuardViolation
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.engine.mailbox import Mailbox
from mmactors.explore import Outcome, search
from mmactors.label import Label, Mode

# -- messages, answers, events ---------------------------------------------------------------------


def test_a_message_comes_behind_the_stores_before_it():
    """It is a store, too: who has it sees what was stored before, and it may be late."""

    def build(world, *, asks):
        x, box = world.cell("x", 0), world.mailbox("box")

        async def sends():
            await x.write(1)
            if asks:
                assert 2 == await box.ask(1)
            else:
                box.tell(1)

        async def receives():
            message = await box.receive()
            assert 1 == await x.read()
            if asks:
                message.reply.send(2)

        world.actor("sends", sends)
        world.actor("receives", receives)

    assert HOLDS == judge(late(partial(build, asks=False)))
    assert HOLDS == judge(late(partial(build, asks=True)))


def test_an_answer_comes_behind_the_stores_of_who_answers():
    """And who has the answer sees them."""

    def build(world):
        x, box = world.cell("x", 0), world.mailbox("box")

        async def asks():
            await box.ask("set x")
            assert 1 == await x.read()

        async def serves():
            request = await box.receive()
            await x.write(1)
            request.reply.send("done")

        world.actor("asks", asks)
        world.actor("serves", serves)

    assert HOLDS == judge(late(build))


def test_who_sends_may_not_yet_be_heard():
    """SB with messages: both may find their box empty."""

    def build(world):
        boxes = (world.mailbox("box0"), world.mailbox("box1"))

        async def does(own, other):
            await world.step("send", adds=(own,))
            own.tell("hello")
            await world.step("look", reads=(other,))
            return len(other)

        a = world.actor("a", does, *boxes)
        b = world.actor("b", does, *reversed(boxes))

        @world.at_end
        def one_is_heard():
            assert a.result + b.result > 0

    assert BREAKS == judge(late(build))
    assert HOLDS == judge(build)


def test_what_happens_any_time_is_seen_at_once():
    """A walker that sets two bits does so by a locked instruction; it loses no store of others."""

    def build(world):
        x, y = world.cell("x", 0), world.cell("y", 0)

        def sets_both():
            x.value += 1
            y.value += 1

        world.any_time("set", sets_both, x, y)

        async def looks():
            await x.xchg(10)
            await world.step("look", reads=(x, y))
            assert (x.value, y.value) in [(10, 0), (10, 1), (11, 1)]

        world.actor("looks", looks)

    assert HOLDS == judge(late(build))


# -- locks -----------------------------------------------------------------------------------------


def test_a_lock_that_was_given_back_late_is_not_held_any_more():
    """To give it back twice, or to take it twice, is an error as ever."""

    def build(world, *, program):
        lock = world.lock("lock")

        async def does():
            for operation in program:
                await getattr(lock, operation)()

        world.actor("a", does)

    for program in (("acquire", "release", "release"), ("acquire", "acquire")):
        assert CRASHES == judge(late(partial(build, program=program))), program
        assert CRASHES == judge(partial(build, program=program)), program
    again = ("acquire", "release", "acquire", "release", "acquire_nowait", "release")
    assert HOLDS == judge(late(partial(build, program=again)))


@pytest.mark.parametrize("scope", [None, ()])
def test_nobody_waits_in_vain_for_a_lock_that_it_gave_back_itself(scope):
    """It sees it given back, late as that may be for others: there is nothing to wait for."""

    def build(world):
        lock, rwlock = world.lock("lock"), world.rwlock("rwlock", fair=False)
        if scope is not None:
            world.scope(*scope)

        async def does():
            await lock.acquire()
            await lock.release()
            assert await lock.acquire(timeout=True)
            await rwlock.acquire_write()
            await rwlock.release_write()
            assert await rwlock.acquire_write(timeout=True)
            await rwlock.release_write()
            assert await rwlock.acquire_read(timeout=True)

        world.actor("a", does)

    assert HOLDS == judge(late(build))


def test_a_trylock_that_takes_or_fails_keeps_the_other_out():
    """Critical sections do not overlap."""

    def build(world):
        world.allow(TRYLOCK_FAILS)
        lock, count = world.lock("lock"), world.cell("count", 0)

        async def tries():
            if not await lock.acquire_nowait():
                return 0
            await count.write(await count.read() + 1)
            await lock.release()
            return 1

        a = world.actor("a", tries)
        b = world.actor("b", tries)

        @world.at_end
        def each_is_counted():
            assert count.value == a.result + b.result

    assert HOLDS == judge(late(build))


# -- what is declared ------------------------------------------------------------------------------


def refusal(build):
    """Return what is said of an access that is an error of the test's."""
    try:
        return search(build).failure.broken.text
    except GuardViolation as error:
        return str(error)


@pytest.mark.parametrize(
    "names", [{"reads": ("y",)}, {"writes": ("y",)}, {"adds": ("y",)}, {"reads": ("x",)}]
)
def test_a_store_that_no_step_declares_is_refused(names):
    """As without late stores."""

    def build(world):
        x = world.cell("x", 0)
        world.cell("y", 0)

        async def a():
            await world.step("something", **names)
            x.value = 1

        world.actor("a", a)

    for each in (build, late(build)):
        with pytest.raises(GuardViolation, match="does not declare it"):
            search(each)


async def by_step(world):
    """As actors of a world look."""
    await world.step("look", reads=("mask",))


async def by_label(world):
    """As the kernel looks."""
    await world.engine.step(Label("look", (("mask", Mode.READ),)))


@pytest.mark.parametrize("looks", [by_step, by_label])
@pytest.mark.parametrize("name", ["mask", "mask[1]"])
@pytest.mark.parametrize("scope", [None, ()])
def test_own_stores_to_what_is_no_cell_are_waited_for(looks, name, scope):
    """`engine.store` has no value that a load could see: who reads waits until it drains."""

    def build(world):
        mask = set()
        world.watch("mask", lambda: tuple(mask))
        if scope is not None:
            world.scope(*scope)

        async def a():
            world.engine.store(name, lambda: mask.add(1))
            await looks(world)
            assert mask

        world.actor("a", a)

    assert HOLDS == judge(late(build))


def test_the_own_message_is_waited_for_by_who_looks_into_the_box():
    """A box is the queues of all its senders."""

    def build(world):
        box = world.mailbox("box")

        async def sends():
            await world.step("send", adds=(box,))
            box.tell("hello")
            await world.step("look", reads=(box,))
            assert 1 == len(box)

        world.actor("sends", sends)

    assert HOLDS == judge(late(build))


@pytest.mark.parametrize("is_named", [True, False])
def test_a_column_that_is_read_by_its_name_is_read_from_memory(is_named):
    """SB in two elements of one column, which each actor then reads as a whole.

    Both find their own store. If they read the column by its name, that is in memory by then, so
    that one of them finds the other's; if they name its cells, each is a load of its own, and both
    may be too early, as on x86.
    """
    ends = set()

    def build(world):
        elements = tuple(world.cell(f"w[{index}]", 0) for index in range(2))
        world.watch("w", lambda: tuple(each.key() for each in elements))

        async def does(own):
            await elements[own].write(1)
            if is_named:
                await world.step("look", reads=("w",))
                return tuple(each.key() for each in elements)
            await world.step("look", reads=elements)
            return tuple(each.value for each in elements)

        a, b = (world.actor(name, does, own) for own, name in enumerate("ab"))
        world.at_end(lambda: ends.add((a.result, b.result)))

    assert HOLDS == judge(late(build))
    in_order = {((1, 0), (1, 1)), ((1, 1), (0, 1)), ((1, 1), (1, 1))}
    assert ends == (in_order if is_named else in_order | {((1, 0), (0, 1))})


def test_laws_look_at_memory():
    """What is in a buffer is no part of it."""

    def build(world):
        x = world.cell("x", 0)
        seen = set()

        async def a():
            await world.step("store", writes=(x,))
            x.value = 1
            await world.step("store again", writes=(x,))
            seen.add(x._value)
            x.value = 2

        world.actor("a", a)
        world.sometimes("the first store is late", lambda: 0 in seen)
        world.sometimes("the first store is early", lambda: 1 in seen)

        @world.always
        def a_value_that_was_stored():
            assert x.value in (0, 1, 2)

        @world.at_end
        def the_last_one():
            assert x.value == 2

    verdict = search(late(build))

    assert Outcome.EXHAUSTED is verdict.outcome
    assert () == verdict.missed


# -- what is of the engine -------------------------------------------------------------------------


def engine_cell(world, *, asks):
    """A cell of the engine publishes what a cell of the world holds."""
    data, flag = world.cell("data", 0), Cell(world.engine, 0, name="flag")

    async def writes():
        await data.write(1)
        await flag.write(1)

    async def reads():
        if await flag.read():
            assert 1 == await data.read()

    world.actor("writes", writes)
    world.actor("reads", reads)


def engine_mailbox(world, *, asks):
    """A mailbox of the engine, and its answers."""
    data, box = world.cell("data", 0), Mailbox(world.engine, "box")

    async def sends():
        await data.write(1)
        if asks:
            await box.ask(1)
            assert 2 == await data.read()
        else:
            box.tell(1)

    async def receives():
        message = await box.receive()
        assert 1 == await data.read()
        await data.write(2)
        if asks:
            message.reply.send(1)

    world.actor("sends", sends)
    world.actor("receives", receives)


def engine_lock(world, *, asks):
    """A lock of the engine keeps what was stored under it."""
    count = world.cell("count", 0)
    lock = Spinlock(world.engine, LockClass("lock"), name="lock")

    async def counts():
        async with lock:
            await count.write(await count.read() + 1)

    for index in range(2):
        world.cpu(index).spawn_thread(f"thread {index}", counts())

    @world.at_end
    def both_are_counted():
        assert 2 == count.value


@pytest.mark.parametrize("build", [engine_cell, engine_mailbox, engine_lock])
@pytest.mark.parametrize("asks", [False, True])
def test_what_is_of_the_engine_comes_behind_the_stores_before_it(build, asks):
    """It is locked, or drains: nothing of it is late."""
    assert HOLDS == judge(late(partial(build, asks=asks)))
