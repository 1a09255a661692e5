"""What the search leaves out changes nothing: random programs, all schedules against fewer."""

from functools import partial

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.strategy.dfs import DepthFirst

CELLS = ("x", "y")
MAX_SCHEDULES = 1500
operations = st.one_of(
    st.tuples(
        st.sampled_from(["read", "inc", "add_return", "get_and_clear"]), st.sampled_from(CELLS)
    ),
    st.tuples(st.sampled_from(["write", "xchg", "cmpxchg"]), st.sampled_from(CELLS)),
    st.tuples(st.sampled_from(["lock", "tell", "choose", "copy"]), st.sampled_from(CELLS)),
    st.tuples(st.just("until"), st.sampled_from(CELLS)),
)
programs = st.lists(st.lists(operations, min_size=1, max_size=3), min_size=2, max_size=3)


def world_of(programs, daemons, world):
    """Each actor does its operations; what it writes depends on what it saw."""
    cells = {name: world.cell(name, 0) for name in CELLS}
    locks = {name: world.lock(f"lock {name}") for name in CELLS}
    box = world.mailbox("box")

    async def does(program, index):
        seen = index
        results = []
        for operation, name in program:
            cell = cells[name]
            match operation:
                case "read":
                    seen = await cell.read()
                case "write":
                    await cell.write(seen + 1)
                case "inc":
                    await cell.inc()
                case "add_return":
                    seen = await cell.add_return(2)
                case "get_and_clear":
                    seen = await cell.get_and_clear()
                case "xchg":
                    seen = await cell.xchg(seen + 3)
                case "cmpxchg":
                    seen = seen + 4 * await cell.cmpxchg(expected=seen, value=seen + 5)
                case "until":
                    seen = await cell.until(bool)
                case "tell":
                    box.tell((index, seen))
                case "choose":
                    seen = await world.choose(f"c{index}", seen, 7)
                case "copy":
                    await world.step("copy", reads=(cells["x"],), writes=(cells["y"],))
                    cells["y"].value = cells["x"].value
                case "lock":
                    async with locks[name]:
                        await cell.write(await cell.read() + 1)
            results.append(seen)
        return results

    async def receives():
        return [await box.receive() for _ in range(2)]

    world.actor("receiver", receives, daemon=True)
    for index, program in enumerate(programs):
        world.actor(f"a{index}", does, program, index, daemon=index < daemons)


def outcomes(build, **how):
    """Return all ways in which the world can end, and the number of schedules."""
    execution = Execution(build)
    while True:
        try:
            return explored(execution, DepthFirst(**how))
        except BecameVisible:
            continue
        finally:
            execution.close()


def explored(execution, search):
    """Let the search end."""
    found = set()
    nr_schedules = 0
    while not search.is_done:
        search.run(execution)
        nr_schedules += 1
        engine = execution.engine
        if execution.is_over or execution.broken is not None:
            found.add(
                (
                    execution.is_over,
                    tuple(str(actor.result) for actor in engine.actors if not actor.daemon),
                    tuple(engine.cells[name].key() for name in CELLS),
                )
            )
        assume(nr_schedules < MAX_SCHEDULES)
    return found, nr_schedules


@settings(max_examples=60)
@given(programs, st.integers(0, 1))
def test_sleep_sets_and_states_keep_every_outcome(programs, daemons):
    """They leave out schedules, never a way to end."""
    if sum(map(len, programs)) > 6:
        programs = programs[:2]
    build = partial(world_of, programs, daemons)
    full, nr_full = outcomes(build, has_sleep_sets=False, has_states=False)
    asleep, nr_asleep = outcomes(build, has_sleep_sets=True, has_states=False)
    states, _ = outcomes(build, has_sleep_sets=False, has_states=True)
    both, nr_both = outcomes(build, has_sleep_sets=True, has_states=True)
    bounded, _ = outcomes(build, bound=20)

    assert full == asleep
    assert full == states
    assert full == both
    assert full == bounded
    assert nr_both <= nr_asleep <= nr_full


@settings(max_examples=30)
@given(programs)
def test_states_keep_every_outcome_within_a_bound(programs):
    """A state is left out only if it was explored with as many preemptions left."""
    build = partial(world_of, programs[:2], 0)
    for bound in (0, 1, 2):
        full, _ = outcomes(build, bound=bound, has_states=False)
        fewer, _ = outcomes(build, bound=bound)

        assert full == fewer
