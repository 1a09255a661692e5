"""Moving a machine to its end for a verb: signals, a ticker beside it, and what came of it."""

import errno
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from mmactors.engine.probe import EventSink
from mmactors.engine.schedule import Schedule
from mmactors.scenario.machine import Machine
from mmactors.scenario.run.interrupt import Interrupt, interruptible
from mmactors.scenario.run.outcome import FAILURES, Outcome, outcome_of, raise_input_error
from mmactors.scenario.schema import Scenario

TICK_S: Final = 0.2
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


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
        with (
            interruptible(machine, _SIGNALS) as interrupt,
            _ticking(machine, interrupt, on_tick),
        ):
            try:
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
def _ticking(
    machine: Machine, interrupt: Interrupt, on_tick: Callable[[Machine], None] | None
) -> Iterator[None]:
    done = threading.Event()

    def tick() -> None:
        while not done.wait(TICK_S):
            if interrupt.has_come:
                machine.stop()  # again: the machine may have been about to compute its limit
            elif on_tick is not None:
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
