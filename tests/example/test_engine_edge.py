"""Tasks outside the machine: they send, ask and receive through trio channels."""

import pytest
import trio
import trio.abc
from attrs import frozen
from engines import engine_of, spawn

from mmactors.engine.edge import Edge, SecondOutsideTask
from mmactors.engine.mailbox import Mailbox
from mmactors.engine.report import Deadlock
from mmactors.engine.scope import DriverScope

DRIVERS = pytest.mark.parametrize("driver", ["inline", "trio"])


@frozen
class Double:
    """Asks for twice a number."""

    number: int


def machine(**options):
    """Return an engine with a daemon that doubles numbers, and its mailbox."""
    engine = engine_of(**options)
    mailbox = Mailbox(engine, "doubler")

    async def serve():
        while True:
            request = await mailbox.receive()
            await engine.spend(100)
            if request.body.number >= 0:
                request.reply.send(2 * request.body.number)

    engine.spawn("doubler", serve())
    return engine, mailbox


@DRIVERS
async def test_an_outside_task_asks_an_actor(driver):
    """The machine moves until the reply is there, and stands still then."""
    engine, mailbox = machine(driver=driver)
    async with DriverScope(engine) as mover:
        sender = Edge(engine, mover).sender(mailbox)
        answers = [await sender.ask(Double(number)) for number in (3, 4)]

        assert [6, 8] == answers
        assert 200 == engine.now_ns
        assert {"Double": 2} == engine.statistics().messages


@DRIVERS
async def test_channels_are_trios(driver):
    """Both ends are what trio's own code expects; sending moves nothing."""
    engine = engine_of(driver=driver)
    mailbox = Mailbox(engine, "in")
    async with DriverScope(engine) as mover:
        edge = Edge(engine, mover)
        sender, receiver = edge.sender(mailbox), edge.receiver("out")

        async def relays():
            while True:
                message = await mailbox.receive()
                await engine.spend(50)
                receiver.tell(f"{message} at {engine.now_ns}")

        engine.spawn("relay", relays())

        assert isinstance(sender, trio.abc.SendChannel)
        assert isinstance(receiver, trio.abc.ReceiveChannel)
        async with sender, receiver:
            await sender.send("first")
            await sender.send("second")
            assert 0 == engine.now_ns
            assert "first at 50" == await receiver.receive()
            await sender.send("third")
            assert "second at 100" == await receiver.receive()
            assert "third at 150" == await receiver.receive()
        with pytest.raises(trio.ClosedResourceError):
            await sender.send("late")
        with pytest.raises(trio.ClosedResourceError):
            await receiver.receive()


@DRIVERS
async def test_an_outside_waiter_is_named_when_nobody_can_answer(driver):
    """The deadlock report says what the task outside waits for."""
    engine, mailbox = machine(driver=driver)
    with pytest.raises(Deadlock) as caught:
        async with DriverScope(engine) as mover:
            await Edge(engine, mover).sender(mailbox).ask(Double(-1))

    assert (
        "a task outside: waits for the reply to Double from doubler\n"
        "  doubler at t=100ns: waits for a message to doubler"
    ) in str(caught.value)


@DRIVERS
async def test_several_tasks_may_wait_at_once(driver):
    """One moves the machine for all; the run is no longer repeatable."""
    engine, mailbox = machine(driver=driver)
    answers = {}
    async with DriverScope(engine) as mover:
        edge = Edge(engine, mover)

        async def asks(number):
            answers[number] = await edge.sender(mailbox).ask(Double(number))

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(asks, number)

        assert {number: 2 * number for number in range(5)} == answers
        assert not edge.is_repeatable


@DRIVERS
async def test_a_task_that_gives_up_does_not_stop_the_machine_later(driver):
    """A reply for nobody is thrown away."""
    engine, mailbox = machine(driver=driver)

    async def works():
        for _ in range(1000):
            await engine.spend(10)

    spawn(engine, "works", works())
    async with DriverScope(engine) as mover:
        edge = Edge(engine, mover)
        with trio.CancelScope() as scope:
            scope.cancel()
            await edge.sender(mailbox).ask(Double(1))
        await mover.run()

        assert engine.is_complete
        assert 10_000 == engine.now_ns


@DRIVERS
async def test_one_outside_task_is_repeatable_under_replay_and_two_are_refused(driver):
    """The schedule holds the actors' order; an outside task's own program must repeat."""
    recorded, mailbox = machine(driver=driver)
    async with DriverScope(recorded) as mover:
        sender = Edge(recorded, mover).sender(mailbox)
        assert [2, 4] == [await sender.ask(Double(number)) for number in (1, 2)]
    schedule = recorded.recorder.schedule("f")

    engine, mailbox = machine(driver=driver, schedule=schedule)
    async with DriverScope(engine) as mover:
        edge = Edge(engine, mover)
        sender = edge.sender(mailbox)
        assert [2, 4] == [await sender.ask(Double(number)) for number in (1, 2)]
        refused = []

        async def asks():
            try:
                await sender.ask(Double(3))
            except SecondOutsideTask as error:
                refused.append(str(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(asks)

        assert "their order is not in it; let one task talk for both" in refused[0]


@DRIVERS
async def test_a_machine_told_to_stop_says_who_still_waits(driver):
    """A machine that may not move answers nobody."""
    engine, mailbox = machine(driver=driver)
    engine.until_ns = -1
    async with DriverScope(engine) as mover:
        sender = Edge(engine, mover).sender(mailbox)
        with pytest.raises(Deadlock, match="stands still, and a task outside waits for the reply"):
            await sender.ask(Double(1))
        await sender.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await sender.ask(Double(2))
