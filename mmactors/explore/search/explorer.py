"""Runs strategies one after the other, each for its share of the budget, and counts.

The order: all schedules without preemption, with one, with two, and a few samples after each of
these that did not come to an end; then all, with sleep sets; and if the budget does not seem to
suffice for those, samples. What of the budget remains goes to the depth-first search again, which
continues where it was.

The first schedules, and then every so many one, are run twice and must do the same.

Whoever has no time left ends within a schedule, too: that one was then not tried.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.look import LOOK_EVERY, SLOW_SECONDS
from mmactors.explore.execution.nondeterminism import run_again
from mmactors.explore.search.budget import Meter, OutOfTime
from mmactors.explore.search.options import Options
from mmactors.explore.search.progress import Reporter
from mmactors.explore.strategy.dfs import DepthFirst
from mmactors.explore.strategy.noise import Noise
from mmactors.explore.strategy.pct import Pct
from mmactors.explore.strategy.pos import PartialOrderSampling
from mmactors.explore.strategy.random_walk import RandomWalk
from mmactors.explore.strategy.strategy import Strategy

BOUNDS: Final = (0, 1, 2)
_BOUNDED_SHARE: Final = (0.02, 0.05, 0.15)
"""When the search with each bound gives up, as a part of the budget."""
_DEPTH_FIRST_SHARE: Final = 0.5
_SAMPLE_SHARE: Final = 0.75
_NR_BOUNDED_EXHAUSTIVE: Final = 1000
"""With no budget at all, each bound gets so many schedules."""
_SAMPLES_A_TURN: Final = 20
_SILENT_SECONDS: Final = 1.0
"""Of the first schedule nobody is told before it takes so long."""

Plan = Iterable[tuple[Strategy, float]]
"""Who explores next, and until which part of the budget is used up."""


class Whistle(Protocol):
    """Says when others have found enough."""

    def is_blown(self, nr_schedules: int) -> bool:
        """Return whether there is nothing to find any more after so many schedules."""


def bounded_plan(options: Options) -> Plan:
    """Return the searches with few preemptions; samples after those that did not come to an end."""
    if options.bound is not None:
        for bound in range(options.bound + 1):
            yield DepthFirst(bound=bound), 0.9
        return
    samplers = _samplers(-1 - options.seed)
    for bound, share in zip(BOUNDS, _BOUNDED_SHARE, strict=True):
        bounded = DepthFirst(bound=bound)
        yield bounded, share
        if not bounded.is_done:
            for sampler in samplers:
                yield sampler, _SAMPLE_SHARE


def rest_plan(
    options: Options, meter: Meter, everything: DepthFirst, *, part: int = 0
) -> Iterator[tuple[Strategy, float]]:
    """Return what comes after: all schedules, and samples; other samples for each part."""
    if options.bound is None:
        yield everything, _DEPTH_FIRST_SHARE
    samplers = _samplers(options.seed * options.jobs + part)
    last = _SAMPLE_SHARE if options.bound is None else 1.0
    while meter.used() < last:
        for sampler in samplers:
            yield sampler, last
    if options.bound is None:
        yield everything, 1.0


def _samplers(seed: int) -> list[Strategy]:
    noise = Noise()
    pct = [Pct(seed, noise, depth=depth) for depth in (1, 2, 3, 4)]
    return [PartialOrderSampling(seed, noise), RandomWalk(seed, noise), *pct]


class Explorer:
    """Explores one world."""

    def __init__(
        self,
        execution: Execution,
        options: Options,
        meter: Meter,
        reporter: Reporter,
        *,
        whistle: Whistle | None = None,
    ) -> None:
        self.execution: Final = execution
        self.options: Final = options
        self.meter: Final = meter
        self.reporter: Final = reporter
        self.by_strategy: Final[Counter[str]] = Counter()
        self.names: Final[dict[str, None]] = {}
        """Objects that the world has, or that steps touched."""
        self.was_unfair = False
        self.was_long = False
        self.endless: Final[dict[str, None]] = {}
        """Who never ended in some schedule, although everybody had turns."""
        self.is_exhausted = False
        """There is no schedule left to be tried."""
        self.bound: int | None = None
        """All schedules with so many preemptions were tried."""
        self.begun: Final[dict[int, DepthFirst]] = {}
        """By bound: the searches that found nothing, so far or at all."""
        self._whistle: Final = whistle
        execution.look_up = self._look_up
        execution.look_every = 1  # Until the first schedule has shown how slow steps are.

    def run(self, plan: Plan) -> str | None:
        """Let all strategies explore; return the name of the one that broke something."""
        for strategy, until in plan:
            strategy.max_steps = self.options.max_steps
            self.reporter.strategy = strategy.name
            try:
                if self._explore(strategy, until):
                    return strategy.name
            except OutOfTime:
                return None
            if isinstance(strategy, DepthFirst) and strategy.bound is not None:
                self.begun[strategy.bound] = strategy
            if isinstance(strategy, DepthFirst) and strategy.is_done:
                if strategy.bound is None or not strategy.was_bounded:
                    self.is_exhausted = True
                    return None
                self.bound = self.reporter.bound = strategy.bound
            if self._is_stopped():
                return None
        return None

    def forget(self) -> None:
        """What was explored so far is void."""
        self.bound = self.reporter.bound = None
        self.is_exhausted = False
        self.begun.clear()
        self.execution.scope.forget()

    def count(self, strategy: str) -> None:
        """Count a schedule."""
        self.meter.nr_schedules += 1
        self.by_strategy[strategy] += 1
        self.reporter.note()

    def note(self) -> None:
        """Take down which objects there are."""
        self.names.update(dict.fromkeys(self.execution.named))
        for step in self.execution.steps:
            self.names.update(dict.fromkeys(name for name, _ in step.touches))

    def _explore(self, strategy: Strategy, until: float) -> bool:
        """Let `strategy` run until it is done, breaks something (True), or has used its share."""
        execution = self.execution
        meter = self.meter
        options = self.options
        is_sampler = not isinstance(strategy, DepthFirst)
        nr_here = 0
        while not strategy.is_done and not self._is_stopped():
            if options.is_exhaustive:
                is_bounded = isinstance(strategy, DepthFirst) and strategy.bound is not None
                if is_sampler or (is_bounded and nr_here >= _NR_BOUNDED_EXHAUSTIVE):
                    break
            elif meter.used() >= until or (is_sampler and nr_here >= _SAMPLES_A_TURN):
                break
            self._run_one(strategy)
            if isinstance(strategy, DepthFirst) and strategy.was_elsewhere:
                continue
            nr_here += 1
            self.count(strategy.name)
            if execution.broken is not None:
                self.note()
                return True
            if execution.fair_from is not None:
                self.was_unfair = True
                self.was_long |= execution.is_long or bool(execution.endless)
                self.endless.update(dict.fromkeys(execution.endless))
            elif execution.is_run_twice:
                self.note()
                run_again(execution)
        return False

    def _run_one(self, strategy: Strategy) -> None:
        """Let `strategy` run one schedule; where steps are slow, look at the clock after each."""
        execution, options = self.execution, self.options
        number = self.meter.nr_schedules + 1
        execution.is_run_twice = (
            number <= options.twice_first or number % options.twice_every == 1 % options.twice_every
        )
        if execution.look_every > 1:
            strategy.run(execution)
            return
        began = options.clock()
        strategy.run(execution)
        if options.clock() - began < SLOW_SECONDS * len(execution.steps):
            execution.look_every = LOOK_EVERY

    def _is_stopped(self) -> bool:
        meter = self.meter
        return meter.stopped_by is not None or (
            self._whistle is not None and self._whistle.is_blown(meter.nr_schedules)
        )

    def _look_up(self) -> None:
        """Look at the clock within a schedule; raise OutOfTime if it has to end."""
        self.meter.look_up()
        if self.by_strategy or self.meter.seconds > _SILENT_SECONDS:
            self.reporter.note()
        if self._whistle is not None and self._whistle.is_blown(self.meter.nr_schedules):
            raise OutOfTime
