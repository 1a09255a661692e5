"""One search in several host processes, with a result that does not depend on their speed.

The tree of choices is cut at a depth at which it has enough branches; branch i belongs to process
i modulo their number. Each process explores its branches, and then draws samples of its own, as if
it were alone: what it finds after how many schedules is a function of the world, the options and
its number. The failure that counts is the one found after the fewest schedules, of the process with
the lowest number if there are several; what others did beyond that is not counted. Only a budget
of seconds leaves anything to chance.

Above the cut no state is left out for having been seen, so that all processes number the branches
alike. Below it each knows only the states that it saw itself: the sum of the schedules is larger
than that of one process.

Processes go by what is left of the budget. Ctrl-C and SIGTERM are for the first process: it lets
the others end with what they have, and stops those that do not. None outlives it.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from attrs import evolve, frozen

from mmactors.engine.report import EngineError
from mmactors.errors import Place, Problem, UserError
from mmactors.explore.execution.broken import Broken
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.execution.nondeterminism import Nondeterminism
from mmactors.explore.execution.script import Script, entries
from mmactors.explore.search.budget import Budget, Meter, OutOfTime
from mmactors.explore.search.explorer import Explorer, rest_plan
from mmactors.explore.search.progress import Progress, Reporter
from mmactors.explore.strategy.dfs import DepthFirst, Part

_BRANCHES_PER_JOB: Final = 16
_MAX_DEPTH: Final = 12
_CUT_SHARE: Final = 0.1
"""Finding out where to cut takes at most this part of the budget."""
_NEVER: Final = 1 << 62
_POLL_SECONDS: Final = 0.1
_MAX_POLLS: Final = 20
"""So often is looked whether processes that have to end have ended."""


@frozen(kw_only=True)
class FoundInPart:
    """What a process found."""

    script: Script
    broken: Broken
    found_by: str


@frozen(kw_only=True)
class _Result:
    """What came of one process."""

    nr_by_strategy: tuple[tuple[str, int], ...]
    """Who ran how many schedules, in this order."""
    found: FoundInPart | None = None
    is_exhausted: bool = False
    was_unfair: bool = False
    was_long: bool = False
    endless: tuple[str, ...] = ()
    is_keyed: bool = True
    names: tuple[str, ...] = ()
    met: frozenset[str] = frozenset()
    outside: Any = None
    loud: frozenset[tuple[str, str]] = frozenset()
    """Code that became visible: all has to begin again."""
    unrepeatable: str | None = None
    error: str | None = None
    ended_by: int | None = None
    """The number of the signal that ended the process; nothing is known of what it found."""

    @property
    def nr_schedules(self) -> int:
        return sum(number for _, number in self.nr_by_strategy)


class _Whistle:
    """Lets all processes stop at the schedule after which one has found something."""

    def __init__(self, context: Any) -> None:
        self._at: Final = context.Value("q", _NEVER)

    def blow(self, nr_schedules: int) -> None:
        """Stop those that have run so many."""
        with self._at.get_lock():
            self._at.value = min(self._at.value, nr_schedules)

    def is_blown(self, nr_schedules: int) -> bool:
        """Return whether others have found something by then."""
        return bool(nr_schedules >= self._at.value)


def run_parts(explorer: Explorer) -> FoundInPart | None:
    """Search what `explorer` has left to search; note in it what came out."""
    jobs = explorer.options.jobs
    depth = _depth_of_cut(explorer)
    meter = explorer.meter
    if meter.stopped_by is not None or (not meter.is_exhaustive and meter.used() >= 1.0):
        return None
    running: dict[Connection, Any] = {}
    try:
        whistle, counts = _start(explorer, depth, running)
        results = _gather(explorer, dict(running), whistle, counts)
    finally:
        for _, process in running.values():
            process.terminate()  # Only if one did not end, or something went wrong here.
    return _merge(explorer, [results[index] for index in range(jobs)])


def _start(explorer: Explorer, depth: int, running: dict[Connection, Any]) -> tuple[_Whistle, Any]:
    """Start all processes, and note them in `running`; raise UserError if the host has no more."""
    jobs = explorer.options.jobs
    context = multiprocessing.get_context("fork")
    try:
        whistle = _Whistle(context)
        counts = context.Array("q", jobs, lock=False)
        for index in range(jobs):
            ours, theirs = context.Pipe(duplex=False)
            part = Part(index=index, of=jobs, depth=depth)
            process = context.Process(
                target=_work,
                args=(explorer, part, whistle, counts, theirs, os.getpid()),
                daemon=True,
            )
            process.start()
            theirs.close()
            running[ours] = (index, process)
    except OSError as error:
        raise UserError(
            Problem(
                place=Place("jobs"),
                found=f"of {jobs} processes {len(running)} could be started: {error.strerror}",
                legal="expected processes, open files and shared memory (/dev/shm) for all",
                advice="search with fewer jobs, or raise the limits (ulimit -u, ulimit -n)",
            )
        ) from None
    explorer.reporter.strategy = f"{jobs} processes"
    return whistle, counts


def _depth_of_cut(explorer: Explorer) -> int:
    """Return the least depth at which there are branches enough for all, as far as time allows."""
    meter = explorer.meter
    left = meter.left()
    nr_probes = 0
    depth = 0
    nr_branches = 0
    ends_at = meter.seconds + _CUT_SHARE * (_NEVER if left.seconds is None else left.seconds)
    max_probes = _CUT_SHARE * (_NEVER if left.schedules is None else left.schedules)
    while nr_branches < explorer.options.jobs * _BRANCHES_PER_JOB and depth < _MAX_DEPTH:
        probe = DepthFirst(part=Part(index=-1, of=1, depth=depth + 1))
        probe.max_steps = explorer.options.max_steps
        while not probe.is_done:
            nr_probes += 1
            is_late = nr_probes > max_probes or meter.seconds > ends_at
            if is_late and not meter.is_exhaustive:
                return depth
            try:
                probe.run(explorer.execution)
            except OutOfTime:
                return depth
        depth += 1
        nr_branches = probe.nr_branches
        if nr_branches == 0:
            break  # No schedule is that long.
    return depth


def _gather(
    explorer: Explorer, running: dict[Connection, Any], whistle: _Whistle, counts: Any
) -> dict[int, _Result]:
    """Return what comes of all processes; whoever interrupts gets what they have."""
    results: dict[int, _Result] = {}
    nr_polls = 0
    while running:
        for connection in wait(list(running), timeout=_POLL_SECONDS):
            assert isinstance(connection, Connection), f"{connection} is no pipe"
            index, process = running.pop(connection)
            try:
                results[index] = connection.recv()
            except EOFError:
                results[index] = _without_a_word(process, is_stopping=nr_polls > 0)
            process.join()
        explorer.reporter.note(sum(counts))
        if explorer.meter.stopped_by is not None:
            whistle.blow(0)
            nr_polls += 1
            if nr_polls > _MAX_POLLS:
                cut = _Result(nr_by_strategy=())
                results.update((index, cut) for index, _ in running.values())
                break
    return results


def _without_a_word(process: Any, *, is_stopping: bool) -> _Result:
    process.join()
    if is_stopping:
        return _Result(nr_by_strategy=())
    if process.exitcode < 0:
        return _Result(nr_by_strategy=(), ended_by=-process.exitcode)
    return _Result(nr_by_strategy=(), error="it ended without a word")


def _work(
    explorer: Explorer,
    part: Part,
    whistle: _Whistle,
    counts: Any,
    connection: Connection,
    parent: int,
) -> None:
    """Do one part; this runs in a process of its own, and ends if `parent` does, however early."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The terminal sends it to all.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def tell(progress: Progress) -> None:
        counts[part.index] = progress.nr_schedules
        if os.getppid() != parent:
            os._exit(1)  # Nobody waits for what is found here.

    connection.send(_explore_part(explorer, part, whistle, tell))
    connection.close()


