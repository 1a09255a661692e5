"""Policies alone: what they order, what they leave to the seed."""

import pytest
from engines import engine_of, run, spawn

from mmactors.engine.actor import NEVER
from mmactors.engine.policy import mix

POLICIES = pytest.mark.parametrize("policy", ["fifo", "seeded"])


async def nothing():
    """Do nothing."""


def actors_of(engine, names):
    """Return actors that are not ready."""
    return [engine.spawn(name, nothing(), is_ready=False, daemon=False) for name in names]


def order_of(engine, times):
    """Push an actor for each time; return the names in the order in which they are popped."""
    policy = engine.policy
    for actor, time_ns in zip(actors_of(engine, "abcdefgh"), times, strict=False):
        policy.push(actor, time_ns)
    popped = []
    while (actor := policy.pop(NEVER)) is not None:
        popped.append(actor.name)
    for actor in engine.actors:
        actor.coro.close()
    return "".join(popped)


@POLICIES
def test_the_earliest_goes_first(policy):
    """Time is not a matter of policy."""
    assert "cadb" == order_of(engine_of(policy=policy), [20, 40, 10, 30])


def test_fifo_keeps_the_order_of_arrival_among_equals():
    """Ties are served first come, first served."""
    assert "abcdefgh" == order_of(engine_of(), [5] * 8)


def test_the_seed_permutes_equals():
    """Another seed, another order; the same seed, the same order."""
    orders = [order_of(engine_of(policy="seeded", seed=seed), [5] * 8) for seed in range(10)]
    again = [order_of(engine_of(policy="seeded", seed=seed), [5] * 8) for seed in range(10)]

    assert 10 == len(set(orders))
    assert orders == again


@POLICIES
def test_an_entry_that_was_moved_counts_once(policy):
    """Pushing again moves an actor; withdrawing takes it out."""
    engine = engine_of(policy=policy)
    ready = engine.policy
    a, b, c = actors_of(engine, "abc")
    ready.push(a, 50)
    ready.push(b, 30)
    ready.push(c, 20)
    ready.push(a, 10)
    c.withdraw()

    assert [a, b, None] == [ready.pop(NEVER) for _ in range(3)]
    assert NEVER == ready.next_ns
    for actor in engine.actors:
        actor.coro.close()


@POLICIES
def test_nobody_is_taken_after_the_limit(policy):
    """What is later stays in the ready set."""
    engine = engine_of(policy=policy)
    ready = engine.policy
    (a,) = actors_of(engine, "a")
    ready.push(a, 50)

    assert ready.pop(49) is None
    assert 50 == ready.next_ns
    assert ready.pop(50) is a
    a.coro.close()


def test_jitter_stays_within_its_percentage_and_hits_all_of_it():
    """Costs vary around what they are."""
    policy = engine_of(policy="seeded", jitter_percent=10).policy
    costs = {policy.cost_ns(100) for _ in range(2000)}

    assert set(range(90, 111)) == costs


def test_jittered_machines_differ_by_seed():
    """With jitter even the end of a lone actor depends on the seed."""
    ends = set()
    for seed in range(5):
        engine = engine_of(policy="seeded", seed=seed, jitter_percent=20)

        async def spends(engine=engine):
            for _ in range(20):
                await engine.spend(100)

        spawn(engine, "a", spends())
        run(engine)
        ends.add(engine.now_ns)

    assert 5 == len(ends)
    assert all(1600 <= end <= 2400 for end in ends)


def test_mix_is_one_to_one_on_small_numbers():
    """Ranks that come from different numbers differ."""
    assert 10_000 == len({mix(number) for number in range(10_000)})
