"""Worlds that name things wrongly: they would be explored, and be other worlds than they seem."""

import pytest

from mmactors.errors import UserError
from mmactors.explore import search


def world_of(actor):
    """Return a world of one actor, which gets the world and a cell."""

    def build(world):
        world.actor("a", actor, world, world.cell("tlb", 0))

    return build


async def one_object(world, tlb):
    """No tuple."""
    await world.step("look", reads=tlb)


async def one_name(world, _tlb):
    """A tuple of letters, to Python."""
    await world.step("look", writes="memory")


async def one_name_in_a_queue(world, _tlb):
    """The same for who sleeps."""
    await world.wait_queue("queue").sleep(unless=lambda: True, reads="tlb")


async def one_name_of_a_condition(world, _tlb):
    """The same for who waits for a predicate."""
    async with (condition := world.condition("condition", world.lock("lock"))):
        await condition.wait_for(lambda: True, reads="tlb")


@pytest.mark.parametrize(
    "actor", [one_object, one_name, one_name_in_a_queue, one_name_of_a_condition]
)
def test_what_a_step_touches_is_a_tuple(actor):
    """A text would be taken for the names of its letters, none of which is the object's."""
    with pytest.raises(TypeError, match=r"expected a tuple of objects and names.*write \(it,\)"):
        search(world_of(actor))


@pytest.mark.parametrize("kind", ["cell", "lock", "mailbox", "event", "semaphore"])
def test_two_objects_of_one_name_are_refused_whatever_they_are(kind):
    """Two locks would be one, and keep out whom they should let in."""

    def build(world):
        getattr(world, kind)("it")
        world.lock("it")

    with pytest.raises(AssertionError, match="two objects are named it"):
        search(build)


def test_to_choose_from_nothing_is_a_mistake_and_no_race():
    """It is raised as it is."""

    async def chooses(world, _tlb):
        await world.choose("size")

    with pytest.raises(TypeError, match=r"'size'.* has nothing to choose from"):
        search(world_of(chooses))


@pytest.mark.parametrize("declare", ["always", "at_end", "monitor", "sometimes"])
def test_a_law_that_wants_an_argument_is_refused_where_it_is_declared(declare):
    """With its line, and without a step of the search."""

    def holds(_world, *, _key=None):
        return True

    def build(world):
        made = getattr(world, declare)
        made(holds) if declare in ("always", "at_end") else made("name", holds)

    line = holds.__code__.co_firstlineno
    with pytest.raises(UserError, match=rf"misuse.py:{line}: .*'holds' cannot be called: missing"):
        search(build)


def test_a_law_may_have_arguments_that_have_defaults():
    """As those in a loop have."""

    def build(world):
        cells = [world.cell(name, 0) for name in ("left", "right")]
        world.actor("a", cells[1].write, 5)
        for cell in cells:

            @world.at_end
            def is_small(cell=cell):
                assert cell.value < 5

    assert search(build).failure.broken.law == "is_small"
