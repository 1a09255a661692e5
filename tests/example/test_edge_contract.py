"""Outside channels keep trio's contract: waiting, closing, ending, breaking, being cancelled."""

import gc

import pytest
import trio
import trio.testing
from engines import engine_of, spawn
from machines import scenario_of

from mmactors.engine.edge import Edge
from mmactors.engine.mailbox import Mailbox
from mmactors.engine.report import ActorCrashed, Deadlock
from mmactors.engine.scope import DriverScope
from mmactors.scenario.machine import Machine

DRIVERS = pytest.mark.parametrize("driver", ["inline", "trio"])


class Relay:
    """A machine whose only actor sends on what it gets; used as an async context manager."""

    def __init__(self, driver, *, daemon=True, nr_messages=None):
        self.engine = engine_of(driver=driver)
        self.mailbox = Mailbox(self.engine, "in")
        self.nr_messages = nr_messages
        self.scope = DriverScope(self.engine)
        self.engine.spawn("relay", self.relays(), daemon=daemon)

    async def relays(self):
        nr_left = self.nr_messages
        while nr_left != 0:
            message = await self.mailbox.receive()
            await self.engine.spend(50)
            if self.receiver is not None:
                self.receiver.tell(message)
            if nr_left is not None:
                nr_left -= 1

    async def __aenter__(self):
        self.mover = await self.scope.__aenter__()
        self.edge = Edge(self.engine, self.mover)
        self.receiver = self.edge.receiver("out")
        return self

    async def __aexit__(self, *error):
        await self.scope.__aexit__(*error)

    def sender(self):
        return self.edge.sender(self.mailbox)


@DRIVERS
@pytest.mark.parametrize("daemon", [True, False])
async def test_a_receiver_waits_for_a_later_send_of_another_task(driver, daemon):
    """A machine that stands still is no deadlock while somebody may send into it."""
    async with Relay(driver, daemon=daemon) as relay, trio.open_nursery() as nursery:
        sender = relay.sender()
        got = []

        async def receives():
            got.extend([await relay.receiver.receive() for _ in range(2)])

        nursery.start_soon(receives)
        for message in ("first", "second"):
            await trio.testing.wait_all_tasks_blocked()
            await sender.send(message)
        await trio.testing.wait_all_tasks_blocked()

        assert ["first", "second"] == got
        assert relay.engine.failure is None


@DRIVERS
async def test_closing_a_receiver_wakes_all_who_wait_in_it(driver):
    """Whether a task moves the machine, waits for who moves it, or waits for news."""
    async with Relay(driver) as relay:
        sender = relay.sender()
        moved = relay.edge.receiver("moved")

        async def works():
            while True:
                await relay.engine.spend(10)

        async def is_woken(receiver):
            with pytest.raises(trio.ClosedResourceError):
                await receiver.receive()

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(is_woken, relay.receiver)
            await trio.testing.wait_all_tasks_blocked()
            await relay.receiver.aclose()
        spawn(relay.engine, "works", works())
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(is_woken, moved)
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            await moved.aclose()
        await sender.aclose()

        assert [] == relay.engine.outside_waits


@DRIVERS
@pytest.mark.parametrize("daemon", [True, False])
async def test_a_channel_ends_after_the_last_sender_was_closed(driver, daemon):
    """What was sent before comes first; `async for` just ends."""
    async with Relay(driver, daemon=daemon) as relay:
        first, second = relay.sender(), relay.sender()
        got = []

        async def receives():
            async for message in relay.receiver:
                got.append(message)  # noqa: PERF401 - looked at meanwhile
            with pytest.raises(trio.EndOfChannel):
                await relay.receiver.receive()
            got.append("the end")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receives)
            async with first:
                await first.send(1)
            await trio.testing.wait_all_tasks_blocked()
            assert [1] == got
            await second.send(2)
            await second.send(3)
            await second.aclose()

        assert [1, 2, 3, "the end"] == got


