"""If stores may be late, every store and load goes through the buffer, or is locked."""

from functools import partial

import pytest

from mmactors.engine.chance import STORE_IS_LATE, TRYLOCK_FAILS
from mmactors.explore import Kind, Outcome, search


def judge(build):
    """Return how sure the search is that nothing breaks, and what it breaks."""
    verdict = search(build)
    return verdict.outcome, None if verdict.failure is None else verdict.failure.broken.kind


def late(build):
    """Return the world with late stores."""

    def built(world, **how):
        world.allow(STORE_IS_LATE)
        build(world, **how)

    return built


HOLDS = (Outcome.EXHAUSTED, None)
BREAKS = (Outcome.FAILED, Kind.LAW)
CRASHES = (Outcome.FAILED, Kind.CRASH)


# -- own loads: each sees what its processor stored last -------------------------------------------


def own_load_in_a_step_of_two(world):
    """Of what the step reads, one is still in the buffer."""
    x, y = world.cell("x", 0), world.cell("y", 7)

    async def a():
        await x.write(1)
        await world.step("look", reads=(x, y))
        assert (1, 7) == (x.value, y.value)

    world.actor("a", a)


def own_load_of_the_last_of_several(world):
    """The newest counts, whether or not some of them have drained."""
    x = world.cell("x", 0)

    async def a():
        for value in (1, 2, 3):
            await x.write(value)
            await world.step("look", reads=("x",))
            assert value == x.value

    world.actor("a", a)


def own_load_in_the_step_that_stores(world):
    """A store and a load behind it are two instructions of one step."""
    x = world.cell("x", 0)

    async def a():
        await world.step("count", writes=(x,))
        x.value = 5
        x.value += 1
        assert 6 == x.value
        assert 6 == await x.until(lambda value: value > 5)

    world.actor("a", a)


def own_load_behind_a_lock(world):
    """What was stored inside is seen after the lock was given back, late as that may be."""
    x, lock = world.cell("x", 0), world.lock("lock")

    async def a():
        async with lock:
            await world.step("set", writes=(x,))
            x.value = 1
        await world.step("look", reads=(x,))
        assert 1 == x.value

    world.actor("a", a)


@pytest.mark.parametrize(
    "build",
    [
        own_load_in_a_step_of_two,
        own_load_of_the_last_of_several,
        own_load_in_the_step_that_stores,
        own_load_behind_a_lock,
    ],
)
def test_a_load_sees_the_own_store(build):
    """Forwarding holds for every way to read."""
    assert HOLDS == judge(late(build))


# -- stores in steps are late ----------------------------------------------------------------------


def sb(world, store):
    """SB, with a store of some kind."""
    x, y = world.cell("x", 0), world.cell("y", 0)

    async def does(own, other):
        await store(world, own)
        return await other.read()

    a = world.actor("a", does, x, y)
    b = world.actor("b", does, y, x)

    @world.at_end
    def one_sees_the_other():
        assert (0, 0) != (a.result, b.result)


async def by_step(world, own):
    """Declare and assign."""
    await world.step("store", writes=(own,))
    own.value = 1


async def by_step_of_several(world, own):
    """Of two cells: each store is one of its own."""
    await world.step("store", writes=(own.name, "z"))
    own.value = 1
    world.engine.objects["z"].value = 1


async def by_counting(world, own):
    """Load, add, store: no lock prefix."""
    await world.step("count", writes=(own,))
    own.value += 1


async def by_unlock(world, own):
    """Giving a lock back drains nothing."""
    lock = world.engine.objects[f"lock of {own.name}"]
    await lock.acquire()
    await by_step(world, own)
    await lock.release()


async def by_failing_trylock(world, own):
    """Who finds a lock taken has only looked."""
    await by_step(world, own)
    assert not await world.engine.objects["taken"].acquire_nowait()


async def by_step_and_reading(world, own):
    """Both declared: it is locked."""
    await world.step("exchange", reads=(own,), writes=(own,))
    own.value = 1 - own.value


