"""Mistakes in a race test are told as what they are: none of them is a race, or passes unseen."""
# ruff: noqa: SIM105, TRY301, BLE001, S110 - models that swallow errors are the point

import asyncio
import gc
import subprocess
import sys
import traceback
import warnings
from functools import partial

import numpy as np
import pytest
import trio

import mmactors
from mmactors.engine.guard import GuardViolation
from mmactors.engine.report import ForeignAwait, LawBroken
from mmactors.errors import UserError
from mmactors.explore import Kind, Options, Outcome, replay, search


def world_with(declare):
    """Return a world with one actor that writes 1 to x, and what `declare(world, x)` adds."""

    def build(world):
        x = world.cell("x", 0)

        async def writes():
            await x.write(1)

        world.actor("a", writes)
        declare(world, x)

    return build


def world_of(*actors):
    """Return a world of these actors; each gets the world and the cells x and y."""

    def build(world):
        x, y = world.cell("x", 0), world.cell("y", 0)
        for index, actor in enumerate(actors):
            world.actor(f"a{index}", actor, world, x, y)

    return build


# -- laws ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [False, np.bool_(False), 0, 0.0, "", (), np.int64(0), []], ids=repr
)
def test_a_law_that_answers_with_anything_false_is_broken(answer):
    """Only None, as of a law that asserts, is no answer."""
    verdict = search(world_with(lambda world, _x: world.at_end(lambda: answer)))

    assert Kind.LAW is verdict.failure.broken.kind
    assert f"it returned {answer!r}" == verdict.failure.broken.text


@pytest.mark.parametrize("answer", [None, True, 1, np.bool_(True), "yes"], ids=repr)
def test_a_law_that_answers_with_none_or_anything_true_holds(answer):
    """As Python's truth goes."""
    assert search(world_with(lambda world, _x: world.always(lambda: answer))).is_good


async def coroutine(*_args):
    """Never run by who calls it."""


async def async_generator():
    """Neither is this."""
    yield 1


def generator():
    """Nor this."""
    yield 1


class CallableObject:
    """Nor the object's call."""

    async def __call__(self):
        pass


NEVER_RUN = [coroutine, async_generator, generator, partial(coroutine, 1), CallableObject()]
DECLARATIONS = [
    lambda world, function: world.always(function),
    lambda world, function: world.at_end(function),
    lambda world, function: world.sometimes("goal", function),
    lambda world, function: world.monitor("monitor", function),
    lambda world, function: world.any_time("action", function),
]


@pytest.mark.parametrize("function", NEVER_RUN)
@pytest.mark.parametrize("declare", DECLARATIONS)
def test_what_a_plain_call_never_runs_is_refused_where_it_is_declared(declare, function):
    """With the line where it was written."""
    with pytest.raises(UserError, match=r"test_explore_mistakes.py:\d+: the .*plain call never"):
        search(world_with(lambda world, _x: declare(world, function)))


@pytest.mark.parametrize("declare", DECLARATIONS)
def test_what_returns_a_coroutine_is_refused_when_it_has_answered(declare):
    """A lambda cannot be told before."""
    with pytest.raises(UserError, match=r"returns a coroutine; nobody awaits it"):
        search(world_with(lambda world, x: declare(world, lambda: x.add(1))))


@pytest.mark.parametrize("declare", DECLARATIONS)
def test_what_is_no_function_is_refused_with_the_line_that_hands_it_over(declare):
    """Such as the value of a condition."""
    with pytest.raises(UserError, match=r"test_explore_mistakes.py:\d+: the .* is False; expected"):
        search(world_with(lambda world, x: declare(world, x.value == 1)))


def test_a_condition_of_an_actor_is_a_plain_function_too():
    """Also if the actor catches what that raises."""

    async def waits(_world, x, _y):
        try:
            await x.until(coroutine)
        except Exception:
            pass

    with pytest.raises(UserError, match="the condition 'coroutine' is async"):
        search(world_of(waits))


