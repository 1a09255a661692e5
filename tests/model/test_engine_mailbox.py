"""A mailbox against what it promises: nothing lost, in order per sender, never early."""

from engines import engine_of, run, spawn
from hypothesis import given, settings
from hypothesis import strategies as st

from mmactors.engine.mailbox import Mailbox

SENDERS = st.lists(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60)), max_size=6), min_size=1, max_size=4
)
"""By sender: what it spends before each message, and the latency of the message."""


@given(
    senders=SENDERS,
    busy_ns=st.lists(st.integers(0, 50), max_size=10),
    options=st.fixed_dictionaries(
        {
            "quantum_ns": st.sampled_from([0, 25, 10_000]),
            "policy": st.sampled_from(["fifo", "seeded"]),
            "seed": st.integers(0, 3),
            "driver": st.sampled_from(["inline", "trio"]),
        }
    ),
)
@settings(max_examples=100)
def test_messages_arrive_once_in_order_and_never_early(senders, busy_ns, options):
    """For any senders and any busy receiver, under every policy."""
    engine = engine_of(**options)
    mailbox = Mailbox(engine, "box")
    nr_messages = sum(map(len, senders))
    sent, taken = [], []

    async def sends(sender, plan):
        for number, (before_ns, latency_ns) in enumerate(plan):
            await engine.spend(before_ns)
            message = (sender, number, engine.now_ns + latency_ns)
            sent.append(message)
            mailbox.tell(message, latency_ns=latency_ns)

    async def receives():
        for number in range(nr_messages):
            taken.append((await mailbox.receive(), engine.now_ns))
            if number < len(busy_ns):
                await engine.spend(busy_ns[number])

    for sender, plan in enumerate(senders):
        spawn(engine, f"sender {sender}", sends(sender, plan))
    spawn(engine, "receiver", receives())
    run(engine)
    messages = [message for message, _ in taken]

    assert sorted(sent) == sorted(messages)
    assert all(now_ns >= earliest_ns for (_, _, earliest_ns), now_ns in taken)
    for sender in range(len(senders)):
        numbers = [number for who, number, _ in messages if who == sender]
        assert sorted(numbers) == numbers


@given(senders=SENDERS, seed=st.integers(0, 3))
@settings(max_examples=60)
def test_an_exact_idle_receiver_takes_each_message_when_it_arrives(senders, seed):
    """Without a queue the time of taking is the time of arrival."""
    engine = engine_of(policy="seeded", seed=seed)
    mailbox = Mailbox(engine, "box")
    arrivals, taken = [], []

    async def sends(plan):
        arrival_ns = 0
        for before_ns, latency_ns in plan:
            await engine.spend(before_ns)
            arrival_ns = max(arrival_ns, engine.now_ns + latency_ns)
            arrivals.append(arrival_ns)
            mailbox.tell(arrival_ns, latency_ns=latency_ns)

    async def receives():
        for _ in range(sum(map(len, senders))):
            assert await mailbox.receive() == engine.now_ns
            taken.append(engine.now_ns)

    for sender, plan in enumerate(senders):
        spawn(engine, f"sender {sender}", sends(plan))
    spawn(engine, "receiver", receives())
    run(engine)

    assert sorted(arrivals) == taken
