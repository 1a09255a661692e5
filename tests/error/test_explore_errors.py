"""What a user of the search sees when something is wrong."""

import itertools
from functools import partial

import pytest
from toys import fixed, lost_update, stale_tlb

import mmactors
from mmactors.engine.guard import GuardViolation
from mmactors.engine.report import ForeignAwait
from mmactors.engine.schedule import ScheduleMismatch
from mmactors.errors import UserError
from mmactors.explore import Budget, Kind, Nondeterminism, Options, replay, search
from mmactors.explore.search.store import Store


def world_of(*actors):
    """Return a world with one cell and these actors, which get it."""

    def build(world):
        cell = world.cell("x", 0)
        for index, actor in enumerate(actors):
            world.actor(f"a{index}", actor, cell)

    return build


# -- worlds that do not repeat themselves ----------------------------------------------------------


def test_an_actor_that_does_not_repeat_itself_is_reported_with_the_first_step_that_differs():
    """Nothing that was found in such a world could be replayed."""
    counter = itertools.count()

    async def works(cell):
        await cell.read()
        await (cell.read() if next(counter) % 2 else cell.write(1))

    with pytest.raises(Nondeterminism) as caught:
        search(world_of(works, works, works))

    assert "run again, differ first at step" in str(caught.value)
    assert "something outside the world decides" in str(caught.value)


def test_values_that_come_from_outside_are_noticed_too():
    """The steps are the same, what they see is not."""
    counter = itertools.count()

    async def works(cell):
        await cell.write(next(counter))
        await cell.read()

    with pytest.raises(Nondeterminism, match=r"for a0 in 'read x': it saw \d+, and now"):
        search(world_of(works))


def test_a_failure_that_does_not_come_again_is_reported_as_what_it_is():
    """And not as a race."""
    counter = itertools.count()

    async def works(cell):
        await cell.read()
        assert next(counter) != 10

    with pytest.raises(Nondeterminism, match=r"no longer break 'a\d: AssertionError'"):
        search(world_of(works, works, works), options=Options(twice_first=0))


# -- schedules that do not fit ---------------------------------------------------------------------


def test_a_replay_refuses_another_program():
    """The fixed world is another program than the one in which the bug was found."""
    failure = search(lost_update).failure

    with pytest.raises(ScheduleMismatch, match=r"is of program \w+, this is program \w+: the test"):
        replay(fixed(lost_update), failure.replay)


def test_a_replay_does_not_care_for_comments_and_layout():
    """Only what the program does counts."""
    found = [_fingerprint_of_text(text) for text in (PROGRAM, SAME_PROGRAM)]

    assert found[0] == found[1]
    assert found[0] != _fingerprint_of_text(PROGRAM.replace("inc", "read"))


PROGRAM = """\
def build(world):
    x = world.cell('x', 0)
    async def a():
        await x.inc()
    world.actor('a', a)
"""
SAME_PROGRAM = """\
def build(world):
    # A comment.
    x = world.cell(
        'x', 0)
    async def a():
        await x.inc()
    world.actor('a', a)
"""


def _fingerprint_of_text(text):
    import linecache

    from mmactors.explore.execution.execution import Execution
    from mmactors.explore.execution.script import fingerprint

    name = f"<{len(text)} {text.count('read')}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    names = {}
    exec(compile(text, name, "exec"), names)  # noqa: S102 - a program as a text is the point
    execution = Execution(names["build"])
    execution.begin()
    try:
        return fingerprint(names["build"], execution)
    finally:
        execution.close()


def test_an_entry_that_does_not_fit_is_refused_with_what_would():
    """At the first one."""
    with pytest.raises(ScheduleMismatch) as caught:
        mmactors.play(lost_update, ["cpu0: read rss", "cpu1: write rss"])

    assert (
        "entry 2 is 'cpu1: write rss', but only these can be taken: "
        "cpu0: write rss, cpu1: read rss; the steps have changed since: search anew, "
        "and delete this schedule" == str(caught.value)
    )


def test_entries_after_the_end_are_refused():
    """A schedule is played to its last entry, or not at all."""
    script = [f"cpu{cpu}: {what} rss" for cpu in (0, 1) for what in ("read", "write")]

    with pytest.raises(ScheduleMismatch, match="entry 5 is 'cpu0: read rss', but all actors have"):
        mmactors.play(lost_update, [*script, "cpu0: read rss"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nonsense", "'nonsense' is no schedule; expected mm1.FINGERPRINT.ENTRIES"),
        ("mm1.abc.!!!", "expected entries that were not cut or changed"),
        ("mm1.abc.eNpL", "expected entries that were not cut or changed"),
    ],
)
def test_a_text_that_is_no_schedule_is_refused_in_four_parts(text, found):
    """Place, what was found, what is legal, what to try."""
    with pytest.raises(UserError) as caught:
        replay(lost_update, text)

    assert str(caught.value).startswith("replay: ")
    assert found in str(caught.value)
    assert "(copy the whole line that the failure printed)" in str(caught.value)


