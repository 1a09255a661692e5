"""The search: several strategies under one budget, and one verdict.

What failed before is tried first. Then the strategies explore (`explorer`), in several processes if
that is wanted (`jobs`). What fails is shrunk, printed and kept.
"""

from typing import Final

from mmactors.explore.execution.broken import Broken
from mmactors.explore.execution.execution import THE_END, Build, Execution
from mmactors.explore.execution.host import asks_host
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.execution.nondeterminism import Nondeterminism
from mmactors.explore.execution.script import (
    Script,
    decode,
    encode,
    entries,
    fingerprint,
    fit,
    guide,
    play_settled,
)
from mmactors.explore.report.pasted import pasted_test
from mmactors.explore.report.rows import rows_of
from mmactors.explore.report.story import Story
from mmactors.explore.report.teller import teller_of
from mmactors.explore.search.budget import Meter
from mmactors.explore.search.explorer import Explorer, bounded_plan, rest_plan
from mmactors.explore.search.jobs import run_parts
from mmactors.explore.search.options import Options
from mmactors.explore.search.progress import Reporter
from mmactors.explore.search.shrink import Shrinker, Shrunk
from mmactors.explore.search.store import Store
from mmactors.explore.search.verdict import Failure, Outcome, Verdict
from mmactors.explore.strategy.dfs import DepthFirst


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
        reporter = Reporter(options.on_progress)
        self._explorer: Final = Explorer(self._execution, options, self._meter, reporter)
        self._store: Final = None if options.store is None else Store(options.store, name)

    def run(self) -> Verdict:
        """Search until something breaks, all is explored, or the budget is used up."""
        try:
            while True:
                try:
                    return self._run()
                except BecameVisible:
                    self._explorer.forget()
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
        play_settled(execution, script, max_steps=max_steps)
        self._explorer.count("the given schedule")
        self._explorer.note()
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
        self._refuse_host()
        kept = self._try_kept()
        if kept is not None:
            return self._failed(kept, "kept from an earlier search")
        explorer = self._explorer
        options = self._options
        found_by = explorer.run(bounded_plan(options))
        is_split = options.jobs > 1 and options.bound is None
        if found_by is None and not explorer.is_exhausted:
            if is_split:
                return self._run_parts()
            found_by = explorer.run(rest_plan(options, self._meter, DepthFirst()))
        if found_by is not None:
            broken = self._execution.broken
            assert broken is not None, f"{found_by} found nothing"
            return self._failed(broken, found_by)
        return self._verdict(self._outcome(is_exhausted=explorer.is_exhausted), None)

    def _run_parts(self) -> Verdict:
        """Let several processes search the rest."""
        found = run_parts(self._explorer)
        if found is None:
            return self._verdict(self._outcome(is_exhausted=self._explorer.is_exhausted), None)
        guide(self._execution, found.script, max_steps=self._options.max_steps)
        broken = self._execution.broken
        if broken is None or not broken.is_like(found.broken):
            raise Nondeterminism.unrepeatable(found.broken)
        return self._failed(broken, found.found_by)

    def _outcome(self, *, is_exhausted: bool) -> Outcome:
        explorer = self._explorer
        if is_exhausted:
            return Outcome.BOUNDED if explorer.was_long else Outcome.EXHAUSTED
        return Outcome.SAMPLED if explorer.bound is None else Outcome.BOUNDED

    def _refuse_host(self) -> None:
        """Raise Nondeterminism if the code of the world asks for what the host decides."""
        self._execution.begin()
        asks = asks_host(self._build, self._execution)
        if asks is not None:
            raise Nondeterminism.by_host(asks)

    def _try_kept(self) -> Broken | None:
        """Try what failed before; forget what is of another program and fails no more."""
        if self._store is None:
            return None
        execution = self._execution
        fingerprint = self._fingerprint()
        for kept in self._store.load():
            guide(execution, kept.script, max_steps=self._options.max_steps)
            self._explorer.count("kept schedules")
            if execution.broken is not None:
                self._explorer.note()
                return execution.broken
            if kept.fingerprint != fingerprint:
                self._store.drop(kept)
        return None

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
        shrinker = Shrinker(
            self._execution,
            max_steps=self._options.max_steps,
            begun=self._explorer.begun,
        )
        found = shrinker.shrink(entries(self._execution), broken)
        failure = self._failure(found, found_by, at_schedule)
        if self._store is not None:
            self._store.keep(failure.replay, failure.report)
        return self._verdict(Outcome.FAILED, failure)

    def _failure(self, found: Shrunk, found_by: str, at_schedule: int) -> Failure:
        execution = self._execution
        teller = teller_of(self._build)
        rows, lanes = rows_of(execution, found.script, teller, max_steps=self._options.max_steps)
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
            story=Story(
                broken=broken,
                text=teller.prose(broken.text),
                rows=tuple(rows),
                lanes=tuple(lanes),
                nr_preemptions=found.nr_preemptions,
                is_least=found.is_least,
            ),
            scripted_test=pasted_test(self._build, found.script, broken),
        )

    def _verdict(self, outcome: Outcome, failure: Failure | None) -> Verdict:
        execution = self._execution
        given = execution.scope.names
        names = (
            [name for name in self._explorer.names if name != THE_END] if given is None else given
        )
        return Verdict(
            name=self._name,
            outcome=outcome,
            nr_schedules=self._meter.nr_schedules,
            nr_by_strategy=dict(self._explorer.by_strategy),
            seconds=self._meter.seconds,
            scope=tuple(name for name in names if f"{name}[" not in "".join(names)),
            outside=execution.scope.shared_outside(),
            bound=self._explorer.bound,
            max_steps=self._options.max_steps if self._explorer.was_long else None,
            endless=tuple(self._explorer.endless),
            missed=tuple(goal for goal in execution.world.goals if goal not in execution.met),
            was_unfair=self._explorer.was_unfair,
            failure=failure,
        )