async def by_adding(world, own):
    """Adding is locked."""
    await world.step("add", adds=(own,))
    own.value += 1


async def then_locking(world, own):
    """Taking a lock drains."""
    await by_step(world, own)
    await world.engine.objects[f"lock of {own.name}"].acquire()


async def then_trying(world, own):
    """Taking it by trylock drains, too."""
    await by_step(world, own)
    assert await world.engine.objects[f"lock of {own.name}"].acquire_nowait()


async def then_waking(world, own):
    """Waking takes the lock of the queue."""
    await by_step(world, own)
    await world.engine.objects["queue"].wake()


async def then_receiving(world, own):
    """Taking a message out is locked."""
    await by_step(world, own)
    box = world.engine.objects[f"box of {own.name}"]
    box.tell("a message")
    assert "a message" == await box.receive()


async def then_a_step_on_what_is_no_cell(world, own):
    """It has no value that could wait."""
    await by_step(world, own)
    await world.step("note", writes=("notes",))


def with_all(store, world):
    """SB and all objects that some kind of store needs."""
    world.cell("z", 0)
    world.wait_queue("queue")
    world.watch("notes", lambda: None)
    taken = world.lock("taken")
    for name in "xy":
        world.lock(f"lock of {name}")
        world.mailbox(f"box of {name}")

    async def holds():
        await world.cell("never", 0).until(bool)

    if store is by_failing_trylock:
        taken.holder = world.actor("holder", holds, daemon=True)
    sb(world, store)


@pytest.mark.parametrize(
    "store", [by_step, by_step_of_several, by_counting, by_unlock, by_failing_trylock]
)
def test_a_store_in_a_step_is_late(store):
    """Both may miss the other's."""
    assert BREAKS == judge(late(partial(with_all, store)))
    assert HOLDS == judge(partial(with_all, store))


@pytest.mark.parametrize(
    "store",
    [
        by_step_and_reading,
        by_adding,
        then_locking,
        then_trying,
        then_waking,
        then_receiving,
        then_a_step_on_what_is_no_cell,
    ],
)
def test_what_is_locked_drains(store):
    """So that one of the two sees the other's store."""
    assert HOLDS == judge(late(partial(with_all, store)))


def test_stores_of_one_step_are_seen_one_by_one_in_order():
    """They are several instructions."""

    def build(world, *, order):
        x, y = world.cell("x", 0), world.cell("y", 0)

        async def stores():
            await world.step("store both", writes=(x, y))
            x.value = 1
            y.value = 1

        async def looks():
            await world.step("look", reads=(x, y))
            assert (x.value, y.value) not in order

        world.actor("stores", stores)
        world.actor("looks", looks)

    assert CRASHES == judge(late(partial(build, order=[(1, 0)])))
    assert HOLDS == judge(late(partial(build, order=[(0, 1)])))
    assert HOLDS == judge(partial(build, order=[(1, 0), (0, 1)]))


def test_a_step_that_reads_and_writes_is_seen_at_once():
    """As a locked instruction is, or a critical section that somebody has written as one step."""

    def build(world):
        x, y = world.cell("x", 0), world.cell("y", 0)

        async def moves():
            await world.step("move", reads=(x, y), writes=(x, y))
            x.value, y.value = y.value + 1, x.value + 1

        async def looks():
            await world.step("look", reads=(x, y))
            assert x.value == y.value

        world.actor("a", moves)
        world.actor("b", moves)
        world.actor("looks", looks)

    assert HOLDS == judge(late(build))


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

    assert CRASHES == judge(build)
    assert CRASHES == judge(late(build))


def test_own_stores_to_what_is_no_cell_are_waited_for():
    """`engine.store` has no value that a load could see: who reads waits until it drains."""

    def build(world):
        mask = set()
        world.watch("mask", lambda: tuple(mask))

        async def a():
            world.engine.store("mask", lambda: mask.add(1))
            await world.step("look", reads=("mask",))
            assert mask

        world.actor("a", a)

    assert HOLDS == judge(late(build))


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
