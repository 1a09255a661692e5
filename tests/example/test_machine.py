"""The machine in anyone's trio program: it moves while it is awaited, and leaves nothing behind."""

import gc

import pytest
import trio
from attrs import evolve
from machines import Lines, run, scenario_of

from mmactors.actors.program import thread
from mmactors.actors.program.memory import TransferLines
from mmactors.engine.report import ActorCrashed, Deadlock, StepBudgetExceeded
from mmactors.engine.turn import Turn
from mmactors.observe.log import EventLog
from mmactors.scenario.counter_names import counter_names
from mmactors.scenario.machine import Machine
from mmactors.scenario.schema import Expectation
from mmactors.units import MIB, PAGE_SIZE

PROGRAM = ["mmap A 1M", "touch A write", "munmap A"]
ENDLESS = ["mmap A 64K", "touch A write passes=1000000000"]
both_drivers = pytest.mark.parametrize("driver", ["trio", "inline"])


def nr_tasks():
    return trio.lowlevel.current_statistics().tasks_living


def assert_nothing_runs(machine, tasks_before):
    """No task is left, every coroutine is closed, none is collected unawaited."""
    assert tasks_before == nr_tasks()
    assert all(actor.is_closed for actor in machine.inspect().actors)
    gc.collect()


@both_drivers
async def test_a_machine_runs_in_a_trio_program(driver):
    """Enter it, run it, ask it."""
    tasks = nr_tasks()
    async with Machine(scenario_of(PROGRAM, driver=driver)) as machine:
        await machine.run()

        assert machine.is_complete
        assert 256 == machine.progress().faults
        assert "ok" == machine.summary().verdict
    assert_nothing_runs(machine, tasks)


@both_drivers
async def test_it_can_be_asked_after_it_was_left(driver):
    """Counters, schedule and /proc stay."""
    async with Machine(scenario_of(PROGRAM, driver=driver)) as machine:
        await machine.run()

    assert 256 == machine.counters()["pgfault"]
    assert "1/status" in machine.proc()
    assert len(list(machine.schedule())) == machine.summary().switches


@both_drivers
async def test_other_tasks_run_beside_it(driver):
    """A machine that never ends does not keep a task of the program from its turn."""
    turns = []
    async with trio.open_nursery() as nursery:

        async def beside():
            for _ in range(5):
                turns.append(machine.now_ns)
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

        scenario = scenario_of(ENDLESS, ENDLESS, cpus=2, driver=driver, quantum_ns=100)
        async with Machine(scenario) as machine:
            nursery.start_soon(beside)
            await machine.run()

    assert 5 == len(turns)
    assert turns == sorted(turns)


def test_its_time_does_not_go_back_while_it_moves(monkeypatch):
    """A CPU that is behind another runs next; what the machine has come to stays."""
    monkeypatch.setattr(Turn, "is_over", lambda _turn: True)
    machine = Machine(scenario_of(ENDLESS, ENDLESS, cpus=2, quantum_ns=100))
    times = []
    machine.run_inline(until_ns=3_000_000, between=lambda: times.append(machine.now_ns))
    machine.close()

    assert 10 < len(times)
    assert times == sorted(times)


@both_drivers
async def test_it_stands_still_while_nobody_awaits_it(driver):
    """Time passes outside; inside it does not."""
    async with Machine(scenario_of(ENDLESS, driver=driver)) as machine:
        await machine.run(until_ns=50_000)
        stopped_at = machine.now_ns
        for _ in range(10):
            await trio.lowlevel.checkpoint()

        assert stopped_at == machine.now_ns


@both_drivers
async def test_run_stops_at_a_time_and_goes_on(driver):
    """Nobody begins anything later; an access that was begun may end a little later."""
    file = Lines()
    scenario = scenario_of(*[PROGRAM] * 2, cpus=2, driver=driver)
    async with Machine(scenario, sink=EventLog(file)) as machine:
        for until_ns in (10_000, 10_000, 50_000, 5_000, 60_001):
            await machine.run(until_ns=until_ns)

            assert not machine.is_complete
            assert machine.now_ns <= 60_001 + 500
        await machine.run()

        assert machine.is_complete
    in_one_go = Lines()
    async with Machine(scenario, sink=EventLog(in_one_go)) as machine:
        await machine.run()

    assert in_one_go.lines == file.lines


@both_drivers
async def test_cancelling_leaves_nothing_running(driver):
    """However far it came."""
    scenario = scenario_of(*[ENDLESS] * 4, cpus=4, driver=driver, quantum_ns=100)
    async with Machine(scenario) as first:  # Compiling takes its time on a busy host.
        await first.run(until_ns=20_000)
    tasks = nr_tasks()
    machine = Machine(scenario)

    async def cancel_once_it_has_faulted():
        while not machine.progress().faults:  # noqa: ASYNC110 - a machine tells nobody
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_once_it_has_faulted)
        async with machine:
            await machine.run()

    assert nursery.cancel_scope.cancelled_caught
    assert_nothing_runs(machine, tasks)
    assert machine.progress().faults > 0


@both_drivers
async def test_a_cancelled_machine_can_be_run_on(driver):
    """Cancelling stops moving it; it is still there until it is left."""
    scenario = scenario_of(["mmap A 1M", "touch A write passes=2000"], driver=driver)
    async with Machine(scenario) as machine:
        with trio.move_on_after(0) as scope:
            await machine.run()

        assert scope.cancelled_caught
        await machine.run()

        assert machine.is_complete


