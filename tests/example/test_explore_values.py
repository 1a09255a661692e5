"""States are told apart by what nobody could confuse: type and content, position, time."""

import math
import random
import time
from enum import IntEnum
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from attrs import field, frozen

from mmactors.explore import Nondeterminism, Outcome, search
from mmactors.explore.engine.exact import Unnameable, exact


class Level(IntEnum):
    """Equal to a number."""

    LOW = 1


@frozen
class Page:
    """Equal to others of another owner."""

    number: int
    owner: str = field(default="nobody", eq=False)


LOOK_ALIKE = [
    (1, True),
    (0, False),
    (1, 1.0),
    (0.0, -0.0),
    (1, Level.LOW),
    (1, np.int64(1)),
    ((0, 1), (0, True)),
    (Page(1), Page(1, "somebody")),
    (frozenset([1]), frozenset([True])),
    (Fraction(1), 1),
]


@pytest.mark.parametrize(("plain", "other"), LOOK_ALIKE)
def test_values_that_are_equal_and_differ_are_two_states(plain, other):
    """Who writes last decides; both orders leave values that compare equal."""
    assert plain == other

    def build(world):
        x, n, y = world.cell("x", plain), world.cell("n", 0), world.cell("y", 0)

        async def writes(value):
            await x.write(value)
            await n.inc()

        async def late(value):
            await n.until(lambda seen: seen == 2)
            await y.write(value)

        world.actor("a", writes, other)
        world.actor("b", writes, plain)
        world.actor("c", late, 1)
        world.actor("d", late, 2)

        @world.at_end
        def the_plain_one_is_left():
            assert (type(x.value), repr(x.value)) == (type(plain), repr(plain))

    assert Outcome.FAILED is search(build).outcome


@pytest.mark.parametrize(("plain", "other"), LOOK_ALIKE)
def test_the_names_of_such_values_differ(plain, other):
    """And the name of a value is the name of its copy."""
    try:
        assert exact(plain) != exact(other)
    except Unnameable:
        assert isinstance(plain, Fraction)


def test_a_value_that_is_not_equal_to_itself_has_one_name():
    """A state with a NaN in it is recognised."""
    assert exact(math.nan) == exact(float("nan"))
    assert exact((1, math.nan)) == exact((1, float("nan")))


@pytest.mark.parametrize("value", [[1], {}, {1}, bytearray(b"1"), np.zeros(2), iter([1])])
def test_what_can_be_changed_in_place_has_no_name(value):
    """It would hold something else tomorrow."""
    with pytest.raises(Unnameable):
        exact(value)


class Same:
    """Options that cannot be told apart by their text."""

    def __init__(self, number):
        self.number = number

    def __repr__(self):
        return "<option>"


@pytest.mark.parametrize(
    "options",
    [(1, "1"), (True, "yes"), (Same(1), Same(2)), ((1,), "(1,)"), (object(), object())],
)
def test_options_with_the_same_text_are_two_options(options):
    """The second is chosen too, and leads elsewhere."""

    def build(world):
        x = world.cell("x", 0)

        async def chooses():
            chosen = await world.choose("which", *options)
            await x.write(5)
            assert chosen is options[0]

        async def looks():
            await x.read()

        world.actor("chooses", chooses)
        world.actor("looks", looks)

    first, second = search(build, name="a"), search(build, name="a")

    assert Outcome.FAILED is first.outcome
    assert first.failure.script == second.failure.script


# -- time ------------------------------------------------------------------------------------------


def by_clock(world):
    return lambda: world.engine.clock.now


def by_engine(world):
    return lambda: world.engine.now_ns


def by_keeping_the_clock(world):
    clock = world.engine.clock
    return lambda: clock.now


@pytest.mark.parametrize("clock_of", [by_clock, by_engine, by_keeping_the_clock])
def test_reading_the_clock_depends_on_who_spent_time_before(clock_of):
    """Of all orders one shows 100, 200, 300."""

    def build(world):
        x, y, now = world.cell("x"), world.cell("y"), clock_of(world)

        async def spends():
            for _ in range(3):
                await x.write(1)
                await world.engine.spend(100)

        async def looks():
            seen = []
            for _ in range(3):
                await y.write(1)
                seen.append(now())
            assert seen != [100, 200, 300]

        world.actor("spends", spends)
        world.actor("looks", looks)

    assert Outcome.FAILED is search(build).outcome


