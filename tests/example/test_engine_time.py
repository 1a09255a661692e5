"""Virtual time: what passes, in which order, and how far anybody runs ahead."""

from engines import Log, engine_of, run, spawn

from mmactors.engine.actor import Clock
from mmactors.label import Label, Mode

STEP = Label("step", (("thing", Mode.WRITE),))


def test_spending_moves_only_the_spender():
    """Each actor has its own time."""
    engine = engine_of()

    async def spends(ns):
        await engine.spend(ns)

    a = spawn(engine, "a", spends(10))
    b = spawn(engine, "b", spends(25))
    run(engine)

    assert (10, 25) == (a.clock.now, b.clock.now)


def test_steps_happen_in_the_order_of_time_with_quantum_0():
    """An exact machine sorts all steps of all actors by their time."""
    engine = engine_of()
    log = Log(engine)

    async def steps(costs):
        for ns in costs:
            await engine.spend(ns)
            await engine.step(STEP)
            log(engine.current.name)

    spawn(engine, "a", steps([5, 5, 50, 1]))
    spawn(engine, "b", steps([7, 20, 8]))
    run(engine)

    assert [5, 7, 10, 27, 35, 60, 61] == [now for now, _, _ in log.entries]


def test_an_actor_runs_ahead_by_the_quantum_and_no_further():
    """No step is taken more than the quantum ahead of the earliest other actor."""
    engine = engine_of(quantum_ns=100)
    ahead_ns = []

    async def steps(other_clock):
        for _ in range(200):
            await engine.spend(9)
            await engine.step(STEP)
            ahead_ns.append(engine.current.clock.now - other_clock.now)

    clocks = [Clock(), Clock()]
    engine.spawn("a", steps(clocks[1]), clock=clocks[0], daemon=False)
    engine.spawn("b", steps(clocks[0]), clock=clocks[1], daemon=False)
    run(engine)

    # The other's clock shows where it parked; it is due one spend later.
    assert 100 < max(ahead_ns[:300]) <= 100 + 9


def test_running_ahead_costs_no_switch():
    """What ends before anybody else could run only moves the clock."""
    engine = engine_of(quantum_ns=10_000)

    async def spends():
        for _ in range(1000):
            await engine.spend(1)

    spawn(engine, "a", spends())
    spawn(engine, "b", spends())
    run(engine)

    assert 2 == engine.statistics().switches


def test_spend_nowait_refuses_what_needs_a_switch():
    """The short way never passes the time of another actor."""
    engine = engine_of()
    answers = []

    async def other():
        await engine.spend(50)

    async def spends():
        await engine.spend(1)
        answers.extend(engine.spend_nowait(ns) for ns in (40, 40, 5))
        await engine.spend(0)

    spawn(engine, "a", other())
    a = spawn(engine, "b", spends())
    run(engine)

    assert [True, False, True] == answers
    assert 46 == a.clock.now


def test_a_late_born_actor_starts_at_its_makers_time():
    """An actor never acts before it was made."""
    engine = engine_of()
    log = Log(engine)

    async def child():
        log("born")

    async def parent():
        await engine.spend(70)
        spawn(engine, "child", child())

    spawn(engine, "parent", parent())
    run(engine)

    assert [(70, "child", "born")] == log.entries


def test_daemons_do_not_keep_a_run_alive():
    """The run is over when all actors that are no daemons have ended."""
    engine = engine_of()

    async def for_ever():
        while True:
            await engine.spend(10)

    async def some():
        await engine.spend(35)

    engine.spawn("daemon", for_ever())
    spawn(engine, "worker", some())
    run(engine)

    assert engine.is_complete
    assert 35 <= engine.now_ns <= 40


def test_nobody_gets_the_baton_after_the_time_to_stop_at():
    """`until_ns` leaves the rest undone."""
    engine = engine_of()
    log = Log(engine)

    async def steps():
        for _ in range(10):
            await engine.spend(10)
            await engine.step(STEP)
            log("step")

    spawn(engine, "a", steps())
    spawn(engine, "b", steps())
    run(engine, until_ns=45)

    assert [10, 10, 20, 20, 30, 30, 40, 40] == [now for now, _, _ in log.entries]
    assert not engine.is_complete


def test_waiting_for_a_time_that_is_known_is_exact():
    """`wait_for` goes on when the awaited time has come, not before."""
    engine = engine_of()
    log = Log(engine)

    class Bell:
        at_ns = 1 << 62

        def describe(self):
            return "the bell"

    bell = Bell()

    async def waits():
        await engine.wait_for(bell, "wait")
        log("rung")

    async def rings(waiter):
        await engine.spend(30)
        bell.at_ns = 90
        engine.make_ready(waiter, 90)

    waiter = spawn(engine, "waits", waits())
    spawn(engine, "rings", rings(waiter))
    run(engine)

    assert [(90, "waits", "rung")] == log.entries