@both_drivers
async def test_leaving_without_running_leaves_nothing(driver):
    """Actors that never ran are closed as well."""
    tasks = nr_tasks()
    async with Machine(scenario_of(PROGRAM, driver=driver)) as machine:
        pass

    assert_nothing_runs(machine, tasks)


@both_drivers
async def test_an_error_of_the_program_passes_as_it_is(driver):
    """No group around it, nothing left running."""
    tasks = nr_tasks()
    machine = Machine(scenario_of(ENDLESS, driver=driver))

    async def fail():
        async with machine:
            await machine.run(until_ns=10_000)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
    assert_nothing_runs(machine, tasks)


@both_drivers
async def test_an_actors_error_says_who_when_and_what_before(driver, monkeypatch):
    """The actor, its virtual time, the last events, the cause; no group around it."""
    tasks = nr_tasks()
    nr_faults = 0

    async def failing(kernel, cpu, space, address, error_code):
        nonlocal nr_faults
        nr_faults += 1
        if nr_faults == 3:
            raise ZeroDivisionError("boom")
        return await handle_page_fault(kernel, cpu, space, address, error_code)

    handle_page_fault = thread.handle_page_fault
    monkeypatch.setattr(thread, "handle_page_fault", failing)
    scenario = scenario_of(PROGRAM, ["compute 1ms"], cpus=2, driver=driver)
    with pytest.raises(ActorCrashed) as caught:
        async with Machine(scenario, sink=EventLog(Lines())) as machine:
            await machine.run()

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    text = str(caught.value)
    assert "p0 raised ZeroDivisionError('boom') at t=" in text
    assert "last events:" in text
    assert "page_fault_user" in text
    assert_nothing_runs(machine, tasks)


@both_drivers
async def test_a_deadlock_names_who_waits_for_what(driver):
    """Two processes at barriers that nobody else comes to."""
    scenario = scenario_of(["barrier a 2"], ["barrier b 3"], cpus=2, driver=driver)
    with pytest.raises(Deadlock) as caught:
        async with Machine(scenario) as machine:
            await machine.run()

    text = str(caught.value)
    assert "p0 at t=" in text
    assert "waits for barrier a of 2 threads" in text
    assert "waits for barrier b of 3 threads" in text


@both_drivers
async def test_a_livelock_is_stopped_by_the_step_budget(driver):
    """A process that spins for ever, beside one that waits for it, or works on without an end."""
    scenario = scenario_of(["thread T cpu=1", "T& spin", "wait"], cpus=2, driver=driver)
    endless = ["mmap A 4K", "touch A read passes=1000000000"]
    scenario_with_budget = scenario_of(
        ["thread T cpu=1", "T& spin", *endless], cpus=2, driver=driver, step_budget=1000
    )
    with pytest.raises(StepBudgetExceeded, match=r"more than 1000 switches"):
        async with Machine(scenario_with_budget) as machine:
            await machine.run()
    async with Machine(scenario) as machine:
        await machine.run(until_ns=1_000_000)

        assert not machine.is_complete


async def test_two_machines_live_side_by_side():
    """Neither knows of the other: their logs are that of one that was alone."""
    scenario = scenario_of(PROGRAM, PROGRAM, cpus=2, policy="seeded", seed=1)
    files = Lines(), Lines(), Lines()
    async with Machine(scenario, sink=EventLog(files[0])) as alone:
        await alone.run()
    async with (
        Machine(scenario, sink=EventLog(files[1])) as first,
        Machine(scenario, sink=EventLog(files[2])) as second,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(first.run)
        nursery.start_soon(second.run)

    assert files[0].lines == files[1].lines == files[2].lines


def test_a_machine_needs_no_trio_to_be_built():
    """Built, looked at, thrown away: nothing complains."""
    machine = Machine(scenario_of(PROGRAM))

    assert 0 == machine.progress().faults
    assert 48 * MIB // PAGE_SIZE < machine.progress().free_pages < 64 * MIB // PAGE_SIZE
    machine.close()
    gc.collect()


def test_an_expectation_that_fails_is_the_verdict():
    """The summary says what was expected and what it is."""
    scenario = evolve(
        scenario_of(PROGRAM),
        expect=tuple(map(Expectation.parse, ("pgfault >= 256", "pgfault < 3", "nothing == 0"))),
    )
    summary = run(scenario, is_logged=False).machine.summary()

    assert "expectation failed" == summary.verdict
    assert (
        "pgfault < 3, but it is 256",
        "nothing == 0, but it is not a counter",
    ) == summary.failed_expectations


async def test_a_task_outside_asks_an_actor_of_the_machine():
    """Through the edge a trio task asks a serving actor; the machine moves to its answer."""
    scenario = scenario_of(["mmap A 64K", "touch A write"])
    lines = TransferLines(nr_lines=10, since_ns=0, until_ns=0)

    async with Machine(scenario) as machine:
        memory = machine.edge.sender(machine.mailboxes["memory"])
        delay_ns = await memory.ask(lines)

    assert 10 * scenario.kernel.costs.dram_line_ns == delay_ns


def test_the_names_of_all_counters_are_known_without_a_machine():
    """What `check` accepts in `expect` is what a run ends with, no more and no less."""
    scenario = scenario_of(["fork c", "c: nop"], ["nop"], cpus=2)
    known = scenario.counter_names()

    globs = ("*", "cpu[*].*", "process[*].*")
    assert set(run(scenario).counters) == {name for glob in globs for name in known.match(glob)}
    assert set(known.match("*")) == set(counter_names())