def spending(world, *, wanted):
    async def spends(ns):
        for _ in range(2):
            await world.step("spends")
            await world.engine.spend(ns)

    async def looks():
        seen = [await world.now() for _ in range(2)]
        assert seen != wanted

    world.actor("a", spends, 100)
    world.actor("b", spends, 10)
    world.actor("looks", looks)


@pytest.mark.parametrize("wanted", [[0, 0], [100, 110], [10, 220], [20, 120], [120, 220]])
def test_each_time_that_can_be_read_is_read_in_some_schedule(wanted):
    """Reading the time is a step."""
    assert Outcome.FAILED is search(partial(spending, wanted=wanted), name="time").outcome


def test_a_time_that_cannot_be_is_read_in_none():
    """The search comes to its end."""
    assert Outcome.EXHAUSTED is search(partial(spending, wanted=[220, 120]), name="time").outcome


def test_who_spends_time_that_nobody_reads_costs_no_schedule():
    """Time decides nothing then."""

    def build(world, *, nr_reads):
        x = world.cell("x")

        async def spends():
            for _ in range(3):
                await x.add(1)
                await world.engine.spend(100)

        async def looks():
            for _ in range(nr_reads):
                await world.now()

        world.actor("a", spends)
        world.actor("b", spends)
        world.actor("c", looks)

    unread = search(partial(build, nr_reads=0), name="unread")
    read = search(partial(build, nr_reads=1), name="read")

    assert 2 * unread.nr_schedules < read.nr_schedules


# -- the host --------------------------------------------------------------------------------------

SEEDED = random.Random(7)


def draws():
    return random.random()


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda: random.random() + 1, "random.random"),
        (lambda: random.choice([1, 2]), "random.choice"),
        (draws, "random.random"),
        (lambda: time.time_ns() + 1, "time.time_ns"),
        (lambda: id(object()), "id"),
        (lambda: np.random.rand() + 1, "numpy.random.rand"),  # noqa: NPY002 - the old way is meant
    ],
)
def test_an_actor_that_asks_the_host_is_told_before_anything_is_explored(ask, what):
    """Running twice would show it only now and then."""

    def build(world):
        x = world.cell("x", 0)

        async def writes():
            await x.write(str(ask()))

        world.actor("writes", writes)

    with pytest.raises(Nondeterminism, match=rf"writes asks for {what} \(.*test_explore_values"):
        search(build)


def test_a_law_may_not_ask_the_host_either():
    """It would hold today and not tomorrow."""

    def build(world):
        x = world.cell("x", 0)
        world.actor("a", x.write, 1)

        @world.at_end
        def holds():
            return x.value + random.random() > 0.5

    with pytest.raises(Nondeterminism, match=r"the law holds asks for random.random"):
        search(build)


def test_numbers_drawn_with_a_seed_outside_of_actors_are_the_same_each_time():
    """A generator made in the test, or the shared one if the test seeds it."""

    def build(world, *, is_shared):
        if is_shared:
            random.seed(3)
            value = random.random()
        else:
            value = random.Random(3).random()
        x = world.cell("x", value)
        world.actor("a", x.read)

    for is_shared in (False, True):
        verdict = search(partial(build, is_shared=is_shared), name="seeded")
        assert Outcome.EXHAUSTED is verdict.outcome


def test_each_of_the_first_schedules_is_run_twice():
    """What reading the code does not show is found if a schedule of the first hundred shows it."""
    nr_calls = 0

    def counts():
        nonlocal nr_calls
        nr_calls += 1
        return nr_calls % 17 == 0

    def build(world):
        x = world.cell("x", 0)

        async def writes():
            await x.read()
            await x.write(counts())

        world.actor("a", writes)
        world.actor("b", writes)

    with pytest.raises(Nondeterminism):
        search(build)
