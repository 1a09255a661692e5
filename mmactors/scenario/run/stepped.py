"""A machine that is moved by plain calls: from a script, a notebook's cell, a debugger.

It needs no event loop and starts none, so it works inside one that runs already. The inline driver
moves it, which gives the same log as every other.
"""

import signal
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from numbers import Integral
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

from attrs import field, frozen

from mmactors.actors.program.proc_paths import ReadText
from mmactors.errors import Place, Problem, UserError
from mmactors.observe.counters.series import Series
from mmactors.observe.inspection import Inspection
from mmactors.observe.inspection.table import html_table
from mmactors.observe.run_dir import EVENTS, create_run_dir
from mmactors.observe.run_meta import Status
from mmactors.sanitize.finding import Finding
from mmactors.scenario.death import Death, ExpectedDeath
from mmactors.scenario.machine import Machine, Progress, Summary
from mmactors.scenario.run.interrupt import interruptible
from mmactors.scenario.run.outcome import FAILURES, Outcome, outcome_of, raise_input_error
from mmactors.scenario.run.recording import WRITE_OUT_S, Recording
from mmactors.scenario.schema import Expectation, Scenario
from mmactors.units import format_ns


@frozen(kw_only=True)
class Expected:
    """One line of `expect`, and whether it holds."""

    expectation: str
    value: int | None
    """None: the machine has no such counter, or the line is not of one."""
    holds: bool


@frozen(kw_only=True)
class Result:
    """What came of a run. It does not change when anything else does."""

    verdict: str
    """`ok`, or what does not hold: `died`, `expectation failed`, a law, `deadlock`, `crash`."""
    status: Status
    """`complete`, `interrupted` (it was stopped before its end), or `failed`."""
    seed: int
    now_ns: int
    """Virtual time at the end."""
    accesses: int
    faults: int
    switches: int
    """How often the baton was given."""
    messages: int
    deaths: tuple[Death, ...]
    """Whom a signal ended, in order of time; those expected, too."""
    expectations: tuple[Expected, ...]
    findings: tuple[Finding, ...] = field(repr=False)
    """What sanitizers found."""
    failure: Exception | None
    """What stopped the machine, such as a Deadlock."""
    counters: Mapping[str, int] = field(repr=False)
    """All by name: `pgfault`, `cpu[1].pgfault`, `process[a].min_flt` (docs/counters.md)."""
    series: Series | None = field(repr=False)
    """Samples of counters, if the scenario has `record: {sample: ...}`."""
    proc: Mapping[str, str] = field(repr=False)
    """/proc: relative path to text."""
    sysfs: Mapping[str, str] = field(repr=False)
    """/sys, by relative path: `kernel/slab.txt` has the files of caches that have slabs."""
    texts: tuple[ReadText, ...] = field(repr=False)
    """What programs read of /proc and /sys (`get`, `snap`), in the order in which they did."""
    schedule: str = field(repr=False)
    """The interleaving, as `schedule.txt` of a run directory has it."""
    run_dir: Path | None
    """None: nothing was to be written."""
    events_path: Path | None
    """The event log; None: there is none."""
    wall_s: float

    @property
    def is_ok(self) -> bool:
        """Whether it came to its end and everything holds."""
        return self.status == "complete" and self.verdict == "ok"

    def _repr_html_(self) -> str:
        rows = [
            ("seed", str(self.seed)),
            ("virtual time", format_ns(self.now_ns)),
            ("accesses", str(self.accesses)),
            ("faults", str(self.faults)),
            *((death.who, f"died {death.how}") for death in self.deaths),
            *((each.expectation, _word(each))
              for each in self.expectations),
            *((finding.head, f"t={finding.t_ns} ns") for finding in self.findings),
        ]  # fmt: skip
        return html_table((self.verdict, ""), rows)