@DRIVERS
async def test_a_sender_that_was_lost_without_being_closed_can_send_no_more(driver):
    """Nobody waits for it."""
    async with Relay(driver) as relay:
        relay.sender().send_nowait("last")
        gc.collect()

        assert ["last"] == [message async for message in relay.receiver]


@DRIVERS
async def test_nobody_waits_where_nothing_ever_could_be_sent(driver):
    """Without any sender it is a deadlock, which the report explains; the machine is not broken."""
    async with Relay(driver) as relay:
        with pytest.raises(Deadlock, match="a task outside: waits for a message from out"):
            await relay.receiver.receive()

        await relay.sender().send("now")
        assert "now" == await relay.receiver.receive()


@DRIVERS
async def test_actors_that_wait_for_each_other_are_no_end_of_a_channel(driver):
    """A deadlock inside is told, though all senders are closed."""
    async with Relay(driver) as relay:
        other = Mailbox(relay.engine, "other")

        async def waits():
            await other.receive()

        spawn(relay.engine, "waits", waits())
        await relay.sender().aclose()
        with pytest.raises(Deadlock, match="waits at t=0ns: waits for a message to other"):
            await relay.receiver.receive()


@DRIVERS
async def test_sending_to_nobody_is_broken(driver):
    """Once who read the mailbox has ended; before anybody reads, what is sent is kept."""
    async with Relay(driver, daemon=False, nr_messages=2) as relay:
        sender = relay.sender()
        await sender.send(1)
        await sender.send(2)
        assert [1, 2] == [await relay.receiver.receive() for _ in range(2)]
        await relay.edge.run()

        assert relay.engine.is_complete
        for send in (sender.send, sender.ask):
            with pytest.raises(trio.BrokenResourceError):
                await send(3)
        assert 0 == len(relay.mailbox)


@DRIVERS
async def test_an_actor_that_tells_a_closed_receiver_gets_it_as_an_error(driver):
    """It may catch that; else the run ends with it."""
    async with Relay(driver) as relay:
        await relay.receiver.aclose()
        relay.sender().send_nowait("unheard")
        other = relay.edge.receiver("other")
        with pytest.raises(ActorCrashed, match="relay raised BrokenResourceError"):
            await other.receive()


@DRIVERS
async def test_ends_outlive_the_machine(driver):
    """What was told is still received, then the channel has ended; sending is broken."""
    async with Relay(driver) as relay:
        sender = relay.sender()
        sender.send_nowait("one")
        sender.send_nowait("two")
        assert "one" == await relay.receiver.receive()
        spawn(relay.engine, "works", relay.engine.spend(1000))
        await relay.edge.run()

    assert "two" == await relay.receiver.receive()
    with pytest.raises(trio.EndOfChannel):
        await relay.receiver.receive()
    with pytest.raises(trio.BrokenResourceError):
        await sender.send("three")


@DRIVERS
async def test_who_waits_when_the_machine_is_left_is_told(driver):
    """A waiting receiver comes to the end of its channel."""
    async with trio.open_nursery() as nursery, Relay(driver) as relay:
        sender = relay.sender()

        async def ends():
            with pytest.raises(trio.EndOfChannel):
                await relay.receiver.receive()

        nursery.start_soon(ends)
        await trio.testing.wait_all_tasks_blocked()
    await sender.aclose()


@DRIVERS
async def test_closing_a_sender_wakes_who_asks_through_it(driver):
    """The request stays sent, its reply is for nobody."""
    async with Relay(driver) as relay, trio.open_nursery() as nursery:
        sender, other = relay.sender(), relay.sender()

        async def asks():
            with pytest.raises(trio.ClosedResourceError):
                await sender.ask("no answer")

        other.send_nowait("somebody else is here")
        nursery.start_soon(asks)
        await trio.testing.wait_all_tasks_blocked()
        await sender.aclose()


