"""Mailboxes: order, time, bounds."""

import pytest
from engines import Log, engine_of, run, spawn

from mmactors.engine.mailbox import Mailbox, MailboxFull


def server(engine, mailbox, hold_ns):
    """Return the body of a server that takes `hold_ns` for each request."""

    async def serve():
        while True:
            request = await mailbox.receive()
            await engine.spend(hold_ns)
            request.reply.send(request.body)

    return serve()


def test_messages_of_one_sender_stay_in_order():
    """A later message never overtakes, even if it is faster."""
    engine = engine_of()
    mailbox = Mailbox(engine, "box")
    log = Log(engine)

    async def sends():
        mailbox.tell("slow", latency_ns=50)
        await engine.spend(1)
        mailbox.tell("fast")

    async def receives():
        log(await mailbox.receive())
        log(await mailbox.receive())

    spawn(engine, "sends", sends())
    spawn(engine, "receives", receives())
    run(engine)

    assert [(50, "receives", "slow"), (50, "receives", "fast")] == log.entries


def test_messages_of_several_senders_arrive_by_time():
    """The receiver takes what arrived first, whoever sent it."""
    engine = engine_of()
    mailbox = Mailbox(engine, "box")
    log = Log(engine)

    async def sends(at_ns, text):
        await engine.spend(at_ns)
        mailbox.tell(text)

    async def receives():
        for _ in range(3):
            log(await mailbox.receive())

    for at_ns, text in ((30, "c"), (10, "a"), (20, "b")):
        spawn(engine, text, sends(at_ns, text))
    spawn(engine, "receives", receives())
    run(engine)

    assert {"a": 10, "b": 20, "c": 30} == log.times()
    assert ["a", "b", "c"] == log.texts()


def test_a_busy_receiver_takes_messages_late_never_early():
    """A message is taken at the later of its arrival and the receiver's own time."""
    engine = engine_of()
    mailbox = Mailbox(engine, "box")
    log = Log(engine)

    async def sends():
        await engine.spend(10)
        mailbox.tell("early")
        await engine.spend(190)
        mailbox.tell("late")

    async def receives():
        await engine.spend(100)
        log(await mailbox.receive())
        log(await mailbox.receive())

    spawn(engine, "sends", sends())
    spawn(engine, "receives", receives())
    run(engine)

    assert {"early": 100, "late": 200} == log.times()


def test_asking_takes_both_ways_and_the_service():
    """The asker goes on after request latency, service time and reply latency."""
    engine = engine_of()
    mailbox = Mailbox(engine, "server")
    log = Log(engine)

    async def serve():
        request = await mailbox.receive()
        await engine.spend(100)
        request.reply.send(request.body + 1, latency_ns=7)

    async def asks():
        log(str(await mailbox.ask(41, latency_ns=5)))

    engine.spawn("server", serve())
    spawn(engine, "asks", asks())
    run(engine)

    assert [(112, "asks", "42")] == log.entries


@pytest.mark.parametrize("quantum_ns", [0, 50, 10_000])
@pytest.mark.parametrize("policy", ["fifo", "seeded"])
@pytest.mark.parametrize("driver", ["inline", "trio"])
def test_contention_is_queueing(driver, policy, quantum_ns):
    """N clients that only ask keep a server busy without a gap: an equality, not an estimate."""
    engine = engine_of(driver=driver, policy=policy, quantum_ns=quantum_ns, seed=3)
    mailbox = Mailbox(engine, "server")

    async def asks():
        for number in range(50):
            assert number == await mailbox.ask(number)

    engine.spawn("server", server(engine, mailbox, 120))
    for client in range(4):
        spawn(engine, f"client {client}", asks())
    run(engine)

    assert 4 * 50 * 120 == engine.now_ns
    assert {"int": 200} == engine.statistics().messages


def test_each_client_of_a_fair_server_waits_for_all_others_once():
    """With N clients and service time s, every answer but the first few takes N times s."""
    engine = engine_of()
    mailbox = Mailbox(engine, "server")
    waits = []

    async def asks():
        for number in range(20):
            began_ns = engine.now_ns
            await mailbox.ask(number)
            waits.append(engine.now_ns - began_ns)

    engine.spawn("server", server(engine, mailbox, 10))
    for client in range(5):
        spawn(engine, f"client {client}", asks())
    run(engine)

    assert [10, 20, 30, 40, 50] == waits[:5]
    assert {50} == set(waits[5:])


def test_a_full_mailbox_is_an_error_that_names_the_sender():
    """Nobody sends without end unnoticed."""
    engine = engine_of()
    mailbox = Mailbox(engine, "box", capacity=3)

    async def floods():
        while True:
            mailbox.tell("more")

    spawn(engine, "flood", floods())

    with pytest.raises(MailboxFull, match="box holds 3 messages; flood sent another"):
        run(engine)


def test_two_receivers_of_one_mailbox_are_refused():
    """A mailbox has one receiver."""
    engine = engine_of()
    mailbox = Mailbox(engine, "box")

    async def receives():
        await mailbox.receive()

    spawn(engine, "a", receives())
    spawn(engine, "b", receives())

    with pytest.raises(Exception, match="b and a read box"):
        run(engine)
