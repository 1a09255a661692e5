"""Moving a machine to its end for a verb: signals, a ticker beside it, and what came of it."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import trio
from attrs import define, frozen

from mmactors.engine.guard import GuardViolation
from mmactors.engine.probe import EventSink
from mmactors.engine.report import ActorCrashed, Deadlock, EngineError, StepBudgetExceeded
from mmactors.engine.schedule import Schedule, ScheduleMismatch
from mmactors.errors import UserError
from mmactors.observe.run_dir import Status
from mmactors.sanitize.finding import SanitizerError
from mmactors.scenario.machine import Machine, Summary
from mmactors.scenario.schema import Scenario

TICK_S: Final = 0.2

_VERDICTS: Final = (
    (Deadlock, "deadlock"),
    (StepBudgetExceeded, "livelock"),
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
    findings: str
    """What sanitizers found, in full; empty if nothing."""
    failure: Exception | None
    wall_s: float


def execute(
    scenario: Scenario,
    *,
    sink: EventSink | None,
    schedule: Schedule | None = None,
    until_ns: int | None = None,
    on_tick: Callable[[Machine], None] | None = None,
) -> Outcome:
    """Build the machine of a scenario and move it to its end, to a time, or until Ctrl-C.

    `on_tick` is called from another thread every TICK_S while it moves. What stops the machine is
    in the outcome; UserError and OSError of what it reads and writes are raised.
    """
    return trio.run(_execute, scenario, sink, schedule, until_ns, on_tick)


async def _execute(
    scenario: Scenario,
    sink: EventSink | None,
    schedule: Schedule | None,
    until_ns: int | None,
    on_tick: Callable[[Machine], None] | None,
) -> Outcome:
    started = time.perf_counter()
    failure: Exception | None = None
    async with Machine(scenario, sink=sink, schedule=schedule) as machine:
        with _interruptible(machine) as interrupt, _ticking(machine, interrupt, on_tick):
            try:
                await machine.run(until_ns=until_ns)
            except (EngineError, GuardViolation, ScheduleMismatch) as error:
                _raise_input_error(error)
                failure = error
        summary = machine.summary()
        status: Status = "complete"
        verdict = summary.verdict
        if failure is not None:
            status, verdict = "failed", verdict_of(failure)
        elif interrupt.has_come and not machine.is_complete:
            status, verdict = "interrupted", "interrupted"
        return Outcome(
            status=status,
            verdict=verdict,
            summary=summary,
            schedule=machine.schedule(),
            proc=machine.proc(),
            findings="\n\n".join(map(str, machine.findings())),
            failure=failure,
            wall_s=time.perf_counter() - started,
        )


def verdict_of(failure: Exception) -> str:
    """Return the word for what stopped a machine."""
    if isinstance(failure, SanitizerError):
        return str(failure.finding.law)
    return next((word for kind, word in _VERDICTS if isinstance(failure, kind)), "failed")


def _raise_input_error(error: BaseException) -> None:
    """Raise the user's own error, such as a damaged trace, that an actor ran into."""
    cause = error.__cause__
    if isinstance(cause, UserError | OSError):
        raise cause


@define(eq=False)
class _Interrupt:
    """Stops the machine at the first signal; the second one is Python's own."""

    machine: Machine
    has_come: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.has_come:
            signal.default_int_handler(number, frame)
        self.has_come = True
        self.machine.stop()


@contextmanager
def _interruptible(machine: Machine) -> Iterator[_Interrupt]:
    interrupt = _Interrupt(machine)
    if threading.current_thread() is not threading.main_thread():
        yield interrupt  # signals belong to the main thread
        return
    previous = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _ticking(
    machine: Machine, interrupt: _Interrupt, on_tick: Callable[[Machine], None] | None
) -> Iterator[None]:
    done = threading.Event()

    def tick() -> None:
        while not done.wait(TICK_S):
            if interrupt.has_come:
                machine.stop()  # again: the machine may have been about to compute its limit
            elif on_tick is not None:
                on_tick(machine)

    thread = threading.Thread(target=tick, name="mmactors ticker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