def _explore_part(
    explorer: Explorer, part: Part, whistle: _Whistle, tell: Callable[[Progress], None]
) -> _Result:
    execution = explorer.execution
    options = explorer.options
    share = _share(explorer.meter, options.jobs)
    meter = Meter(share, is_exhaustive=options.is_exhaustive, clock=options.clock)
    own = Explorer(
        execution,
        options,
        meter,
        Reporter(tell, meter),
        whistle=whistle,
    )
    known = execution.loud.names.copy()
    try:
        everything = DepthFirst(part=part)
        found_by = own.run(rest_plan(options, own.meter, everything, part=part.index))
    except BecameVisible:
        return _Result(nr_by_strategy=(), loud=frozenset(execution.loud.names - known))
    except Nondeterminism as error:
        return _Result(nr_by_strategy=(), unrepeatable=str(error))
    except Exception:  # noqa: BLE001 - it is raised again where somebody sees it
        return _Result(nr_by_strategy=(), error=traceback.format_exc())
    found = None
    if found_by is not None:
        whistle.blow(own.meter.nr_schedules)
        broken = execution.broken
        assert broken is not None, f"{found_by} found nothing"
        found = FoundInPart(
            script=entries(execution), broken=evolve(broken, cause=None), found_by=found_by
        )
    return _Result(
        nr_by_strategy=tuple(own.by_strategy.items()),
        found=found,
        is_exhausted=own.is_exhausted,
        was_unfair=own.was_unfair,
        was_long=own.was_long,
        endless=tuple(own.endless),
        is_keyed=execution.is_keyed,
        names=tuple(own.names),
        met=frozenset(execution.met),
        outside=execution.scope.outside,
    )


