"""Loops: what looks for ever is cut, what counts is not, and a cut says that it is one."""

from collections import deque
from functools import partial
from itertools import count, repeat

import pytest

from mmactors.explore import Kind, Options, Outcome, search


class Attempts:
    """Counts in an attribute."""

    def __init__(self):
        self.left = 4

    def fail(self):
        self.left -= 1
        return self.left == 0


def for_loop(cell):
    async def tries():
        for _ in range(4):
            if await cell.read():
                return True
        return False

    return tries


def nested_iterators(cell):
    async def tries():
        for _, _ in zip("abcd", enumerate(repeat(1)), strict=False):
            if await cell.read():
                return True
        return False

    return tries


def local_count(cell):
    async def tries():
        nr_left = 4
        while nr_left:
            if await cell.read():
                return True
            nr_left -= 1
        return False

    return tries


def nonlocal_count(cell):
    nr_left = 4

    def fails():
        nonlocal nr_left
        nr_left -= 1
        return nr_left == 0

    async def tries():
        while not await cell.read():
            if fails():
                return False
        return True

    return tries


def attribute(cell):
    attempts = Attempts()

    async def tries():
        while not await cell.read():
            if attempts.fail():
                return False
        return True

    return tries


def inner_coroutine(cell):
    async def looks(left):
        if await cell.read():
            return True
        left.popleft()
        return False

    async def tries():
        left = deque("abcd")
        while left:
            if await looks(left):
                return True
        return False

    return tries


def generator(cell):
    async def tries():
        for _ in (letter for letter in "abcd"):
            if await cell.read():
                return True
        return False

    return tries


def compare_and_exchange(cell):
    async def tries():
        for _ in range(4):
            if not await cell.cmpxchg(expected=0, value=0):
                return True
        return False

    return tries


def two_cells(cell, *, other):
    async def tries():
        for _ in range(4):
            if await cell.read() or await other.read():
                return True
        return False

    return tries


BOUNDED = [
    for_loop,
    nested_iterators,
    local_count,
    nonlocal_count,
    attribute,
    inner_coroutine,
    generator,
    compare_and_exchange,
    two_cells,
]


@pytest.mark.parametrize("how", BOUNDED)
def test_a_loop_that_gives_up_is_followed_until_it_does(how):
    """Who looks four times in a row sees four times that nothing is there, and gives up."""

    def build(world):
        x, gave_up = world.cell("x", 0), world.cell("gave_up", False)
        tries = how(x, other=world.cell("y", 0)) if how is two_cells else how(x)

        async def looks():
            if not await tries():
                await gave_up.write(True)

        async def sets():
            await x.write(1)
            assert not await gave_up.read(), "gave up before x was set"

        world.actor("looks", looks)
        world.actor("sets", sets)

    failure = search(build).failure

    assert failure is not None
    assert "gave up before x was set" in failure.broken.text


def spins_by_reading(x, _y):
    async def spins():
        while not await x.read():
            pass

    return spins


def spins_by_reading_two(x, y):
    async def spins():
        while not (await x.read() and await y.read()):
            pass

    return spins


def spins_by_exchanging(x, _y):
    async def spins():
        while not await x.cmpxchg(expected=1, value=2):
            pass

    return spins


def spins_in_a_call(x, _y):
    async def looks():
        return await x.read()

    async def spins():
        while not await looks():
            pass

    return spins


SPINS = [spins_by_reading, spins_by_reading_two, spins_by_exchanging, spins_in_a_call]


@pytest.mark.parametrize("how", SPINS)
def test_a_loop_without_end_that_somebody_ends_is_exhausted(how):
    """It comes back to where it stood; so it need not be followed until something changes."""

    def build(world):
        x, y = world.cell("x", 0), world.cell("y", 0)

        async def sets():
            await y.write(1)
            await x.write(1)

        world.actor("spins", how(x, y))
        world.actor("sets", sets)

    verdict = search(build)

    assert Outcome.EXHAUSTED is verdict.outcome
    assert verdict.nr_schedules < 100


@pytest.mark.parametrize("how", SPINS)
def test_a_loop_without_end_that_nobody_ends_is_a_livelock(how):
    """Everybody stands where it stood, and nobody is left to change anything."""

    def build(world):
        world.actor("spins", how(world.cell("x", 0), world.cell("y", 0)))

    assert Kind.LIVELOCK is search(build).failure.broken.kind


def looks_often(world, *, how, nr_looks):
    """Looks more often than a schedule is followed, then breaks."""
    x = world.cell("x", 0)

    async def looks():
        if how == "range":
            for _ in range(nr_looks):
                await x.read()
        elif how == "counter":
            for number in count():
                await x.read()
                if number == nr_looks:
                    break
        else:
            left = [None] * nr_looks
            while left:
                await x.read()
                left.pop()
        raise AssertionError("it looked that often")

    world.actor("looks", looks)


@pytest.mark.parametrize("how", ["range", "counter", "list"])
def test_what_is_cut_is_bounded_and_never_exhausted(how):
    """The bug behind so many steps is not seen, and nobody says that there is none."""
    build = partial(looks_often, how=how, nr_looks=200)

    short = search(build, name="short", options=Options(max_steps=50))
    long = search(build, name="long", options=Options(max_steps=250))

    assert Outcome.BOUNDED is short.outcome
    assert 50 == short.max_steps
    assert "raise max_steps to see more" in str(short)
    assert Outcome.FAILED is long.outcome


def test_a_choice_in_a_loop_that_looks_is_made_each_time():
    """To go on is one way, to give up another."""

    def build(world):
        x, gave_up = world.cell("x", 0), world.cell("gave_up", 0)

        async def looks():
            while not await x.read():
                if await world.may("give up"):
                    await gave_up.write(1)
                    return

        async def sets():
            await x.write(1)
            assert not await gave_up.read()

        world.actor("looks", looks)
        world.actor("sets", sets)

    assert Outcome.FAILED is search(build).outcome
