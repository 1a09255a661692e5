"""All ways in which a program ends, as `mmactors.explore` finds them."""

from brute_force.world import Builder

from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.strategy.dfs import DepthFirst, Part


def finals(program, make_strategies, *, times=None):
    """Return how the schedules end that strategies run, until they are done or so often."""
    build = Builder(program)
    execution = Execution(build)
    try:
        while True:
            try:
                return _finals(execution, build, make_strategies, -1 if times is None else times)
            except BecameVisible:
                continue
    finally:
        execution.close()


def _finals(execution, build, make_strategies, times):
    found = set()
    for strategy in make_strategies():
        nr_left = times
        while not strategy.is_done and nr_left:
            strategy.run(execution)
            nr_left -= 1
            if execution.is_over or execution.broken is not None:
                assert _is_clean(execution), str(execution.broken)
                found.add(build.final())
    return found


def _is_clean(execution):
    """Return whether nothing but a deadlock broke."""
    broken = execution.broken
    return broken is None or broken.kind.name == "DEADLOCK"


def parts(nr_parts, depth):
    """Return the strategies of a search that is split."""
    return [
        DepthFirst(part=Part(index=index, of=nr_parts, depth=depth)) for index in range(nr_parts)
    ]
