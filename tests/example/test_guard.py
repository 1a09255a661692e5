"""Shared cells and the guard: what a step declares is what it may touch."""

from array import array

import pytest
from engines import Log, engine_of, run, spawn

from mmactors.engine.cell import Cell, ColumnCell
from mmactors.engine.guard import GuardViolation
from mmactors.engine.report import ActorCrashed
from mmactors.label import Label, Mode

READ = Label("read thing", (("thing", Mode.READ),))
WRITE = Label("write thing", (("thing", Mode.WRITE),))


@pytest.mark.parametrize("guard", [False, True])
def test_each_operation_does_what_its_atomic_does(guard):
    """The operations of a cell, one after the other."""
    engine = engine_of(guard=guard)
    cell = Cell(engine, 5, name="refcount")
    seen = []

    async def works():
        await cell.inc()
        await cell.add(2)
        seen.append(await cell.read())
        seen.append(await cell.add_return(-6))
        seen.append(await cell.dec_and_test())
        seen.append(await cell.dec_and_test())
        await cell.write(7)
        seen.append(await cell.cmpxchg(expected=8, value=9))
        seen.append(await cell.cmpxchg(expected=7, value=9))
        seen.append(await cell.get_and_clear())
        seen.append(await cell.xchg(3))
        seen.append(await cell.read())

    spawn(engine, "works", works())
    run(engine)

    assert [8, 2, False, True, False, True, 9, 0, 3] == seen


@pytest.mark.parametrize("guard", [False, True])
def test_a_cell_may_stand_for_one_element_of_a_column(guard):
    """The column is changed, and the label names the element."""
    engine = engine_of(guard=guard)
    refcounts = array("q", [1, 1, 1])
    cell = ColumnCell(engine, engine.guard.column(refcounts, "refcount"), 2, name="refcount")

    async def works():
        await cell.add(4)

    spawn(engine, "works", works())
    spawn(engine, "works too", works())
    run(engine)

    assert [1, 1, 9] == refcounts.tolist()
    assert "refcount[2]" == cell.name


def test_operations_of_several_actors_interleave_by_time():
    """A cell's operations are steps: they wait for their turn."""
    engine = engine_of()
    cell = Cell(engine, name="count")
    log = Log(engine)

    async def works(ns):
        await engine.spend(ns)
        log(str(await cell.add_return(1)))

    for name, ns in (("late", 30), ("early", 10), ("middle", 20)):
        spawn(engine, name, works(ns))
    run(engine)

    assert [(10, "early", "1"), (20, "middle", "2"), (30, "late", "3")] == log.entries


def violation(body_of):
    """Run an actor on a guarded column and return the message of what it did wrong."""
    engine = engine_of(guard=True)
    column = engine.guard.column(array("q", [0] * 4), "thing")
    spawn(engine, "actor", body_of(engine, column))
    with pytest.raises(ActorCrashed) as caught:
        run(engine)
    assert isinstance(caught.value.__cause__, GuardViolation)
    return str(caught.value.__cause__)


def test_touching_outside_any_step_is_a_violation():
    """The message says what was touched."""

    async def body(engine, column):
        await engine.spend(1)
        column[3] = 1

    assert "thing[3] was touched (w) outside any step, which does not declare it" == violation(body)


def test_writing_in_a_step_that_declares_a_read_is_a_violation():
    """The message names the step and the actor."""

    async def body(engine, column):
        await engine.step(READ)
        assert column[0] == 0
        column[0] = 1

    assert (
        "thing[0] was touched (w) in step 'read thing' of actor, which does not declare it"
        == violation(body)
    )


def test_a_step_is_over_when_the_actor_gives_the_baton_back():
    """What was declared before a switch does not cover what comes after it."""

    async def body(engine, column):
        await engine.step(WRITE)
        column[0] = 1
        spawn(engine, "other", other(engine))
        await engine.spend(10)
        column[0] = 2

    async def other(engine):
        await engine.spend(1)

    assert "outside any step" in violation(body)


def test_a_step_may_declare_a_single_element():
    """Other elements are not covered."""

    async def body(engine, column):
        await engine.step(Label("write one", (("thing[1]", Mode.WRITE),)))
        column[1] = 1
        column[2] = 1

    assert violation(body).startswith("thing[2] was touched (w) in step 'write one' of actor")


def test_set_up_and_reports_are_no_steps():
    """While no actor runs, everything is allowed if it is said so."""
    engine = engine_of(guard=True)
    column = engine.guard.column(array("q", [0] * 4), "thing")

    with engine.guard.suspended():
        column[0] = 5

    with pytest.raises(GuardViolation, match="outside any step"):
        column[0] = 6
