"""Signals to a thread: the log's event, and what is kept of one that ends it (kernel/signal.c)."""

from mmactors.actors.program.process import Thread
from mmactors.actors.state.fatal_signal import FatalSignal
from mmactors.events import SignalGenerate
from mmactors.mm.fault.siginfo import SIGKILL, FaultSignal


def tell_signal(thread: Thread, signal: FaultSignal) -> None:
    """Emit that a signal was sent to a thread; one to a process that is ending is ignored."""
    process = thread.process
    probe = process.kernel.probe
    if probe.on:
        is_dying = thread.task.fatal_signal_pending or process.killed_by is not None
        probe.emit(
            SignalGenerate(
                sig=signal.number,
                errno=0,
                code=signal.code,
                comm=thread.comm,
                task_pid=thread.tid,
                group=int(signal.number == SIGKILL),
                result=int(is_dying),
                address=signal.address,
            )
        )


def fatal_signal(
    thread: Thread, signal: FaultSignal, *, killer: str | None, message: str | None
) -> FatalSignal:
    """Return what is kept of a signal to a thread that ends its process."""
    process = thread.process
    cause = thread.actor if killer is None else process.kernel.engine.current
    return FatalSignal(
        pid=process.pid,
        process=process.label,
        thread=thread.comm,
        cpu=thread.cpu.index,
        t_ns=cause.clock.now,
        signal=signal,
        program=process.family.root.comm,
        operation=cause.doing,
        index=process.place_in_program(cause.doing),
        killer=killer,
        message=message,
    )
