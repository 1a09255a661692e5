"""Interrupts of actors come between any two steps: random programs, all interleavings of both.

The reference is an interpreter of its own. An actor is what is left of its program, and of the
handler on top of it. An interrupt may be taken when interrupts are on, also after the last step.
"""

from functools import partial
from itertools import chain

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmactors.explore.execution.execution import Execution
from mmactors.explore.strategy.dfs import DepthFirst

MAX_STATES = 20_000
MAX_SCHEDULES = 4000


def reference_ends(programs, handler, times):
    """Return all ends: what each actor got last, what handlers got, and what the cells hold."""
    begun = tuple((program, None, 0, 0) for program in programs)
    found, known = set(), set()
    todo = [((0, 0), begun, times, ())]
    while todo:
        state = todo.pop()
        if state in known:
            continue
        known.add(state)
        assume(len(known) < MAX_STATES)
        cells, actors, left, handled = state
        if not any(program or above is not None for program, above, _, _ in actors):
            found.add((cells, tuple(seen for _, _, _, seen in actors), handled))
        for me, (program, above, nr_off, seen) in enumerate(actors):

            def moved(cells, actor, left=left, handled=handled, me=me, actors=actors):
                todo.append((cells, (*actors[:me], actor, *actors[me + 1 :]), left, handled))

            if me == 0 and above is None and not nr_off and left:
                moved(cells, (program, (handler, 0), nr_off, seen), left=left - 1)
            if above is not None:
                rest, handler_seen = above
                after, handler_seen, _ = step(rest[0], cells, handler_seen, 0)
                if len(rest) > 1:
                    moved(after, (program, (rest[1:], handler_seen), nr_off, seen))
                else:
                    moved(after, (program, None, nr_off, seen), handled=(*handled, handler_seen))
            elif program:
                after, now_seen, now_off = step(program[0], cells, seen, nr_off)
                moved(after, (program[1:], None, now_off, now_seen))
    return found


def step(operation, cells, seen, nr_off):
    """Return the cells, what was seen, and how often interrupts are off."""
    x, y = cells
    match operation:
        case "read x":
            return cells, x, nr_off
        case "write x":
            return (seen + 1, y), seen, nr_off
        case "read y":
            return cells, y, nr_off
        case "write y":
            return (x, seen + 1), seen, nr_off
        case "off":
            return cells, seen, nr_off + 1
        case _:
            return cells, seen, nr_off - 1


def world_of(programs, handler, times, world):
    cells = {"x": world.cell("x", 0), "y": world.cell("y", 0)}
    handled = []
    world.watch("handled", lambda: tuple(handled))

    async def runs(program):
        seen = 0
        for operation in program:
            what, _, name = operation.partition(" ")
            if what == "read":
                seen = await cells[name].read()
            elif what == "write":
                await cells[name].write(seen + 1)
            elif what == "off":
                await world.local_irq_disable()
            else:
                await world.local_irq_enable()
        return seen

    async def handles():
        handled.append(await runs(handler))

    actors = [world.actor(f"a{me}", runs, program) for me, program in enumerate(programs)]
    world.interrupt("tick", handles, on=actors[0], times=times)


def ends_of(build, **how):
    """Return all ways in which the world can end, as the search finds them."""
    execution = Execution(build)
    strategy = DepthFirst(**how)
    found = set()
    while not strategy.is_done:
        strategy.run(execution)
        assume(strategy.nr_schedules < MAX_SCHEDULES)
        assert execution.broken is None, str(execution.broken)
        if execution.is_over:
            objects = execution.engine.objects
            cells = objects["x"].key(), objects["y"].key()
            results = tuple(actor.result for actor in execution.engine.party)
            found.add((cells, results, objects["handled"].value()))
    execution.close()
    return found


accesses = st.sampled_from(["read x", "write x", "read y", "write y"])
closed = st.lists(accesses, min_size=1, max_size=2).map(lambda inside: ["off", *inside, "on"])
tasks = st.lists(st.one_of(accesses.map(lambda one: [one]), closed), min_size=1, max_size=2)


@settings(max_examples=60)
@given(
    tasks.map(lambda blocks: tuple(chain.from_iterable(blocks))),
    st.lists(accesses, min_size=1, max_size=2).map(tuple),
    st.lists(accesses, min_size=1, max_size=2).map(tuple),
    st.integers(1, 2),
)
def test_every_end_of_the_reference_is_found_and_no_other(task, other, handler, times):
    """With all that the search leaves out, and without."""
    expected = reference_ends((task, other), handler, times)
    build = partial(world_of, (task, other), handler, times)

    assert expected == ends_of(build)
    assert expected == ends_of(build, has_sleep_sets=False)
    assert expected == ends_of(build, bound=20)