@DRIVERS
async def test_who_is_cancelled_has_taken_nothing_and_sent_nothing(driver):
    """A message that arrives for a cancelled receiver is there for the next one."""
    async with Relay(driver) as relay:
        sender = relay.sender()
        with trio.CancelScope() as scope:
            scope.cancel()
            await sender.send("never")
        assert 0 == len(relay.mailbox)

        for nr_rounds in range(12):
            await sender.send(nr_rounds)
            got = []
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after, scope, nr_rounds)
                    got.append(await relay.receiver.receive())
            if not got:
                got.append(await relay.receiver.receive())
            assert [nr_rounds] == got
            assert [] == relay.engine.outside_waits


async def cancel_after(scope, nr_rounds):
    """Cancel after some rounds of the event loop."""
    for _ in range(nr_rounds):
        await trio.lowlevel.checkpoint()
    scope.cancel()


@DRIVERS
async def test_each_message_is_received_once_and_in_order(driver):
    """Several tasks send, several receive, some are cancelled while they wait."""
    got = []
    async with Relay(driver) as relay, trio.open_nursery() as nursery:

        async def sends(number):
            async with relay.sender() as sender:
                for message in range(20):
                    if message % 7 == number:
                        await trio.testing.wait_all_tasks_blocked()
                    await sender.send((number, message))

        async def receives():
            while True:
                with trio.move_on_after(0.001 * (1 + len(got) % 3)):
                    try:
                        got.append(await relay.receiver.receive())
                    except trio.EndOfChannel:
                        return

        keep = relay.sender()
        for number in range(3):
            nursery.start_soon(sends, number)
            nursery.start_soon(receives)
        await trio.testing.wait_all_tasks_blocked()
        await keep.aclose()

    assert {(number, message) for number in range(3) for message in range(20)} == set(got)
    assert 60 == len(got)
    for number in range(3):
        assert list(range(20)) == [message for sender, message in got if sender == number]


@DRIVERS
async def test_every_operation_is_a_checkpoint(driver):
    """Also those that need not wait, as trio's own."""
    async with Relay(driver) as relay:
        sender = relay.sender()
        with trio.testing.assert_checkpoints():
            await sender.send("one")
        await sender.send("two")
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                await relay.receiver.receive()
        for end in (sender, relay.receiver):
            with trio.testing.assert_checkpoints():
                await end.aclose()
        for operation in (relay.receiver.receive, lambda: sender.send("three")):
            with trio.testing.assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
                await operation()


@DRIVERS
async def test_a_machine_is_run_beside_tasks_that_receive(driver):
    """`run` moves it for them; it ends with the programs, though a task still waits."""
    scenario = scenario_of(["mmap A 1M", "touch A write"], driver=driver)
    async with Machine(scenario) as machine:
        sender = machine.edge.sender(machine.mailboxes["memory"])
        receiver = machine.edge.receiver("out")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiver.receive)
            await machine.run()

            assert machine.is_complete
            nursery.cancel_scope.cancel()
        await sender.aclose()


@DRIVERS
async def test_a_machine_is_moved_step_by_step_beside_a_task_that_receives(driver):
    """A machine that was told when to stop is no deadlock: who moved it may do so again."""
    async with Relay(driver) as relay:
        engine, receiver = relay.engine, relay.receiver
        got = []

        async def tells():
            for number in range(5):
                await engine.spend(20_000)
                receiver.tell(number)

        async def receives():
            for _ in range(5):
                got.append((await receiver.receive(), engine.now_ns))  # noqa: PERF401 - looked at

        spawn(engine, "tells", tells())
        async with trio.open_nursery() as nursery:
            engine.until_ns = 0
            await relay.edge.run()
            nursery.start_soon(receives)
            for step in range(6):
                engine.until_ns = step * 20_000
                await relay.edge.run()
                await trio.testing.wait_all_tasks_blocked()
                assert step == len(got)

        assert [(number, 20_000 * (number + 1)) for number in range(5)] == got
