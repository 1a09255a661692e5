"""Who leaves a context by an exception gives back what it holds, as in any program.

But an assertion is a law that is broken there and then: nothing comes after it.
"""

from functools import partial

import pytest

from mmactors.engine.chance import STORE_IS_LATE
from mmactors.explore import Outcome, search

KINDS = {
    "lock": lambda world: world.lock("it"),
    "semaphore": lambda world: world.semaphore("it"),
    "condition": lambda world: world.condition("it", world.lock("lock")),
    "reader": lambda world: world.rwlock("it").read(),
    "writer": lambda world: world.rwlock("it").write(),
    "irqs_off": lambda world: world.irqs_off(),
}


def given_up(world, *, kind, error=KeyError, is_late=False):
    """Two actors count inside of a context, and leave it by an exception."""
    if is_late:
        world.allow(STORE_IS_LATE)
    it = KINDS[kind](world)
    count, nr_ticks = world.cell("count", 0), world.cell("ticks", 0)

    async def counts():
        try:
            async with it:
                await count.write(await count.read() + 1)
                raise error("inside")
        except KeyError:
            await world.step("caught")

    async def tick():
        await count.add(1)
        await nr_ticks.add(1)

    task = world.actor("a", counts)
    if kind == "irqs_off":
        world.interrupt("tick", tick, on=task)
    elif kind != "reader":
        world.actor("b", counts)
    world.sometimes("all have counted", lambda: count.value == 2)

    @world.at_end
    def none_is_lost():
        assert count.value == (1 + nr_ticks.value if kind in ("reader", "irqs_off") else 2)


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"reader"}))
def test_what_was_held_is_free_again(kind, is_late):
    """No update is lost inside, and nobody waits for ever."""
    verdict = search(partial(given_up, kind=kind, is_late=is_late))

    assert verdict.outcome is Outcome.EXHAUSTED, str(verdict)
    assert not verdict.missed


def test_to_give_back_is_a_step_between_the_exception_and_who_catches_it():
    """Somebody may find it taken meanwhile; and a writer gets in when the reader has raised."""

    def build(world):
        lock, is_raising = world.rwlock("it"), world.cell("is raising", False)

        async def raises():
            try:
                async with lock.read():
                    await is_raising.write(True)
                    {}["nobody"]
            except KeyError:
                await lock.acquire_write()

        async def tries():
            await is_raising.until(bool)
            assert await lock.trylock_write(), "it is taken"

        world.actor("a", raises)
        world.actor("b", tries)

    verdict = search(build)

    assert verdict.failure.broken.text.startswith("it is taken")
    assert [label for _, label in verdict.failure.script][-1] == "write_trylock it"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_assertion_breaks_where_it_stands(kind):
    """The last step is the one before it."""
    verdict = search(partial(given_up, kind=kind, error=AssertionError))

    assert verdict.failure.broken.law == "a: AssertionError"
    assert verdict.failure.script[-1] == ("a", "write count")


def test_what_nobody_catches_is_reported_when_it_has_left():
    """With the exception as it was raised."""
    verdict = search(partial(given_up, kind="lock", error=OSError))

    assert verdict.failure.broken.law == "a: OSError"
    assert verdict.failure.script[-1] == ("a", "unlock it")
