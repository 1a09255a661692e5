"""Progress: deadlocks, livelocks, monitors, and windows that were never entered."""

from functools import partial

import pytest

from mmactors.explore import Kind, Options, search


def test_a_monitor_that_stays_hot_is_broken_though_the_state_never_repeats():
    """A daemon counts for ever and never does what it is there for."""

    def build(world, *, fixed):
        nr_free = world.cell("free", 0)
        nr_scanned = world.cell("scanned", 0)

        async def reclaims():
            while True:
                seen = await nr_scanned.add_return(1)
                if fixed and seen % 3 == 0:
                    await nr_free.write(1)

        async def allocates():
            await nr_free.until(bool)

        world.actor("kswapd", reclaims, daemon=True)
        world.actor("allocator", allocates)
        world.monitor("pages come free", lambda: nr_free.value == 0, limit=50)

    options = Options(max_steps=60)
    failure = search(partial(build, fixed=False), options=options).failure

    assert Kind.LIVELOCK is failure.broken.kind
    assert "pages come free" == failure.broken.law
    assert "hot for 51 steps in a row although everybody had a turn" in failure.broken.text
    assert search(partial(build, fixed=True), options=options).is_good


def test_a_monitor_that_is_hot_at_the_end_is_broken():
    """Nothing can happen any more."""

    def build(world):
        is_dirty = world.cell("dirty", 0)

        async def writes():
            await is_dirty.write(1)

        world.actor("a", writes)
        world.monitor("dirty pages are written back", lambda: bool(is_dirty.value))

    assert "dirty pages are written back" == search(build).failure.broken.law


def test_a_loop_that_counts_is_no_livelock():
    """Its looks are all the same, but its variable is not."""

    def build(world):
        is_ready = world.cell("ready", 0)

        async def looks():
            for _ in range(100):
                if await is_ready.read():
                    return

        world.actor("a", looks)

    assert search(build).is_good


@pytest.mark.parametrize("how", ["condition", "call"])
def test_a_window_that_no_schedule_enters_is_named_in_the_verdict(how):
    """The lock keeps everybody out of it."""

    def build(world, *, locks):
        lock = world.lock("lock")
        inside = world.cell("inside", 0)

        async def goes_in():
            if locks:
                await lock.acquire()
            if await inside.add_return(1) == 2 and how == "call":
                world.reached("two at once")
            await inside.add_return(-1)
            if locks:
                await lock.release()

        world.actor("a", goes_in)
        world.actor("b", goes_in)
        if how == "condition":
            world.sometimes("two at once", lambda: inside.value == 2)
        else:
            world.sometimes("two at once")

    assert () == search(partial(build, locks=False)).missed
    verdict = search(partial(build, locks=True))
    assert ("two at once",) == verdict.missed
    assert str(verdict).endswith("; never happened: two at once")
    assert verdict.is_good


def test_a_deadlock_names_who_waits_for_a_value_and_who_for_a_lock():
    """Each waiting actor, and the holder where there is one."""

    def build(world):
        lock = world.lock("lru_lock")
        is_done = world.cell("done", 0)

        async def waits_inside():
            async with lock:
                await is_done.until(bool)

        async def wants_in():
            async with lock:
                await is_done.write(1)

        world.actor("isolate", waits_inside)
        world.actor("drain", wants_in)

    text = search(build).failure.broken.text

    assert "  isolate: waits for done\n  drain: waits for lru_lock, held by isolate" == text