@pytest.mark.parametrize("function", [generator, async_generator, dict, lambda: None, 5])
def test_an_actor_that_runs_no_coroutine_is_refused(function):
    """It would do nothing."""
    with pytest.raises(UserError, match="the actor 'a' runs no coroutine: it is"):
        search(lambda world: world.actor("a", function))


def test_what_a_law_raises_is_plain_in_the_first_schedule_and_a_broken_law_later():
    """An error of the law itself, or what a race has led to."""

    def build(world, *, always):
        x, got = world.cell("x", 0), {}

        async def reads():
            if always or await x.read() == 0:
                got["seen"] = 1

        async def writes():
            await x.write(1)

        world.actor("reader", reads)
        world.actor("writer", writes)
        world.at_end(lambda: got["other" if always else "seen"] == 1)

    with pytest.raises(KeyError, match="other"):
        search(partial(build, always=True))
    assert "<lambda>: KeyError" == search(partial(build, always=False)).failure.broken.law


# -- laws that say nothing -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: lambda: x.value == 0,
        lambda x: map(bool, [x.value == 0]),
        lambda x: x,
        lambda x: [].__len__,
        lambda x: (x.value == 0, "x was written"),
    ],
)
def test_a_law_whose_answer_is_always_true_is_refused(answer):
    """A call was forgotten, or a comma is one too many."""
    with pytest.raises(UserError, match=r"returns a .*, always true"):
        search(world_with(lambda world, x: world.at_end(lambda: answer(x)) and None))


# -- coroutines that nobody awaits -----------------------------------------------------------------


async def forgets_a_write(_world, x, _y):
    x.write(1)


async def forgets_an_add(_world, x, _y):
    x.add(1)


async def forgets_late(_world, x, y):
    if await x.read() == 0 and await y.read():
        x.write(2)


async def looks_at_a_coroutine(_world, x, _y):
    if x.read():
        await x.write(2)


async def keeps_one(_world, x, _y):
    kept = [x.read()]
    kept.append(kept)
    await x.write(2)


async def forgets_a_step(world, x, _y):
    world.step("both", writes=(x,))


async def waits_for_a_coroutine(_world, x, _y):
    await x.until(lambda _: x.read())


async def writes_both(_world, x, y):
    await y.write(1)
    await x.write(1)


@pytest.mark.parametrize(
    "actor",
    [
        forgets_a_write,
        forgets_an_add,
        forgets_late,
        looks_at_a_coroutine,
        keeps_one,
        forgets_a_step,
        waits_for_a_coroutine,
    ],
)
def test_a_coroutine_that_nobody_awaited_is_an_error_with_the_line_that_made_it(actor):
    """And no warning on stderr; in whichever schedule it comes."""
    first = actor.__code__.co_firstlineno
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError) as caught:
            search(world_of(actor, writes_both))
        gc.collect()
    place = caught.value.problems[0].place

    assert "nobody awaited the coroutine" in str(caught.value)
    assert place.file == __file__
    assert first < place.line <= first + 3


def test_a_world_that_forgets_to_await_while_it_is_built_is_refused():
    """An operation outside of actors does nothing at all."""
    with pytest.raises(UserError, match=r"nobody awaited the coroutine SharedCount\.add"):
        search(world_with(lambda _world, x: x.add(1) and None))


def test_a_failure_that_comes_of_a_forgotten_await_is_told_as_that():
    """The law is broken, because a step is missing."""

    def declare(world, x):
        async def forgets():
            x.add(1)

        world.actor("b", forgets)
        world.at_end(lambda: x.value == 2)

    with pytest.raises(UserError, match=r"write await before it in: x.add\(1\)"):
        search(world_with(declare))


# -- what no actor may catch -----------------------------------------------------------------------


async def catches_a_violation(_world, x, _y):
    try:
        x.value += 1
    except Exception:
        pass


