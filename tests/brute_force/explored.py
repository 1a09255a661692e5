"""All ways in which a program ends, as `mmactors.explore` finds them."""

from brute_force.world import Builder
from hypothesis import assume

from mmactors.explore import Kind
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.strategy.dfs import DepthFirst, Part


def finals(program, make_strategies, *, times=None, cpus=None):
    """Return how the schedules end that strategies run, until they are done or so often."""
    build = Builder(program, cpus=cpus)
    execution = Execution(build)
    while True:
        try:
            return set(_ends(build, execution, make_strategies(), times))
        except BecameVisible:
            continue
        finally:
            execution.close()


def _ends(build, execution, strategies, times):
    """Yield how each schedule ends."""
    for strategy in strategies:
        nr_left = -1 if times is None else times
        while not strategy.is_done and nr_left:
            strategy.run(execution)
            nr_left -= 1
            broken = execution.broken
            assert broken is None or broken.kind is Kind.DEADLOCK, str(broken)
            if execution.is_over or broken is not None:
                yield build.final()


def parts(nr_parts, depth):
    """Return the strategies of a search that is split."""
    return [
        DepthFirst(part=Part(index=index, of=nr_parts, depth=depth)) for index in range(nr_parts)
    ]


def ends_of_world(build, *, names, max_schedules, **how):
    """Return all ways in which actors a0, a1, ... can end, by a depth-first search.

    Of each: whether all came to theirs, what each returned, and what the named objects hold.
    """
    execution = Execution(build)
    strategy = DepthFirst(**how)
    found = set()
    while not strategy.is_done:
        strategy.run(execution)
        assume(strategy.nr_schedules < max_schedules)
        broken = execution.broken
        if execution.is_over or broken is not None:
            assert broken is None or broken.kind is Kind.DEADLOCK, str(broken)
            held = (execution.engine.objects[name].key() for name in names)
            results = (a.result for a in execution.engine.party if a.name.startswith("a"))
            found.add((execution.is_over, tuple(results), *held))
    execution.close()
    return found
