"""Schedules: what is taken down, printed, read and replayed."""

import pytest
from engines import Log, engine_of, run, spawn

from mmactors.engine.report import StepBudgetExceeded
from mmactors.engine.schedule import Schedule, ScheduleMismatch, fingerprint_of
from mmactors.label import Label, Mode

STEP = Label("step", (("thing", Mode.WRITE),))


def machine(*, steps=5, names=("a", "zone 0 Normal"), **options):
    """Return an engine with actors that step at the same times, and its log."""
    engine = engine_of(**options)
    log = Log(engine)

    async def works():
        for number in range(steps):
            await engine.spend(10)
            await engine.step(STEP)
            log(str(number))

    for name in names:
        spawn(engine, name, works())
    return engine, log


def test_a_schedule_names_actors_and_labels():
    """Entries can be read; names may contain blanks."""
    engine, _ = machine(steps=1)
    run(engine)

    assert [
        "a: start",
        "zone 0 Normal: start",
        "a: spend",
        "zone 0 Normal: spend",
        "a: step",
        "zone 0 Normal: step",
    ] == list(engine.recorder.schedule("f"))


def test_a_schedule_survives_being_printed():
    """The text form holds everything."""
    engine, _ = machine(policy="seeded", seed=4)
    run(engine)
    schedule = engine.recorder.schedule("fingerprint")

    again = Schedule.parse(str(schedule))

    assert list(schedule) == list(again)
    assert "fingerprint" == again.fingerprint


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "something else",
        lambda text: "",
        lambda text: text.replace("mmactors schedule 1", "mmactors schedule 9"),
        lambda text: text[:-5],
        lambda text: text.replace("complete", "perhaps"),
        lambda text: "\n".join([*text.splitlines()[:3], "many", *text.splitlines()[4:]]),
        lambda text: "\n".join([*text.splitlines()[:3], "0", *text.splitlines()[4:]]),
        lambda text: "\n".join([*text.splitlines()[:3], "2", *text.splitlines()[3:]]),
    ],
)
def test_a_damaged_text_is_refused(spoil):
    """Whatever is wrong is a ValueError."""
    engine, _ = machine()
    run(engine)

    with pytest.raises(ValueError, match=r"."):
        Schedule.parse(spoil(str(engine.recorder.schedule("f"))))


def test_replaying_another_program_is_noticed_at_the_first_difference():
    """The message says what the schedule wants and what could be."""
    engine, _ = machine()
    run(engine)
    schedule = engine.recorder.schedule("f")
    other, _ = machine(names=("a", "other"), schedule=schedule)

    with pytest.raises(
        ScheduleMismatch, match=r"entry 1 is zone 0 Normal: start, but only these can run: "
    ):
        run(other)


def test_replaying_a_longer_program_is_noticed():
    """The schedule ends before the program does."""
    engine, _ = machine(names=("a",), steps=1)
    run(engine)
    longer, _ = machine(names=("a",), steps=3000, schedule=engine.recorder.schedule("f"))

    with pytest.raises(ScheduleMismatch, match="ends after 1 entries, but the program goes on"):
        run(longer)


def test_replaying_a_run_that_was_stopped_stops_where_it_stopped():
    """An interrupted run can be replayed as far as it came."""
    engine, log = machine(policy="seeded")
    run(engine, until_ns=30)
    schedule = Schedule.parse(str(engine.schedule("f")))
    again, log_again = machine(policy="seeded", schedule=schedule)
    run(again)

    assert not schedule.is_complete
    assert not again.is_complete
    assert log.entries == log_again.entries


def test_replaying_a_livelock_ends_at_the_step_budget_again():
    """What ended the run ends its replay."""
    engine, _ = machine(step_budget=4)
    with pytest.raises(StepBudgetExceeded):
        run(engine)
    again, _ = machine(step_budget=4, schedule=engine.schedule("f"))

    with pytest.raises(StepBudgetExceeded):
        run(again)


def test_a_schedule_of_another_program_does_not_fit():
    """The fingerprint tells programs apart."""
    schedule = engine_of().recorder.schedule(fingerprint_of("scenario", "1"))

    schedule.must_fit(fingerprint_of("scenario", "1"))
    with pytest.raises(ScheduleMismatch, match="was recorded from"):
        schedule.must_fit(fingerprint_of("scenario", "2"))