async def catches_everything(_world, x, _y):
    await x.read()
    try:
        x.value += 1
    except:  # noqa: E722 - that nothing helps is the point
        pass
    await x.read()


async def makes_something_else_of_it(_world, x, _y):
    try:
        x.value += 1
    except GuardViolation as error:
        raise KeyError from error


@pytest.mark.parametrize(
    "actor", [catches_a_violation, catches_everything, makes_something_else_of_it]
)
def test_a_violation_of_the_rules_ends_the_search_whoever_catches_it(actor):
    """It is remembered when it is made."""
    with pytest.raises(GuardViolation, match=r"x was (read|written) by a0 in step"):
        search(world_of(actor))


def test_a_violation_that_only_a_race_leads_to_is_a_failure_with_its_schedule():
    """Which can be played again."""

    async def violates(_world, x, y):
        try:
            if await y.read():
                x.value = 1
        except Exception:
            pass
        await x.read()

    build = world_of(violates, writes_both)
    failure = search(build).failure

    assert "a0: GuardViolation" == failure.broken.law
    assert failure.broken.is_like(replay(build, failure.replay).failure.broken)


def test_a_broken_law_of_a_checker_cannot_be_caught():
    """Nor can any error of the engine."""

    class Checked(LawBroken):
        law = "pages are mapped once"

    async def checks(_world, x, _y):
        try:
            raise Checked("page 7 is mapped twice")
        except Exception:
            pass
        await x.read()

    broken = search(world_of(checks)).failure.broken

    assert (Kind.LAW, "pages are mapped once") == (broken.kind, broken.law)


def asserts(value):
    """A law of an actor, in a function that it calls."""
    assert value == 0, "somebody was faster"


async def catches_all(_world, x, _y):
    try:
        asserts(await x.read())
    except Exception:
        pass


async def catches_it(_world, x, _y):
    try:
        assert await x.read() == 0, "somebody was faster"
    except AssertionError:
        pass


async def returns_in_finally(_world, x, _y):
    try:
        asserts(await x.read())
    finally:
        return  # noqa: B012 - it swallows what was raised, which is the point


@pytest.mark.parametrize("actor", [catches_all, catches_it, returns_in_finally])
def test_an_assertion_that_an_actor_catches_breaks_the_schedule(actor):
    """It is a law all the same, in a replay too."""
    build = world_of(actor, writes_both)
    failure = search(build).failure

    assert "a0: AssertionError" == failure.broken.law
    assert "somebody was faster" in failure.broken.text
    assert ["an assertion of an actor is a law, also if the actor catches it"] == (
        failure.broken.cause.__notes__
    )
    assert failure.broken.is_like(replay(build, failure.replay).failure.broken)


def test_what_cannot_be_an_assertion_may_be_caught():
    """As in any program."""

    async def looks_up(_world, x, _y):
        try:
            {0: "zero"}[await x.read()]
        except KeyError:
            await x.write(0)

    assert Outcome.EXHAUSTED is search(world_of(looks_up, writes_both)).outcome


@pytest.mark.parametrize("how", [["-O"], ["-OO"]])
def test_python_without_assertions_is_refused(how):
    """Neither laws nor our own assertions would be checked."""
    program = (
        "from mmactors.explore import search\n"
        "async def a(): pass\n"
        "search(lambda world: world.actor('a', a))\n"
    )
    ran = subprocess.run(
        [sys.executable, *how, "-c", program], capture_output=True, text=True, check=False
    )

    assert 1 == ran.returncode
    assert "python -O: assertions are off, by -O or by PYTHONOPTIMIZE; expected" in ran.stderr
    assert "(run python without -O, and unset PYTHONOPTIMIZE)" in ran.stderr


# -- errors of the test ----------------------------------------------------------------------------


async def misses_an_argument(_world, x, _y):
    await x.write()


async def names_nothing(_world, x, _y):
    await x.write(nothing)  # noqa: F821 - that is the point


