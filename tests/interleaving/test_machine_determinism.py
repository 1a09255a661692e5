"""A run is a function of scenario, seed and policy; its interleaving is a value to be replayed."""

from functools import cache

import pytest
import trio
from attrs import evolve
from determinism import differences, digests, told_by_process
from machines import Lines, nr_free, run, scenario_of

from mmactors.engine.guard import GUARD_VARIABLE
from mmactors.engine.schedule import Schedule, ScheduleMismatch
from mmactors.observe.log import EventLog
from mmactors.scenario.machine import Machine

SHARED = [
    "mmap A 256K",
    "thread T1 cpu=1",
    "thread T2 cpu=2",
    "T1& touch A write order=rand:1",
    "T2& generate uniform A count=2000 write_percent=50",
    "touch A write",
    "wait",
    "munmap A 0..32",
    "T1: touch A 32..64 read",
]
OTHER = ["churn 10 64K touch", "sleep 1", "mmap A 128K", "touch A read", "touch A write"]


def mixed(**engine):
    """Return a scenario in which threads share memory and processes share a CPU."""
    return scenario_of(SHARED, OTHER, OTHER, ["cpu 1", *OTHER], cpus=3, **engine)


@cache
def ran(**engine):
    """Return such a machine that has run, with trio: tests compare their own runs with it."""
    return run(mixed(driver="trio", **engine))


VARIANTS = [
    {"policy": "fifo"},
    {"policy": "fifo", "quantum_ns": 0},
    {"policy": "seeded", "seed": 1},
    {"policy": "seeded", "seed": 2, "quantum_ns": 0},
    {"policy": "seeded", "seed": 3, "jitter_percent": 20},
]
every_variant = pytest.mark.parametrize(
    "engine", VARIANTS, ids=[" ".join(map(str, variant.values())) for variant in VARIANTS]
)


@every_variant
def test_equal_scenarios_give_equal_logs(engine):
    """Byte for byte, and the same interleaving."""
    first, second = ran(**engine), run(mixed(driver="trio", **engine))

    assert first.log == second.log
    assert str(first.schedule) == str(second.schedule)
    assert first.machine.proc() == second.machine.proc()


@every_variant
def test_both_drivers_give_the_same_log(engine):
    """Tasks of trio or coroutines stepped in one task: who runs when is not theirs to say."""
    with_trio = ran(**engine)
    inline = run(mixed(driver="inline", **engine))

    assert with_trio.log == inline.log
    assert str(with_trio.schedule) == str(inline.schedule)


@every_variant
@pytest.mark.parametrize("driver", ["trio", "inline"])
def test_a_recorded_schedule_gives_the_same_log(engine, driver):
    """Through its text form, and under either driver."""
    recorded = ran(**engine)
    schedule = Schedule.parse(str(recorded.schedule))
    replayed = run(mixed(driver=driver, **engine), schedule=schedule)

    assert recorded.log == replayed.log
    assert replayed.machine.is_complete


@every_variant
def test_guard_mode_changes_nothing(engine, monkeypatch):
    """It only looks."""
    monkeypatch.delenv(GUARD_VARIABLE, raising=False)

    assert run(mixed(**engine)).log == run(mixed(guard=True, **engine)).log


@every_variant
def test_the_log_changes_nothing(engine):
    """What nobody listens to happens all the same, at the same time."""
    logged, silent = ran(**engine), run(mixed(driver="trio", **engine), is_logged=False)

    assert str(logged.schedule) == str(silent.schedule)
    assert logged.counters == silent.counters


@pytest.mark.parametrize("quantum_ns", [0, 10_000])
def test_another_seed_gives_another_interleaving(quantum_ns):
    """Ten seeds: ten schedules and logs, one result."""
    runs = [run(mixed(policy="seeded", seed=seed, quantum_ns=quantum_ns)) for seed in range(10)]

    assert 10 == len({str(each.schedule) for each in runs})
    assert 10 == len({each.log for each in runs})
    assert 1 == len({nr_free(each.machine) for each in runs})


def test_a_schedule_of_another_scenario_is_refused():
    """Before anything runs; the text says what to do."""
    schedule = run(mixed(seed=1, policy="seeded")).schedule

    with pytest.raises(ScheduleMismatch, match="replay it with the scenario"):
        Machine(mixed(seed=2, policy="seeded"), schedule=schedule)


@pytest.mark.parametrize("driver", ["trio", "inline"])
def test_a_schedule_that_does_not_fit_is_refused_where_it_fails(driver):
    """An entry names one who has ended by then: who was to run, and who could, are named."""
    scenario = mixed(driver=driver, quantum_ns=0)
    schedule = run(scenario).schedule
    entries = schedule.entries[:]
    names = list(schedule)
    last = {name: nth for nth, name in enumerate(names)}
    ended = min(last, key=lambda name: last[name])
    entries[last[ended] + 1] = entries[last[ended]]

    with pytest.raises(ScheduleMismatch, match=r"entry \d+ is .*, but only these can run: "):
        run(scenario, schedule=evolve(schedule, entries=entries))


@pytest.mark.parametrize("driver", ["trio", "inline"])
def test_a_schedule_that_is_too_short_is_refused(driver):
    """The program goes on behind its end."""
    scenario = mixed(driver=driver)
    schedule = run(scenario).schedule

    with pytest.raises(ScheduleMismatch, match="ends after 100 entries"):
        run(scenario, schedule=evolve(schedule, entries=schedule.entries[:100]))


@pytest.mark.parametrize("driver", ["trio", "inline"])
def test_pauses_change_nothing(driver):
    """Stopping at a time and going on gives the log of one go."""
    scenario = mixed(driver=driver, policy="seeded", seed=4)
    in_one_go = run(scenario)

    file = Lines()

    async def in_pieces():
        async with Machine(scenario, sink=EventLog(file)) as machine:
            for until_ns in range(0, 3_000_000, 7_000):
                await machine.run(until_ns=until_ns)
            await machine.run()

    trio.run(in_pieces)

    assert in_one_go.log == b"".join(file.lines)


def test_processes_and_their_surroundings_change_nothing():
    """Seeds of hashes, folders, locales, time zones: tests/determinism.py has a thousand runs."""
    told = [*digests(["waits"]), *told_by_process(2, ["waits"])]

    assert {} == differences(told)
    assert 18 == 2 * len({how for name, _, _, how in told})
