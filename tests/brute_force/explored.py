"""All ways in which a program ends, as `mmactors.explore` finds them."""

from brute_force.world import Builder

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
