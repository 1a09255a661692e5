"""What is shared outside a scope: named by what it is, with who does what, and what to write."""

import pytest

from mmactors.errors import UserError
from mmactors.explore import Budget, Options, Outcome, search


def outside(verdict):
    """Return what is named, as text."""
    return {each.name: each.who() for each in verdict.outside}


def two(world, first, second):
    """Two actors."""
    world.actor("a", first)
    world.actor("b", second)


def test_who_writes_and_who_reads_is_told_for_a_column():
    """And what to write so that it is tried; the elements are there for programs."""

    def build(world):
        flag = world.cell("flag", 0)
        ptes = [world.cell(f"pte[{index}]", 0) for index in range(2)]

        async def writes():
            await flag.read()
            for pte in ptes:
                await pte.write(1)

        async def reads():
            await flag.write(1)
            for pte in ptes:
                await pte.read()

        two(world, writes, reads)
        world.scope(flag)

    verdict = search(build)

    assert str(verdict).startswith("exhausted within scope {flag}: ")
    assert str(verdict).endswith("; shared outside the scope: pte")
    assert verdict.for_worlds().splitlines()[1:] == [
        "    shared outside the scope, in orders that were not tried:",
        "      pte  a writes, b reads",
        '    to try them: world.scope("flag", "pte")',
    ]
    assert verdict.as_json()["outside"] == [
        {
            "name": "pte",
            "elements": ["pte[0]", "pte[1]"],
            "written_by": ["a"],
            "read_by": ["b"],
            "under": [],
            "kind": "value",
        }
    ]
    assert ["flag", "pte"] == verdict.as_json()["wider_scope"]


@pytest.mark.parametrize(("in_scope", "named"), [(True, {}), (False, {"lock": "a and b lock"})])
def test_what_a_lock_orders_needs_no_name_of_its_own(in_scope, named):
    """With the lock in scope all its orders were tried; without, the lock is what to add."""

    def build(world):
        lock, flag, count = world.lock("lock"), world.cell("flag", 0), world.cell("count", 0)

        async def counts():
            await flag.write(1)
            async with lock:
                seen = await count.read()
                await count.write(seen + 1)

        two(world, counts, counts)
        world.scope(flag, *[lock] * in_scope)

    verdict = search(build)

    assert {name: who for name, who in outside(verdict).items() if name != "count"} == named
    assert verdict.wider_scope == (() if in_scope else ("flag", "lock"))
    assert [("lock",)] * (not in_scope) == [
        each.under for each in verdict.outside if each.name == "count"
    ]


def test_elements_that_locks_of_one_column_order_need_that_column():
    """Each has a lock of its own."""

    def build(world):
        flag = world.cell("flag", 0)
        locks = [world.lock(f"ptl[{index}]") for index in range(2)]
        ptes = [world.cell(f"pte[{index}]", 0) for index in range(2)]

        async def writes():
            await flag.write(1)
            for lock, pte in zip(locks, ptes, strict=True):
                async with lock:
                    await pte.write(await pte.read() + 1)

        two(world, writes, writes)
        world.scope(flag)

    verdict = search(build)

    assert {"pte": ("ptl",), "ptl": ()} == {each.name: each.under for each in verdict.outside}
    assert ("flag", "ptl") == verdict.wider_scope


def test_several_processes_see_the_same_together():
    """Each notes what it saw."""

    def build(world):
        flag, words = world.cell("flag", 0), world.cell("words", 0)

        async def writes():
            for value in range(4):
                await flag.write(value)
            await words.write(1)

        two(world, writes, writes)
        world.actor("c", writes)
        world.scope(flag)

    alone = search(build, options=Options(budget=Budget(schedules=200), bound=None))
    together = search(build, options=Options(budget=Budget(schedules=200), jobs=2))

    assert alone.outside == together.outside
    assert {"words": "a, b and c write"} == outside(together)


def test_counters_that_are_only_added_to_are_not_shared():
    """Adds commute."""

    def build(world):
        flag, events = world.cell("flag", 0), world.cell("events", 0)

        async def runs():
            await flag.write(1)
            await events.inc()

        two(world, runs, runs)
        world.scope(flag)

    assert () == search(build).outside


