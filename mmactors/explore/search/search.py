"""The search: several strategies under one budget, and one verdict.

What failed before is tried first. Then the strategies explore (`explorer`), in several processes if
that is wanted (`jobs`). What fails is kept, shrunk, kept again and printed. Whoever interrupts a
search gets the verdict reached until then.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import evolve

from mmactors.engine.report import witnessed
from mmactors.explore.execution.broken import is_of_test
from mmactors.explore.execution.execution import THE_END, Build, Execution
from mmactors.explore.execution.host import asks_host
from mmactors.explore.execution.law_reads import read_after_each_step
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
from mmactors.explore.search.budget import Meter, OutOfTime
from mmactors.explore.search.collecting import old_set_aside
from mmactors.explore.search.explorer import Explorer, bounded_plan, rest_plan
from mmactors.explore.search.interruption import Interruption, name_of
from mmactors.explore.search.jobs import run_parts
from mmactors.explore.search.options import Options
from mmactors.explore.search.progress import Reporter
from mmactors.explore.search.shrink import Shrinker, Shrunk
from mmactors.explore.search.store import Figures, Kept, Store
from mmactors.explore.search.verdict import Failure, Outcome, Verdict
from mmactors.explore.strategy.dfs import DepthFirst
from mmactors.explore.world.question import must_check_asserts
from mmactors.plain_text import plain_lines


def search(build: Build, *, name: str | None = None, options: Options | None = None) -> Verdict:
    """Explore the interleavings of the world that `build(world)` makes.

    Ctrl-C and SIGTERM end it with the verdict reached; see `Options.on_interrupt`.
    """
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
        must_check_asserts()
        self._name: Final = name
        self._options: Final = options
        self._execution = Execution(build, scope=options.scope)
        self._build: Final = build
        self._meter: Final = Meter(
            options.budget, is_exhaustive=options.is_exhaustive, clock=options.clock
        )
        self._reporter: Final = Reporter(options.on_progress, self._meter)
        self._explorer: Final = Explorer(self._execution, options, self._meter, self._reporter)
        self._store: Final = None if options.store is None else Store(options.store, name)
        self._written: Final[set[Path]] = set()
        """What this search has kept itself: it may begin again while it makes that simpler."""

    def run(self) -> Verdict:
        """Search until something breaks, all is explored, or the budget is used up."""
        with Interruption(self._meter.stop) as interruption, old_set_aside():
            try:
                self._prepare()
                verdict = self._guarded(self._run)
            finally:
                self._execution.close()
        if interruption.caught is not None:
            on_interrupt = self._options.on_interrupt
            if on_interrupt is not None:
                on_interrupt(verdict, interruption.caught)
            else:
                sys.stderr.write(plain_lines(f"{verdict.name}: {verdict}\n"))
            interruption.raise_again()
        return verdict

    def _prepare(self) -> None:
        """Let a machine come to its race; the budget is for what comes after."""
        prepare = getattr(self._build, "prepare", None)
        if prepare is not None:
            prepare(self._execution.engine)
        self._meter.start()

    def replay(self, text: str) -> Verdict:
        """Play one schedule of the text form."""
        given, script = decode(text)

        def run() -> Verdict:
            fit(given, self._fingerprint())
            return self._play(script)

        return self._whole(run)

    def play(self, script: Script) -> Verdict:
        """Play one schedule."""
        return self._whole(lambda: self._play(script))

    def _whole(self, run: Callable[[], Verdict]) -> Verdict:
        """Run what plays a schedule that is given: it is never cut."""
        self._execution.look_up = self._reporter.note
        return self._guarded(run)

    def _guarded(self, run: Callable[[], Verdict]) -> Verdict:
        """Run; see every error that an actor hides, and leave nothing behind."""
        execution = self._execution
        execution.conduct.attend()
        leftovers = execution.conduct.leftovers
        with leftovers.watched(), witnessed(execution.engine.note_offence):
            try:
                while True:
                    try:
                        verdict = run()
                        execution.close()
                        leftovers.check_all()
                    except BecameVisible:
                        self._explorer.forget()
                    else:
                        return verdict
            finally:
                execution.close()

    def _play(self, script: Script) -> Verdict:
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
        try:
            self._refuse_host()
            kept = self._try_kept()
        except OutOfTime:
            kept = None
        if kept is not None:
            return kept
        explorer = self._explorer
        options = self._options
        self._execution.conduct.begin_search()
        found_by = explorer.run(bounded_plan(options))
        is_split = options.jobs > 1 and options.bound is None
        if found_by is None and not explorer.is_exhausted:
            if is_split:
                return self._run_parts()
            found_by = explorer.run(rest_plan(options, self._meter, DepthFirst()))
        if found_by is not None:
            return self._failed(found_by)
        return self._verdict(self._outcome(is_exhausted=explorer.is_exhausted), None)

    def _run_parts(self) -> Verdict:
        """Let several processes search the rest."""
        found = run_parts(self._explorer)
        if found is None:
            return self._verdict(self._outcome(is_exhausted=self._explorer.is_exhausted), None)
        self._execution.look_up = self._reporter.note  # What is found is never cut.
        guide(self._execution, found.script, max_steps=self._options.max_steps)
        broken = self._execution.broken
        if broken is None or not broken.is_like(found.broken):
            raise Nondeterminism.unrepeatable(found.broken)
        return self._failed(found.found_by)

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

    def _try_kept(self) -> Verdict | None:
        """Try what failed before; forget what is of another program.

        A schedule of another program is a hint at most: what fails like it is this program's.
        """
        if self._store is None:
            return None
        execution = self._execution
        all_kept = self._store.load()
        own = self._fingerprint() if all_kept else ""
        for kept in all_kept:
            guide(execution, kept.script, max_steps=self._options.max_steps)
            found_here = kept.figures if kept.path in self._written else None
            self._explorer.count(found_here.found_by if found_here else "kept schedules")
            self._explorer.note()
            is_own = kept.fingerprint == own
            if not is_own:
                self._store.drop(kept.path)
            broken = execution.broken
            if broken is not None and not is_of_test(broken.cause, is_first=True):
                if found_here is not None:
                    return self._failed(found_here.found_by, at_schedule=found_here.at_schedule)
                if not is_own:
                    return self._failed("a schedule kept of another program")
                figures = kept.figures
                if figures is not None and entries(execution) != kept.script:
                    # Not all is known yet that is a step: what was made simple is so no more.
                    figures = evolve(figures, is_shrunk=False)
                kept_so = evolve(kept, figures=figures)
                return self._failed("kept from an earlier search", kept=kept_so)
        return None

    def _fingerprint(self) -> str:
        while True:
            try:
                self._execution.begin()
            except BecameVisible:
                continue
            return fingerprint(self._build, self._execution)

    # -- what came out -----------------------------------------------------------------------------

    def _failed(
        self, found_by: str, *, kept: Kept | None = None, at_schedule: int | None = None
    ) -> Verdict:
        """Keep what just failed, and make it as simple as it can be.

        `at_schedule`: None says that it was the last one.
        """
        execution = self._execution
        broken = execution.broken
        assert broken is not None, f"{found_by} found nothing"
        script = entries(execution)
        store = self._store
        figures = None if kept is None else kept.figures
        if at_schedule is None:
            at_schedule = self._meter.nr_schedules
        if figures is None:
            figures = Figures(
                nr_preemptions=0,
                is_least=False,
                is_shrunk=False,
                found_by=found_by,
                at_schedule=at_schedule,
            )
        first = None if kept is None else kept.path
        if store is not None and kept is None:
            text = encode(script, fingerprint(self._build, execution))
            first = store.keep(text, figures, str(broken))
            if first is not None:
                for path in self._written - {first}:
                    store.drop(path)
                self._written.add(first)
        if figures.is_shrunk:
            found = Shrunk(
                script=script,
                broken=broken,
                nr_preemptions=figures.nr_preemptions,
                is_least=figures.is_least,
                cost=(),
            )
        else:
            shrinker = Shrinker(
                execution,
                self._meter,
                self._reporter,
                max_steps=self._options.max_steps,
                begun=self._explorer.begun,
            )
            found = shrinker.shrink(script, broken)
        failure = self._failure(found, found_by, at_schedule, earlier=_earlier(kept))
        if store is not None and not figures.is_shrunk:
            figures = evolve(
                figures,
                nr_preemptions=found.nr_preemptions,
                is_least=found.is_least,
                is_shrunk=not found.is_cut,
            )
            told = store.keep(failure.replay, figures, failure.report)
            if first is not None and told is not None and told != first:
                store.drop(first)
        return self._verdict(Outcome.FAILED, failure)

    def _failure(
        self, found: Shrunk, found_by: str, at_schedule: int, *, earlier: str | None = None
    ) -> Failure:
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
            not_kept=None if self._store is None else self._store.trouble,
            earlier=earlier,
            is_cut=found.is_cut,
        )

    def _verdict(self, outcome: Outcome, failure: Failure | None) -> Verdict:
        execution = self._execution
        if failure is None:
            is_exhausted = outcome is Outcome.EXHAUSTED
            execution.scope.must_name_objects(self._explorer.names, is_exhausted=is_exhausted)
        given = execution.scope.names
        names = (
            [name for name in self._explorer.names if name != THE_END] if given is None else given
        )
        shared = execution.conduct.shared()
        if shared and outcome is not Outcome.FAILED:
            outcome = Outcome.SAMPLED  # Every order of what it sees, and that is not all.
        meter = self._meter
        has_room = not meter.is_exhaustive or meter.used_at_most() <= 1.0
        stopped_by = meter.stopped_by
        return Verdict(
            name=self._name,
            outcome=outcome,
            shared=shared,
            nr_schedules=self._meter.nr_schedules,
            nr_by_strategy=dict(self._explorer.by_strategy),
            seconds=self._meter.seconds,
            scope=tuple(name for name in names if f"{name}[" not in "".join(names)),
            outside=execution.scope.shared_outside(read_after_each_step(execution.world)),
            bound=self._explorer.bound,
            max_steps=self._options.max_steps if self._explorer.was_long else None,
            endless=tuple(self._explorer.endless),
            missed=tuple(goal for goal in execution.world.goals if goal not in execution.met),
            was_unfair=self._explorer.was_unfair,
            failure=failure,
            interrupted_by=None if stopped_by is None else name_of(stopped_by),
            went_beyond=None if has_room else meter.budget,
        )


def _earlier(kept: Kept | None) -> str | None:
    """Return how an earlier search found a schedule that it kept; empty: nobody knows any more."""
    if kept is None:
        return None
    figures = kept.figures
    return (
        ""
        if figures is None
        else f"found by {figures.found_by} in schedule {figures.at_schedule:,}"
    )