class SteppedMachine:
    """A machine that moves while `run` is called. Close it, or use it as a context manager.

    After it was closed it can still be asked. What stops it, such as a Deadlock, is raised by
    `run` and stands in `result()`.
    """

    def __init__(self, scenario: Scenario, *, out: Path | None = None, force: bool = False) -> None:
        self.scenario: Final = scenario
        self._is_open = True
        self._failure: Exception | None = None
        self._wall_s = 0.0
        with ExitStack() as stack:
            recording = (
                None if out is None else stack.enter_context(_recording(scenario, out, force=force))
            )
            sink = None if recording is None else recording.log
            self._machine: Final = Machine(scenario, sink=sink)
            self._recording: Final = recording
            if recording is not None:
                recording.follow(self._machine)
            self._at_close: Final = stack.pop_all()
        # A notebook forgets machines: their coroutines are closed with them.
        self._let_go: Final = weakref.finalize(self, self._machine.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, *, until_ns: int | None = None) -> None:
        """Move the machine to its end, or to a virtual time; raise what stops it.

        Ctrl-C lets it stand still between two steps and is raised then: it can be moved on.
        """
        assert self._is_open, "the machine was closed"
        until_ns = _time_of(until_ns)
        began_s = time.perf_counter()
        try:
            with interruptible((signal.SIGINT,)) as interrupt:
                interrupt.machine = self._machine
                self._machine.run_inline(until_ns=until_ns, between=self._between())
            if self._recording is not None:
                self._recording.write_out(self._machine)
        except FAILURES as error:
            self._failure = error
            raise_input_error(error)
            raise
        except OSError as error:  # What has happened cannot be written out.
            self._failure = error
            raise
        finally:
            self._wall_s += time.perf_counter() - began_s
        if interrupt.has_come:
            raise KeyboardInterrupt

    def _between(self) -> Callable[[], None] | None:
        """Return what writes out now and then what has happened; None: nothing is written."""
        recording, machine = self._recording, self._machine
        if recording is None:
            return None
        due_s = time.monotonic() + WRITE_OUT_S

        def write_out() -> None:
            nonlocal due_s
            if time.monotonic() >= due_s:
                recording.write_out(machine)
                due_s = time.monotonic() + WRITE_OUT_S

        return write_out

    def close(self) -> None:
        """Let go of what runs, and write the run directory, if one is wanted. Twice is allowed."""
        if not self._is_open:
            return
        self._is_open = False
        self._let_go()
        with self._at_close:
            if self._recording is not None:
                self._recording.finish(self._outcome())

    def inspect(self) -> Inspection:
        """Return the machine as it is now, to look inside."""
        return self._machine.inspect()

    def proc(self) -> dict[str, str]:
        """Return /proc: relative path to text. Processes that have ended are as just before."""
        return self._machine.proc()

    def sysfs(self) -> dict[str, str]:
        """Return what there is of /sys: `kernel/slab.txt`, lines of `CACHE/FILE:TEXT`."""
        return self._machine.sysfs()

    def texts(self) -> tuple[ReadText, ...]:
        """Return what programs have read of /proc and /sys so far (`get`, `snap`)."""
        return self._machine.texts()

    def counters(self) -> dict[str, int]:
        """Return every counter by name: `pgfault`, `cpu[1].pgfault`, `process[a].min_flt`."""
        return self._machine.counters()

    def series(self) -> Series | None:
        """Return the samples of counters so far; None: the scenario asks for none."""
        return self._machine.series()

    def progress(self) -> Progress:
        """Return how far the machine has come."""
        return self._machine.progress()

    def findings(self) -> tuple[Finding, ...]:
        """Return what the sanitizers have found."""
        return self._machine.findings()

    @property
    def now_ns(self) -> int:
        """Virtual time."""
        return self._machine.now_ns

    @property
    def is_complete(self) -> bool:
        """Whether all programs have ended."""
        return self._machine.is_complete

    def result(self) -> Result:
        """Return what came of the machine so far."""
        outcome = self._outcome()
        summary, recording = outcome.summary, self._recording
        counters = summary.counters
        run_dir = None if recording is None else recording.run_dir.path
        has_log = recording is not None and recording.log is not None
        return Result(
            verdict=outcome.verdict,
            status=outcome.status,
            seed=summary.seed,
            now_ns=summary.now_ns,
            accesses=summary.accesses,
            faults=summary.faults,
            switches=summary.switches,
            messages=summary.messages,
            deaths=summary.deaths,
            expectations=tuple(self._expected(each, summary) for each in self.scenario.expect),
            findings=self._machine.findings(),
            failure=outcome.failure,
            counters=MappingProxyType(counters),
            series=outcome.series,
            proc=MappingProxyType(outcome.proc),
            sysfs=MappingProxyType(outcome.sysfs),
            texts=outcome.texts,
            schedule=str(outcome.schedule),
            run_dir=run_dir,
            events_path=run_dir / EVENTS if run_dir is not None and has_log else None,
            wall_s=outcome.wall_s,
        )

    def _expected(self, line: Expectation | ExpectedDeath, summary: Summary) -> Expected:
        lack = self._machine.lack(line, summary.counters, summary.deaths)
        return Expected(
            expectation=str(line),
            value=summary.counters.get(line.counter) if isinstance(line, Expectation) else None,
            holds=lack is None,
        )

    def _outcome(self) -> Outcome:
        return outcome_of(
            self._machine,
            failure=self._failure,
            is_interrupted=not self._machine.is_complete,
            wall_s=self._wall_s,
        )


def _time_of(until_ns: object) -> int | None:
    if until_ns is None:
        return None
    if isinstance(until_ns, Integral):
        return int(until_ns)
    raise UserError(
        Problem(
            place=Place("until_ns"),
            found=f"a value of the type {type(until_ns).__name__}",
            legal="expected a virtual time in nanoseconds, a whole number",
            advice="leave it out to go on to the end",
        )
    )


def _word(expected: Expected) -> str:
    if expected.holds:
        return "holds"
    return "no" if expected.value is None else f"no: {expected.value}"


def _recording(scenario: Scenario, out: Path, *, force: bool) -> Recording:
    run_dir = create_run_dir(out=out, name="run", force=force)
    return Recording(scenario, run_dir, command=["mmactors.machine"])