def test_what_a_law_looks_at_between_two_steps_is_shared_with_it():
    """It never sees what is only there within a step of the scope; at the end it sees enough."""

    def build(world, *, at_end):
        flag, inside = world.cell("flag", 0), world.cell("inside", 0)

        async def enters():
            await flag.write(1)
            await inside.write(1)
            await inside.write(0)

        world.actor("a", enters)
        world.scope(flag)

        @(world.at_end if at_end else world.always)
        def nobody_is_inside():
            assert 0 == inside.value

    always = search(lambda world: build(world, at_end=False), name="always")
    at_end = search(lambda world: build(world, at_end=True), name="at end")

    assert Outcome.EXHAUSTED is always.outcome
    assert {"inside": "a writes, a law reads"} == outside(always)
    assert {} == outside(at_end)


def test_what_becomes_shared_only_in_some_schedules_is_named():
    """Here only if b comes first."""

    def build(world):
        turn, words = world.cell("turn", 0), world.cell("words", 0)

        async def first():
            if await turn.read() == 1:
                await words.write(1)

        async def second():
            await turn.write(1)
            await words.write(2)

        two(world, first, second)
        world.scope(turn)

    assert {"words": "a and b write"} == outside(search(build))


def test_a_step_that_touches_a_column_is_shared_with_who_touches_an_element():
    """Other elements are not."""

    def build(world):
        flag = world.cell("flag", 0)

        async def all_of_it():
            await flag.write(1)
            await world.step("scan", reads=("words",))

        async def one():
            await flag.write(2)
            await world.step("store", writes=("words[3]",))
            await world.step("other", writes=("others[4]",))

        async def another():
            await flag.write(3)
            await world.step("look", reads=("others[5]",))

        two(world, all_of_it, one)
        world.actor("c", another)
        world.scope(flag)

    (words,) = search(build).outside

    assert ("words", ("words", "words[3]")) == (words.name, words.elements)
    assert ("b",) == words.written_by
    assert ("a",) == words.read_by


def test_who_only_waits_for_what_is_outside_reads_it():
    """Though it never comes to that: what it waits for is gone within one step of the other."""

    def build(world):
        flag, seen = world.cell("flag", 0), world.cell("seen", 0)

        async def passes():
            await flag.write(1)
            await seen.write(1)
            await seen.write(0)

        async def waits():
            await seen.until(lambda value: value == 1)

        world.actor("a", passes)
        world.actor("b", waits, daemon=True)
        world.scope(flag)

    assert {"seen": "a writes, b reads"} == outside(search(build))


def test_a_step_in_scope_that_touches_more_is_shared_with_who_has_no_choice():
    """But not with who has one there, too."""

    def build(world, *, both):
        flag, more = world.cell("flag", 0), world.cell("more", 0)

        async def together():
            await world.step("both", writes=(flag, more))
            more.value = 1

        async def alone():
            await more.read()

        two(world, together, together if both else alone)
        world.scope(flag)

    assert {"more": "a writes, b reads"} == outside(
        search(lambda world: build(world, both=False), name="one")
    )
    assert {} == outside(search(lambda world: build(world, both=True), name="both"))


def test_messages_are_handed_over_and_not_shared():
    """To send and to receive commute; each sender has a queue of its own."""

    def build(world):
        flag, box = world.cell("flag", 0), world.mailbox("box")

        async def serves():
            while True:
                request = await box.receive()
                request.reply.send(request.body + 1)

        async def asks():
            await flag.write(await box.ask(1))

        two(world, asks, asks)
        world.actor("server", serves, daemon=True)
        world.scope(flag)

    assert {} == outside(search(build))


def test_a_name_that_names_nothing_is_an_error_with_a_proposal():
    """It would make the scope smaller than it looks."""

    def build(world):
        ptes = [world.cell(f"pte[{index}]", 0) for index in range(2)]

        async def writes(index):
            await ptes[index].write(1)

        world.actor("a", writes, 0)
        world.actor("b", writes, 1)
        world.scope("pet", "pte[0]")

    with pytest.raises(UserError, match=r"'pet'.*expected names of objects: pte.*did you mean pte"):
        search(build)
    with pytest.raises(UserError, match="'tlb'"):
        search(build, options=Options(scope=("pte", "tlb")))
