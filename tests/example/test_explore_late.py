"""If stores may be late, every store and load goes through the buffer, or is locked."""

from functools import partial

import pytest
from late_stores import BREAKS, CRASHES, HOLDS, judge, late

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
