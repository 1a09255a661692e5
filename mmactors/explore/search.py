"""The search: several strategies under one budget, and one verdict.

What failed before is tried first. Then come all schedules without preemption, with one, with two;
then all schedules, with sleep sets; and if the budget does not seem to suffice for those, samples.
What of the budget remains goes to the depth-first search again, which continues where it was.

Every so many schedules one is run twice and must do the same.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

from mmactors.explore.broken import Broken
from mmactors.explore.budget import Budget, Meter
from mmactors.explore.dfs import DepthFirst
from mmactors.explore.execution import THE_END, BecameVisible, Build, Execution
from mmactors.explore.nondeterminism import Nondeterminism, run_again
from mmactors.explore.pct import Pct
from mmactors.explore.pos import PartialOrderSampling
from mmactors.explore.progress import Progress, Reporter
from mmactors.explore.random_walk import RandomWalk
from mmactors.explore.report import explain, rows_of, scripted_test
from mmactors.explore.script import (
    Script,
    arguments,
    decode,
    encode,
    entries,
    fingerprint,
    fit,
    guide,
    play,
)
from mmactors.explore.shrink import Shrinker, Shrunk
from mmactors.explore.store import Store
from mmactors.explore.strategy import Strategy
from mmactors.explore.verdict import Failure, Outcome, Verdict

BOUNDS: Final = (0, 1, 2)
_BOUNDED_SHARE: Final = (0.05, 0.1, 0.2)
"""When the search with each bound gives up, as a part of the budget."""
_DEPTH_FIRST_SHARE: Final = 0.5
_SAMPLE_SHARE: Final = 0.75
_NR_BOUNDED_EXHAUSTIVE: Final = 1000
"""With no budget at all, each bound gets so many schedules."""
_SAMPLES_A_TURN: Final = 20


@frozen(kw_only=True)
class Options:
    """How a search is done."""

    scope: tuple[str, ...] | None = None
    """Only steps on these objects are choice points; None: what the world says, else all."""
    budget: Budget = Budget(schedules=20_000)
    bound: int | None = None
    """Look only at schedules with at most so many preemptions, then sample."""
    seed: int = 0
    is_exhaustive: bool = False
    """Go on, whatever the budget, until every schedule was tried."""
    max_steps: int = 1000
    """A schedule that is longer is ended in turns."""
    twice_every: int = 100
    """Every so many schedules one is run twice."""
    store: Path | None = None
    """Where failing schedules are kept; None: nowhere."""
    on_progress: Callable[[Progress], None] | None = None
    """Called now and then while schedules are run."""


def search(build: Build, *, name: str | None = None, options: Options | None = None) -> Verdict:
    """Explore the interleavings of the world that `build(world)` makes."""
    if name is None:
        name = getattr(build, "__name__", None) or getattr(build, "func", build).__name__
    return Search(build, name, options if options is not None else Options()).run()


def replay(
    build: Build, text: str, *, name: str = "replay", options: Options | None = None
) -> Verdict:
    """Play the schedule that a failure printed; refuse one of another program."""
    return Search(build, name, options if options is not None else Options()).replay(text)


def play_script(build: Build, script: Script, *, name: str, options: Options) -> Verdict:
    """Play a schedule given as its entries."""
    return Search(build, name, options).play(script)


class Search:
    """One search."""

    def __init__(self, build: Build, name: str, options: Options) -> None:
        self._name: Final = name
        self._options: Final = options
        self._execution = Execution(build, scope=options.scope)
        self._build: Final = build
        self._meter: Final = Meter(options.budget)
        self._reporter: Final = Reporter(options.on_progress)
        self._by_strategy: Final[Counter[str]] = Counter()
        self._store: Final = None if options.store is None else Store(options.store, name)
        self._was_unfair = False
        self._was_long = False
        self._bound: int | None = None
        self._names: Final[dict[str, None]] = {}

    def run(self) -> Verdict:
        """Search until something breaks, all is explored, or the budget is used up."""
        try:
            while True:
                try:
                    return self._run()
                except BecameVisible:
                    self._bound = None  # What was explored so far is void.
        finally:
            self._execution.close()

    def replay(self, text: str) -> Verdict:
        """Play one schedule of the text form."""
        given, script = decode(text)
        fit(given, self._fingerprint())
        return self.play(script)

    def play(self, script: Script) -> Verdict:
        """Play one schedule."""
        execution = self._execution
        max_steps = self._options.max_steps
        while True:
            try:
                play(execution, script, max_steps=max_steps)
                break
            except BecameVisible:
                continue
        self._count("the given schedule")
        self._note()
        broken = execution.broken
        if broken is None:
            return self._verdict(Outcome.SAMPLED, None)
        nr_preemptions = guide(execution, script, max_steps=max_steps)
        found = Shrunk(
            script=script, broken=broken, nr_preemptions=nr_preemptions, is_least=False, cost=()
        )
        return self._verdict(Outcome.FAILED, self._failure(found, "the given schedule", 1))

    # -- the search --------------------------------------------------------------------------------

    def _run(self) -> Verdict:
        kept = self._try_kept()
        if kept is not None:
            return self._failed(kept, "kept from an earlier search")
        everything = DepthFirst()
        for strategy, until in self._plan(everything):
            strategy.max_steps = self._options.max_steps
            broken = self._explore(strategy, until)
            if broken is not None:
                return self._failed(broken, strategy.name)
            if isinstance(strategy, DepthFirst) and strategy.is_done:
                if strategy.bound is None or not strategy.was_bounded:
                    outcome = Outcome.BOUNDED if self._was_long else Outcome.EXHAUSTED
                    return self._verdict(outcome, None)
                self._bound = strategy.bound
        return self._verdict(Outcome.SAMPLED if self._bound is None else Outcome.BOUNDED, None)

    def _plan(self, everything: DepthFirst) -> Iterator[tuple[Strategy, float]]:
        """Return who explores next, and until which part of the budget is used up."""
        options = self._options
        bounds = BOUNDS if options.bound is None else range(options.bound + 1)
        for bound in bounds:
            share = 0.9
            if options.bound is None:
                share = _BOUNDED_SHARE[bound]
            yield DepthFirst(bound=bound), share
        if options.bound is None:
            yield everything, _DEPTH_FIRST_SHARE
        seed = options.seed
        samplers: list[Strategy] = [PartialOrderSampling(seed), RandomWalk(seed)]
        samplers += [Pct(seed, depth=depth) for depth in (1, 2, 3)]
        last = _SAMPLE_SHARE if options.bound is None else 1.0
        while self._meter.used() < last:
            for sampler in samplers:
                yield sampler, last
        if options.bound is None:
            yield everything, 1.0

    def _explore(self, strategy: Strategy, until: float) -> Broken | None:
        """Let `strategy` run until it is done, something breaks, or its share is used up."""
        execution = self._execution
        meter = self._meter
        options = self._options
        is_sampler = not isinstance(strategy, DepthFirst)
        nr_here = 0
        while not strategy.is_done:
            if options.is_exhaustive:
                is_bounded = isinstance(strategy, DepthFirst) and strategy.bound is not None
                if is_sampler or (is_bounded and nr_here >= _NR_BOUNDED_EXHAUSTIVE):
                    break
            elif meter.used() >= until or (is_sampler and nr_here >= _SAMPLES_A_TURN):
                break
            strategy.run(execution)
            nr_here += 1
            self._count(strategy.name)
            if execution.broken is not None:
                self._note()
                return execution.broken
            if execution.fair_from is not None:
                self._was_unfair = True
                self._was_long |= execution.is_long
            elif meter.nr_schedules % options.twice_every == 1 or options.twice_every == 1:
                self._note()
                run_again(execution)
        return None

    def _try_kept(self) -> Broken | None:
        """Try what failed before; forget what is of another program and fails no more."""
        if self._store is None:
            return None
        execution = self._execution
        fingerprint = self._fingerprint()
        for kept in self._store.load():
            guide(execution, kept.script, max_steps=self._options.max_steps)
            self._count("kept schedules")
            if execution.broken is not None:
                self._note()
                return execution.broken
            if kept.fingerprint != fingerprint:
                self._store.drop(kept)
        return None

    def _count(self, strategy: str) -> None:
        self._meter.nr_schedules += 1
        self._by_strategy[strategy] += 1
        self._reporter.note(self._meter.nr_schedules, strategy)

    def _note(self) -> None:
        """Take down which objects there are."""
        self._names.update(dict.fromkeys(self._execution.named))
        for step in self._execution.steps:
            self._names.update(dict.fromkeys(name for name, _ in step.touches))

    def _fingerprint(self) -> str:
        while True:
            try:
                self._execution.begin()
            except BecameVisible:
                continue
            return fingerprint(self._build, self._execution)

    # -- what came out -----------------------------------------------------------------------------

    def _failed(self, broken: Broken, found_by: str) -> Verdict:
        at_schedule = self._meter.nr_schedules
        shrinker = Shrinker(self._execution, max_steps=self._options.max_steps)
        found = shrinker.shrink(entries(self._execution), broken)
        failure = self._failure(found, found_by, at_schedule)
        if self._store is not None:
            self._store.keep(failure.replay, failure.report)
        return self._verdict(Outcome.FAILED, failure)

    def _failure(self, found: Shrunk, found_by: str, at_schedule: int) -> Failure:
        execution = self._execution
        rows = rows_of(execution, found.script, max_steps=self._options.max_steps)
        actors = [actor.name for actor in execution.engine.party]
        broken = execution.broken
        if broken is None:
            raise Nondeterminism.unrepeatable(found.broken)
        return Failure(
            broken=broken,
            script=found.script,
            nr_preemptions=found.nr_preemptions,
            is_least=found.is_least,
            found_by=found_by,
            at_schedule=at_schedule,
            replay=encode(found.script, fingerprint(self._build, execution)),
            report=explain(
                rows,
                actors,
                broken,
                nr_preemptions=found.nr_preemptions,
                is_least=found.is_least,
            ),
            scripted_test=scripted_test(self._name, found.script, broken, arguments(self._build)),
        )

    def _verdict(self, outcome: Outcome, failure: Failure | None) -> Verdict:
        execution = self._execution
        given = execution.scope.names
        names = [name for name in self._names if name != THE_END] if given is None else given
        return Verdict(
            name=self._name,
            outcome=outcome,
            nr_schedules=self._meter.nr_schedules,
            nr_by_strategy=dict(self._by_strategy),
            seconds=self._meter.seconds,
            scope=tuple(name for name in names if f"{name}[" not in "".join(names)),
            outside=execution.scope.shared_outside(),
            bound=self._bound,
            max_steps=self._options.max_steps if self._was_long else None,
            missed=execution.goals_missed(),
            was_unfair=self._was_unfair,
            failure=failure,
        )
