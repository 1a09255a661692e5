"""Random worlds with a scope: what is not named as shared outside it may be left out of it."""

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from mmactors.engine.chance import STORE_IS_LATE
from mmactors.explore import Options, Outcome, search

CELLS = ("w[0]", "w[1]", "z")
LOCKS = ("l[0]", "l[1]")
BOX = "box"
EVERYTHING = frozenset({*CELLS, *LOCKS, BOX})
"""The column `w`, which a step may read as a whole, is in scope if both its elements are."""
NAMES = ("a", "b", "c")

cell = st.sampled_from(CELLS)
value = st.integers(0, 2)
access = st.one_of(
    st.tuples(st.just("read"), cell),
    st.tuples(st.just("write"), cell, value),
    st.tuples(st.just("add"), cell),
    st.tuples(st.just("cmpxchg"), cell, value, value),
    st.tuples(st.just("copy"), cell, cell),
    st.tuples(st.just("sees"), cell, value, cell),
    st.tuples(st.just("ask"), cell),
    st.just(("scan", "w")),
)
operation = st.one_of(
    access,
    st.tuples(st.just("locked"), st.sampled_from(LOCKS), st.lists(access, min_size=1, max_size=2)),
)


def nr_steps(program):
    """Return about how many steps a program takes; three others answer who asks."""
    nr = {"locked": lambda each: 2 + nr_steps(each[2]), "ask": lambda _: 4, "sees": lambda _: 2}
    return sum(nr.get(each[0], lambda _: 1)(each) for each in program)


def of_size(size):
    """Return programs of two or three actors that take about so many steps at most."""
    program = st.lists(operation, min_size=1, max_size=3)
    several = st.lists(program, min_size=2, max_size=3)
    return several.filter(lambda all_of_them: sum(map(nr_steps, all_of_them)) <= size)


programs = of_size(7)
short = of_size(5)
some = st.sets(st.sampled_from(sorted(EVERYTHING)))


def world_of(world, programs, finals, scope, *, is_late):
    """Actors that run their programs on cells and locks; one more answers who asks."""
    if is_late:
        world.allow(STORE_IS_LATE)
    cells = {name: world.cell(name, 0) for name in CELLS}
    locks = {name: world.lock(name) for name in LOCKS}
    box = world.mailbox(BOX)
    world.watch("w", lambda: (cells["w[0]"].key(), cells["w[1]"].key()))

    async def do(saw, what, *arguments):
        if what == "locked":
            name, inside = arguments
            async with locks[name]:
                for each in inside:
                    await do(saw, *each)
            return
        first = cells.get(arguments[0])
        if what == "read":
            saw.append(await first.read())
        elif what == "write":
            await first.write(arguments[1])
        elif what == "add":
            await first.add(1)
        elif what == "cmpxchg":
            saw.append(await first.cmpxchg(expected=arguments[1], value=arguments[2]))
        elif what == "copy":
            second = cells[arguments[1]]
            if is_late:
                await second.write(await first.read())
            elif first is not second:
                await world.step(f"copy {arguments}", reads=(first,), writes=(second,))
                second.value = first.value + 1
        elif what == "sees":
            if await first.read() == arguments[1]:
                await cells[arguments[2]].write(arguments[1] + 1)
        elif what == "scan":
            await world.step("scan", reads=("w",))
            saw.append((cells["w[0]"].key(), cells["w[1]"].key()))
        else:
            saw.append(await box.ask(arguments[0]))

    async def runs(program):
        saw = []
        for each in program:
            await do(saw, *each)
        return tuple(saw)

    async def answers():
        while True:
            request = await box.receive()
            request.reply.send(await cells[request.body].add_return(2))

    actors = [
        world.actor(who, runs, program) for who, program in zip(NAMES, programs, strict=False)
    ]
    if any("ask" in str(program) for program in programs):
        world.actor("server", answers, daemon=True)
    if scope is not None:
        column = {"w"} if {"w[0]", "w[1]"} <= set(scope) else set()
        world.scope(*sorted(scope | column))

    @world.at_end
    def note():
        seen = tuple(actor.result for actor in actors)
        finals.add((tuple(each.value for each in cells.values()), seen))


def ends_of(programs, scope, *, is_late=False):
    """Return all final states that a search finds within a scope, and its verdict."""
    finals = set()
    verdict = search(
        partial(world_of, programs=programs, finals=finals, scope=scope, is_late=is_late),
        options=Options(is_exhaustive=True),
    )
    assert Outcome.EXHAUSTED is verdict.outcome
    return finals, verdict


@settings(max_examples=50)
@given(programs=programs, first=some)
def test_what_is_not_named_may_be_left_out_of_the_scope(programs, first):
    """A scope outside of which nothing is shared finds every final state that no scope finds.

    So does the scope that a verdict proposes, once it has nothing more to propose.
    """
    widening_finds_everything(programs, first)


@settings(max_examples=10)
@given(programs=short, first=some)
def test_so_it_may_where_stores_are_late(programs, first):
    """A store that drains is the storing actor's."""
    widening_finds_everything(programs, first, is_late=True)


def test_who_reads_a_column_finds_its_own_stores_to_it():
    """Whenever they drain: that is no choice outside the scope, for nobody else looks."""
    programs = [[("read", "w[1]")], [("write", "w[0]", 0), ("scan", "w")]]

    widening_finds_everything(programs, set(), is_late=True)


def widening_finds_everything(programs, first, *, is_late=False):
    """Search within ever wider scopes until nothing is shared outside."""
    everything, _ = ends_of(programs, None, is_late=is_late)
    scope = set(first)
    while True:
        found, verdict = ends_of(programs, scope, is_late=is_late)
        assert found <= everything
        if not verdict.outside:
            break
        more = set(verdict.wider_scope) - scope
        assert more
        scope |= more

    assert everything == found


@settings(max_examples=25)
@given(programs=programs)
def test_an_object_that_matters_is_named_when_it_is_left_out(programs):
    """Each alone: final states are lost only where the verdict says so."""
    everything, _ = ends_of(programs, None)
    for name in sorted(EVERYTHING):
        found, verdict = ends_of(programs, EVERYTHING - {name})
        assert found <= everything
        named = [each.name for each in verdict.outside]
        assert found == everything or name.partition("[")[0] in named
