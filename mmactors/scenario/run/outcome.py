"""What came of moving a machine, whoever moved it."""

from typing import Final

from attrs import frozen

from mmactors.actors.program.proc_paths import ReadText
from mmactors.engine.guard import GuardViolation
from mmactors.engine.lock.lock_stat import LockClassStatistics
from mmactors.engine.report import ActorCrashed, Deadlock, EngineError, StepBudgetExceeded, TimeIsUp
from mmactors.engine.schedule import Schedule, ScheduleMismatch
from mmactors.errors import UserError
from mmactors.observe.counters.series import Series
from mmactors.observe.run_meta import Status
from mmactors.sanitize.finding import SanitizerError
from mmactors.scenario.machine import Machine, Summary

FAILURES: Final = (EngineError, GuardViolation, ScheduleMismatch)
"""What stops a machine and is told in its outcome."""

_VERDICTS: Final = (
    (Deadlock, "deadlock"),
    (StepBudgetExceeded, "livelock"),
    (TimeIsUp, "time is up"),
    (ScheduleMismatch, "the schedule does not fit"),
    (GuardViolation, "guard violation"),
    (ActorCrashed, "crash"),
)


@frozen(kw_only=True)
class Outcome:
    """What came of moving a machine."""

    status: Status
    verdict: str
    summary: Summary
    schedule: Schedule
    proc: dict[str, str]
    sysfs: dict[str, str]
    heaps: dict[str, str]
    """What is to be said of programs' heaps, by pid and name; empty: none called its library."""
    texts: tuple[ReadText, ...]
    """What programs read of /proc and /sys."""
    series: Series | None
    """Samples of counters; None: the scenario asks for none."""
    locks: tuple[LockClassStatistics, ...]
    """What locks cost, by class."""
    findings: str
    """What sanitizers found, in full; empty if nothing."""
    failure: Exception | None
    wall_s: float


def outcome_of(
    machine: Machine, *, failure: Exception | None, is_interrupted: bool, wall_s: float
) -> Outcome:
    """Return what came of a machine that stands still, `failure` being what stopped it."""
    summary = machine.summary()
    status: Status = "complete"
    verdict = summary.verdict
    if failure is not None:
        status, verdict = "failed", verdict_of(failure)
    elif is_interrupted:
        status, verdict = "interrupted", "interrupted"
    return Outcome(
        status=status,
        verdict=verdict,
        summary=summary,
        schedule=machine.schedule(),
        proc=machine.proc(),
        sysfs=machine.sysfs(),
        heaps=machine.heaps(),
        texts=machine.texts(),
        series=machine.series(),
        locks=machine.lock_statistics(),
        findings="\n\n".join(map(str, machine.findings())),
        failure=failure,
        wall_s=wall_s,
    )


def verdict_of(failure: Exception) -> str:
    """Return the word for what stopped a machine."""
    if isinstance(failure, SanitizerError):
        return str(failure.finding.law)
    return next((word for kind, word in _VERDICTS if isinstance(failure, kind)), "failed")


def raise_input_error(error: BaseException) -> None:
    """Raise the user's own error, such as a damaged trace, that an actor ran into."""
    cause = error.__cause__
    if isinstance(cause, UserError | OSError):
        raise cause
