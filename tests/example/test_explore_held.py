"""What an object of the world holds, and somebody changes in place: nothing is proven then."""

from functools import partial

import pytest

from mmactors.engine.chance import STORE_IS_LATE
from mmactors.explore import Outcome, search

DONE = "abababab"
"""What two actors have written who took turns: a bug that needs more preemptions than two."""


def written_down(world, *, how, nr_times=4):
    """Two actors add their names to what one object holds."""
    if how == "late":
        world.allow(STORE_IS_LATE)
    names = world.atomic("names", []) if how == "atomic" else world.cell("names", [])

    async def reads():
        if how == "atomic":
            return await names.load()
        if how == "step":
            await world.step("look", reads=(names,))
            return names.value
        if how == "until":
            return await names.until(lambda value: True)
        return await names.read()

    async def writes(name):
        for _ in range(nr_times):
            if how == "write":
                await names.write([*(await names.read()), name])
            elif how == "exchange":
                mine = await names.xchg([])
                mine.append(name)
                await names.write(mine)
            elif how == "declared":
                await world.step("add", reads=(names,), writes=(names,))
                names.value.append(name)
            else:
                (await reads()).append(name)

    world.actor("a", writes, "a")
    world.actor("b", writes, "b")

    @world.at_end
    def nobody_took_turns():
        assert "".join(names.value) != DONE


@pytest.mark.parametrize("how", ["read", "step", "until", "atomic", "late"])
def test_who_changes_in_place_what_was_only_read_leaves_nothing_proven(how):
    """Every order would have to be tried, and the search takes reads for equal."""
    verdict = search(partial(written_down, how=how))

    assert verdict.outcome in (Outcome.SAMPLED, Outcome.FAILED)
    if verdict.failure is None:
        assert "not proven: a changes in place what names holds; b changes" in str(verdict)


@pytest.mark.parametrize("how", ["write", "exchange", "declared"])
def test_to_write_another_to_take_it_out_or_to_declare_it_is_seen(how):
    """The search finds the order that breaks, or has tried all where none can."""
    assert search(partial(written_down, how=how)).outcome is Outcome.FAILED or how == "exchange"
    verdict = search(partial(written_down, how=how, nr_times=1))

    assert verdict.outcome is Outcome.EXHAUSTED
    assert not verdict.shared


def messages(world, *, who):
    """Somebody sends a list, and one of the two goes on to change it."""
    box, ticks = world.mailbox("box"), world.cell("ticks", 0)

    async def sends():
        message = ["sent"]
        await ticks.add(1)
        box.tell(message)
        await ticks.add(1)
        if who == "sender":
            message.append("too late")
        await ticks.add(1)

    async def receives():
        message = await box.receive()
        if who == "receiver":
            message.append("mine")
        await ticks.add(1)

    world.actor("sender", sends)
    world.actor("receiver", receives)


def test_a_message_that_was_sent_is_the_receivers():
    """Who sent it must not change it; who received it may."""
    assert search(partial(messages, who="receiver")).outcome is Outcome.EXHAUSTED
    assert "not proven: sender changes in place what box holds" in str(
        search(partial(messages, who="sender"))
    )


def test_a_list_that_comes_into_a_cell_late_is_looked_at_too():
    """It was a number when the world was built."""

    def build(world):
        cell = world.cell("cell", 0)

        async def writes():
            await cell.write([])
            (await cell.read()).append(1)

        world.actor("a", writes)
        world.actor("b", cell.read)

    assert "a changes in place what cell holds" in str(search(build))