def test_a_pasted_entry_without_an_actor_is_refused():
    """As an entry of a schedule."""
    with pytest.raises(UserError) as caught:
        mmactors.play(lost_update, ["read rss"])

    assert (
        "schedule: the entry 'read rss' names no actor; expected \"ACTOR: LABEL\" "
        "(copy the entry from a report)" == str(caught.value)
    )


# -- tests that are none ---------------------------------------------------------------------------


def test_an_async_test_is_refused():
    """Its actors are async, the test builds them."""

    async def test(world):
        pass

    with pytest.raises(UserError, match="is async; expected a plain function that builds the"):
        mmactors.explore(test)


def test_a_test_without_a_world_is_refused():
    """There is nothing it could build with."""
    with pytest.raises(UserError, match=r"takes no argument; expected the world .*def test\(world"):

        @mmactors.explore
        def test():
            pass


@pytest.mark.parametrize(
    "budget", ["soon", "1.5", "10 h", "-3", "", "10s,", "a,b", "1_", "1__0", "1_.5s", "9" * 5000]
)
def test_a_budget_that_is_none_is_refused(budget):
    """When the test is defined."""
    with pytest.raises(UserError, match="expected a number of schedules, a time such as 10s"):
        mmactors.explore(budget=budget)


def test_budgets_are_schedules_or_times():
    """As people write them."""
    assert Budget(schedules=20_000) == Budget.parse("20_000") == Budget.parse(20_000)
    assert Budget(seconds=90) == Budget.parse("1.5min")
    assert Budget(seconds=0.5) == Budget.parse("500 ms")


def test_a_world_without_actors_is_refused():
    """Nothing could be explored."""
    with pytest.raises(AssertionError, match="the world has no actors"):
        search(world_of())


def test_names_are_unique():
    """A schedule could not say whom or what it means."""

    def build(world):
        world.cell("x", 0)
        world.lock("x")

    with pytest.raises(AssertionError, match="two objects are named x"):
        search(build)


# -- actors that break the rules -------------------------------------------------------------------


def broken_by(*actors):
    """Return what the actors break."""
    return search(world_of(*actors)).failure.broken


def test_an_actor_that_raises_is_named():
    """With what it raised; the cause is chained."""

    async def works(cell):
        raise KeyError("pte")

    broken = broken_by(works)

    assert Kind.CRASH is broken.kind
    assert "a0: KeyError" == broken.law
    assert isinstance(broken.cause, KeyError)


def test_a_value_that_is_read_without_a_step_is_refused():
    """What no label declares, no search can order."""

    async def reads(cell):
        return cell.value

    with pytest.raises(GuardViolation, match="x was read by a0 in step 'start', which does not"):
        search(world_of(reads))


def test_a_step_that_declares_a_read_may_not_write():
    """Reads commute with reads."""

    def build(world):
        cell = world.cell("x", 0)

        async def works():
            await world.step("look", reads=(cell,))
            cell.value = 1

        world.actor("a", works)

    with pytest.raises(GuardViolation, match="x was written by a in step 'look'"):
        search(build)


def test_an_actor_that_awaits_something_foreign_is_refused():
    """Its world is all it may wait for."""
    import trio

    async def works(cell):
        await trio.sleep(1)

    with pytest.raises(ForeignAwait, match=r"a0 awaited trio\.sleep, .*; leave it out"):
        search(world_of(works))


def test_a_lock_that_is_taken_twice_or_given_back_by_others_is_an_error():
    """Of the actor that did it."""

    def build(world, *, twice):
        lock = world.lock("ptl")

        async def works():
            if twice:
                await lock.acquire()
                await lock.acquire()
            await lock.release()

        world.actor("a", works)

    assert "a takes ptl twice" == search(partial(build, twice=True)).failure.broken.text
    assert (
        "a releases ptl, held by nobody" == search(partial(build, twice=False)).failure.broken.text
    )


# -- the store -------------------------------------------------------------------------------------


def test_a_failing_schedule_is_kept_and_tried_first(tmp_path):
    """The second search finds it at once."""
    options = Options(store=tmp_path / ".mmactors")
    search(stale_tlb, options=options)
    again = search(stale_tlb, options=options).failure

    assert 1 == again.at_schedule
    assert "kept from an earlier search" == again.found_by
    assert "found by up to 2 preemptions in schedule 39" == again.earlier
    assert again.is_least


def test_a_kept_schedule_of_a_program_that_was_mended_is_forgotten(tmp_path):
    """It is tried as far as it fits, and dropped when it breaks nothing."""
    options = Options(store=tmp_path)
    search(stale_tlb, name="t", options=options)

    assert 1 == len(Store(tmp_path, "t").load())
    assert search(fixed(stale_tlb), name="t", options=options).is_good
    assert [] == Store(tmp_path, "t").load()


def test_a_damaged_file_in_the_store_is_passed_over(tmp_path):
    """A search does not fail because of what an editor left there."""
    options = Options(store=tmp_path)
    search(stale_tlb, name="t", options=options)
    for path in tmp_path.glob("*/*.txt"):
        path.write_text("mm1.broken", encoding="utf-8")

    assert 1 < search(stale_tlb, name="t", options=options).failure.at_schedule