async def misspells(_world, x, _y):
    await x.wriet(1)


async def imports_nothing(_world, _x, _y):
    import mmactors.nothing  # noqa: F401 - that is the point


@pytest.mark.parametrize(
    ("actor", "kind"),
    [
        (misses_an_argument, TypeError),
        (names_nothing, NameError),
        (misspells, AttributeError),
        (imports_nothing, ImportError),
    ],
)
def test_a_mistake_is_raised_as_it_is_with_its_line(actor, kind):
    """No race was found, and there is no schedule to replay."""

    @mmactors.explore
    def test(world):
        world_of(actor)(world)

    with pytest.raises(kind) as caught:
        test()
    lines = [entry.lineno for entry in traceback.extract_tb(caught.tb)]

    assert not isinstance(caught.value, AssertionError)
    assert actor.__code__.co_firstlineno + 1 == lines[-1]


def test_the_same_error_is_a_failure_if_a_race_leads_to_it():
    """A page that is None meanwhile."""

    async def uses(_world, x, y):
        page = None if await x.read() and await y.read() else "page"
        page.upper()

    assert "a0: AttributeError" == search(world_of(uses, writes_both)).failure.broken.law


def test_a_kept_schedule_does_not_hide_a_mistake_made_since(tmp_path):
    """It would be reported as what failed before."""
    options = Options(store=tmp_path)

    async def asserts_it(_world, x, y):
        assert not (await x.read() and await y.read())

    assert search(world_of(asserts_it, writes_both), name="t", options=options).failure
    with pytest.raises(AttributeError, match="wriet"):
        search(world_of(misspells, writes_both), name="t", options=options)


# -- what is awaited of other libraries ------------------------------------------------------------


async def a_trio_event(_world, _x, _y):
    await trio.Event().wait()


async def a_trio_sleep(_world, _x, _y):
    await trio.sleep(1)


async def a_trio_checkpoint(_world, _x, _y):
    await trio.lowlevel.checkpoint()


async def a_trio_lock(_world, _x, _y):
    async with trio.Lock():
        pass


async def a_trio_semaphore(_world, _x, _y):
    await trio.Semaphore(0).acquire()


async def a_trio_condition(_world, _x, _y):
    async with trio.Condition() as condition:
        await condition.wait()


async def a_trio_nursery(_world, _x, _y):
    async with trio.open_nursery():
        pass


async def a_trio_channel(_world, _x, _y):
    sender, _ = trio.open_memory_channel(0)
    await sender.send(1)


async def a_trio_thread(_world, _x, _y):
    await trio.to_thread.run_sync(print)


async def an_asyncio_sleep(_world, _x, _y):
    await asyncio.sleep(1)


async def an_asyncio_yield(_world, _x, _y):
    await asyncio.sleep(0)


async def an_asyncio_event(_world, _x, _y):
    await asyncio.Event().wait()


async def an_asyncio_queue(_world, _x, _y):
    await asyncio.Queue().get()


async def an_asyncio_group(_world, _x, _y):
    async with asyncio.TaskGroup():
        pass


FOREIGN = {
    a_trio_event: "world.event",
    a_trio_sleep: "leave it out",
    a_trio_checkpoint: "leave it out",
    a_trio_lock: "world.lock",
    a_trio_semaphore: "world.semaphore",
    a_trio_condition: "world.condition",
    a_trio_nursery: "world.actor",
    a_trio_channel: "world.mailbox",
    a_trio_thread: "world.actor",
    an_asyncio_sleep: "leave it out",
    an_asyncio_yield: "leave it out",
    an_asyncio_event: "world.event",
    an_asyncio_queue: "world.mailbox",
    an_asyncio_group: "world.actor",
}


