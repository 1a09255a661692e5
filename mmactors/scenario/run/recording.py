"""A run that writes its run directory: the log while it runs, the rest when it has ended."""

import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import attrs

from mmactors.engine.schedule import GrowingText
from mmactors.errors import Place, Problem, UserError
from mmactors.observe.log import EventLog, LineFile
from mmactors.observe.run_dir import EVENTS, FINDINGS, SCHEDULE, SERIES, TRACEBACK, RunDir
from mmactors.observe.run_meta import Status
from mmactors.own_files import GrowingFile
from mmactors.scenario.dump import dump_scenario
from mmactors.scenario.machine import Machine, fingerprint_of_scenario
from mmactors.scenario.run.outcome import Outcome
from mmactors.scenario.schema import Scenario

WRITE_OUT_S: Final = 0.2
"""So often is written out what has happened."""


class Recording:
    """A context manager around one run; whoever moves the machine says `finish` inside it.

    What cannot be written is the user's error. A run that is left without `finish` has failed, or
    was interrupted. The schedule is written before the events that it explains.
    """

    def __init__(self, scenario: Scenario, run_dir: RunDir, *, command: Sequence[str]) -> None:
        self.run_dir: Final = run_dir
        self.log: EventLog | None = None
        """None: nothing is to be recorded."""
        self._file: LineFile | None = None
        self._schedule: GrowingFile | None = None
        self._growing: Final = GrowingText(fingerprint_of_scenario(scenario))
        self._scenario: Final = scenario
        self._command: Final = command

    def __enter__(self) -> Self:
        scenario, folder = self._scenario, self.run_dir.folder
        try:
            if scenario.record.events:
                self._file = LineFile(folder.new_file(EVENTS))
                self.log = EventLog(self._file, scenario.record.events)
                self._file.write_out()
                self._file.before = self._write_schedule
            self._schedule = GrowingFile(folder.new_file(SCHEDULE))
            self._schedule.append(self._growing.head.encode())
            self.run_dir.start(
                scenario=dump_scenario(scenario), seed=scenario.engine.seed, command=self._command
            )
        except OSError as error:
            self._fail(error)
        return self

    def follow(self, machine: Machine) -> None:
        """Take down the interleaving of a machine that has not moved yet."""
        self._growing.recorder = machine.recorder

    def write_out(self, machine: Machine) -> None:
        """Write out what has happened so far, while the machine stands between two steps."""
        machine.flush()
        if self._file is not None:
            self._file.write_out()
        self._write_schedule()

    def _write_schedule(self) -> None:
        lines = self._growing.more()
        if lines and self._schedule is not None:
            self._schedule.append(lines.encode())

    def finish(self, outcome: Outcome) -> None:
        """Write what came of the run."""
        if self.log is not None:
            self.log.close()
        run_dir, failure = self.run_dir, outcome.failure
        if failure is not None and failure.__cause__ is not None:
            run_dir.write(TRACEBACK, "".join(traceback.format_exception(failure)))
        if outcome.findings:
            run_dir.write(FINDINGS, f"{outcome.findings}\n")
        if outcome.series is not None:
            run_dir.write_parts(SERIES, (f"{line}\n" for line in outcome.series.lines()))
        if outcome.texts:
            run_dir.write_texts(outcome.texts)
        run_dir.finish(
            outcome.status,
            summary={**attrs.asdict(outcome.summary), "verdict": outcome.verdict},
            schedule=str(outcome.schedule),
            proc=outcome.proc,
            sysfs=outcome.sysfs,
            heaps=outcome.heaps,
            wall_s=outcome.wall_s,
            error=None if failure is None else str(failure),
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        try:
            if self.log is not None:
                self.log.close()
            if isinstance(error, OSError):
                self._fail(error)
            if error is not None:
                status: Status = "interrupted" if kind is KeyboardInterrupt else "failed"
                self.run_dir.try_set_status(status, error=str(error) or type(error).__name__)
        except OSError as unwritten:
            self._fail(unwritten)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._schedule is not None:
            with suppress(OSError):  # It was replaced; what it had to say was flushed before.
                self._schedule.close()
        self.run_dir.close()

    def _fail(self, error: OSError) -> None:
        self.run_dir.try_set_status("failed", error=str(error))
        raise UserError(_unwritable(self.run_dir.path, error)) from None

    @property
    def nr_logged(self) -> int | None:
        """How many events were recorded; None: nothing was to be recorded."""
        return None if self.log is None else self.log.nr_recorded


def _unwritable(path: Path, error: OSError) -> Problem:
    return Problem(
        place=Place(str(error.filename or path)),
        found=error.strerror or type(error).__name__,
        legal="expected to be able to write the run directory and to read its inputs",
        advice="make room, or name another directory with --out DIR",
    )
