"""Moving a machine to its end for a verb: signals, a ticker beside it, and what came of it."""

import errno
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import trio

from mmactors.engine.probe import EventSink
from mmactors.engine.schedule import Schedule
from mmactors.scenario.machine import Machine
from mmactors.scenario.run.interrupt import Interrupt
from mmactors.scenario.run.outcome import FAILURES, Outcome, outcome_of, raise_input_error
from mmactors.scenario.run.recording import WRITE_OUT_S, Recording
from mmactors.scenario.schema import Scenario

TICK_S: Final = 0.2
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""What ends a run early, and lets it say so."""


def execute(
    scenario: Scenario,
    *,
    sink: EventSink | None,
    interrupt: Interrupt,
    schedule: Schedule | None = None,
    until_ns: int | None = None,
    on_tick: Callable[[Machine], None] | None = None,
    recording: Recording | None = None,
) -> Outcome:
    """Build the machine of a scenario and move it to its end, to a time, or until `interrupt`.

    `on_tick` is called from another thread every TICK_S while it moves; every WRITE_OUT_S
    `recording` is told to write out what has happened. What stops the machine is in the outcome;
    UserError and OSError of what it reads and writes are raised.
    """
    return trio.run(_execute, scenario, sink, interrupt, schedule, until_ns, on_tick, recording)


async def _execute(
    scenario: Scenario,
    sink: EventSink | None,
    interrupt: Interrupt,
    schedule: Schedule | None,
    until_ns: int | None,
    on_tick: Callable[[Machine], None] | None,
    recording: Recording | None,
) -> Outcome:
    started = time.perf_counter()
    failure: Exception | None = None
    async with Machine(scenario, sink=sink, schedule=schedule) as machine:
        interrupt.machine = machine
        with _written_out(machine, recording), _ticking(machine, interrupt, on_tick):
            try:
                if not interrupt.has_come:
                    await machine.run(until_ns=until_ns)
            except FAILURES as error:
                raise_input_error(error)
                failure = error
        return outcome_of(
            machine,
            failure=failure,
            is_interrupted=interrupt.has_come and not machine.is_complete,
            wall_s=time.perf_counter() - started,
        )


@contextmanager
def _written_out(machine: Machine, recording: Recording | None) -> Iterator[None]:
    """Write out what has happened whenever the machine lets others have the thread, and it is due.

    What cannot be written stops the machine, and is raised.
    """
    if recording is None:
        yield
        return
    recording.follow(machine)
    scope = trio.CancelScope()
    unwritten: list[OSError] = []

    async def write_out() -> None:
        with scope:
            while not unwritten:
                await trio.sleep(WRITE_OUT_S)
                try:
                    recording.write_out(machine)
                except OSError as error:
                    unwritten.append(error)
                    machine.stop()

    # A system task: what the machine raises passes by, and is not put into a group.
    trio.lowlevel.spawn_system_task(write_out)
    try:
        yield
    finally:
        scope.cancel()
    if unwritten:
        raise unwritten[0]


@contextmanager
def _ticking(
    machine: Machine, interrupt: Interrupt, on_tick: Callable[[Machine], None] | None
) -> Iterator[None]:
    done = threading.Event()

    def tick() -> None:
        while not done.wait(TICK_S):
            if interrupt.has_come:
                machine.stop()  # again: the machine may have been about to compute its limit
            elif on_tick is not None:
                with suppress(OSError):  # the terminal has gone; the run goes on
                    on_tick(machine)

    thread = threading.Thread(target=tick, name="mmactors ticker", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # The host has as many processes as it may have.
        raise OSError(errno.EAGAIN, str(error), "mmactors ticker") from None
    try:
        yield
    finally:
        done.set()
        thread.join()