@pytest.mark.parametrize("actor", FOREIGN, ids=lambda actor: actor.__name__)
def test_what_other_libraries_wait_with_is_refused_with_what_to_write(actor):
    """Also what fails before it waits, for there is no event loop; the line is the actor's."""
    with pytest.raises(ForeignAwait) as caught:
        search(world_of(actor))
    lines = [
        entry.lineno for entry in traceback.extract_tb(caught.tb) if entry.filename == __file__
    ]
    first = actor.__code__.co_firstlineno

    assert "which is not the engine's: an explored actor may only await" in str(caught.value)
    assert FOREIGN[actor] in str(caught.value)
    assert first < lines[-1] <= first + 3


def test_a_runtime_error_of_the_model_is_one():
    """Only other libraries' are translated."""

    async def raises(_world, _x, _y):
        raise RuntimeError("must be called from async context")

    assert "a0: RuntimeError" == search(world_of(raises)).failure.broken.law


# -- schedules that are abandoned ------------------------------------------------------------------


class Counted:
    """Counts who is inside, by steps."""

    def __init__(self, users):
        self.users = users

    async def __aenter__(self):
        await self.users.add(1)

    async def __aexit__(self, *_error):
        await self.users.add(-1)


async def steps_in_finally(_world, x, y):
    await x.add(1)
    try:
        await y.add(1)
        await y.add(1)
    finally:
        await x.add(-1)
        await x.add(0)


async def steps_on_leaving(_world, x, y):
    async with Counted(x):
        await y.add(1)
        await y.add(1)


async def catches_its_end(_world, x, y):
    await x.add(1)
    try:
        await y.add(1)
        await y.add(1)
    except GeneratorExit:
        await x.add(5)
        raise
    await x.add(-1)


async def raises_in_finally(_world, x, y):
    is_done = False
    await x.add(1)
    try:
        await y.add(1)
        await y.add(1)
        is_done = True
    finally:
        if not is_done:
            raise KeyError
    await x.add(-1)


async def numbers(x):
    try:
        yield 1
        yield 1
    finally:
        await x.add(-1)


async def iterates(_world, x, y):
    await x.add(1)
    async for number in numbers(x):
        await y.add(number)


@pytest.mark.parametrize(
    "actor",
    [steps_in_finally, steps_on_leaving, catches_its_end, raises_in_finally, iterates],
)
def test_an_abandoned_schedule_is_closed_without_a_trace(actor, capfd):
    """What is awaited then has no effect, and what is raised then is nobody's."""

    def build(world):
        x, y = world.cell("x", 0), world.cell("y", 0)
        for name in "abc":
            world.actor(name, actor, world, x, y)

        @world.at_end
        def all_have_left():
            assert (0, 6) == (x.value, y.value)

    verdict = search(build)
    gc.collect()

    assert Outcome.EXHAUSTED is verdict.outcome
    assert ("", "") == capfd.readouterr()


def test_who_does_not_end_when_it_is_closed_is_refused():
    """It would stay for ever, in each schedule."""

    def build(world):
        x = world.cell("x", 0)

        async def goes_on():
            while True:
                try:
                    await x.add(1)
                except:  # noqa: E722 - that nothing helps is the point
                    pass

        world.actor("b", goes_on, daemon=True)

        async def ends():
            await x.add(1)

        world.actor("a", ends)

    with pytest.raises(UserError, match="the actor b goes on when it is closed: it catches"):
        search(build)


# -- who waits beside daemons ----------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["write", "add"])
def test_who_waits_beside_an_endless_daemon_is_called_a_waiter(operation):
    """It is no livelock: nobody of whom the world waits makes a step."""

    def build(world):
        tick, is_ready = world.cell("tick", 0), world.cell("is_ready", False)

        async def ticks():
            while True:
                await getattr(tick, operation)(1)

        async def waits():
            await is_ready.until(bool)

        world.actor("timer", ticks, daemon=True)
        world.actor("waiter", waits)

    broken = search(build).failure.broken

    assert Kind.DEADLOCK is broken.kind
    assert "  waiter: waits for is_ready\n" in broken.text
    assert "only daemons go on, again and again: timer" in broken.text