def _share(meter: Meter, jobs: int) -> Budget:
    """Return what is left of the budget for each process."""
    left = meter.left()
    return evolve(left, schedules=None if left.schedules is None else left.schedules // jobs)


def _merge(explorer: Explorer, results: list[_Result]) -> FoundInPart | None:
    """Note what came of all parts; return the failure that counts."""
    execution = explorer.execution
    loud = frozenset[tuple[str, str]]().union(*(result.loud for result in results))
    if loud:
        execution.loud.take_over(loud)
    for index, result in enumerate(results):
        if result.ended_by is not None:
            raise UserError(_ended_by(index, result.ended_by))
        if result.error is not None:
            raise EngineError(f"search process {index} failed: {result.error}")
        if result.unrepeatable is not None:
            raise Nondeterminism(result.unrepeatable)
    found = [result for result in results if result.found is not None]
    first = min(found, key=lambda result: result.nr_schedules, default=None)
    limit = _NEVER if first is None else first.nr_schedules
    for result in results:
        left = limit
        for strategy, number in result.nr_by_strategy:
            counted = min(number, left)
            left -= counted
            explorer.meter.nr_schedules += counted
            explorer.by_strategy[strategy] += counted
        explorer.was_unfair |= result.was_unfair
        explorer.was_long |= result.was_long
        explorer.endless.update(dict.fromkeys(result.endless))
        explorer.names.update(dict.fromkeys(result.names))
        execution.met.update(result.met)
        execution.scope.merge(result.outside)
        execution.is_keyed &= result.is_keyed
    explorer.is_exhausted = all(result.is_exhausted for result in results)
    return None if first is None else first.found


def _ended_by(index: int, number: int) -> Problem:
    return Problem(
        place=Place("jobs"),
        found=f"search process {index} was ended by signal {number}, {signal.strsignal(number)}",
        legal="expected all to come to their end",
        advice="the host may have run out of memory: search with fewer jobs, or raise its limits",
    )
