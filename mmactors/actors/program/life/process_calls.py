"""System calls on processes: fork, kill, wait4, setrlimit, affinity (kernel/, Linux 6.1)."""

import errno
from typing import Final

from mmactors.actors.program.life.fork import fork
from mmactors.actors.program.process import Process
from mmactors.actors.program.thread import UserThread
from mmactors.engine.cpu import Cpu
from mmactors.engine.ipi import call_on
from mmactors.label import Label, Mode
from mmactors.mm.area.rlimit import with_rlimit
from mmactors.mm.fault.siginfo import SIGKILL, FaultSignal
from mmactors.workload.operation import all as op

_RESCHED: Final = "RES"
"""The row of /proc/interrupts."""
ProcessOperation = op.Fork | op.Kill | op.Reap | op.Rlimit | op.SchedSetaffinity


async def perform_process_call(thread: UserThread, call: ProcessOperation) -> int:
    """Do one call and return its result."""
    match call:
        case op.Fork(child=name):
            return await fork(thread, name)
        case op.Kill(child=name):
            return await _kill(thread, name)
        case op.Reap():
            return await _reap(thread)
        case op.Rlimit():
            return _set_rlimit(thread, call)
        case op.SchedSetaffinity(thread=name, cpu=cpu):
            return await _set_affinity(thread, name, cpu)


async def _kill(thread: UserThread, name: str) -> int:
    """Send SIGKILL to a child and wait for its end; ESRCH: it has ended."""
    leader = thread.process.family.members.child(name)
    if leader is None or leader.must_end:
        return -errno.ESRCH
    signal = FaultSignal(number=SIGKILL, code=0, address=0)
    leader.receive_signal(signal, killer=thread.comm)
    await _wait_for_end(thread, leader.process)
    return 0


async def _reap(thread: UserThread) -> int:
    """Wait until the children that are about to end have ended."""
    for child in thread.process.family.children:
        if child.leader.must_end:
            await _wait_for_end(thread, child)
    return 0


async def _set_affinity(thread: UserThread, name: str, number: int) -> int:
    """Let a thread go on on another CPU, from its next operation on or where it is preempted.

    One that runs is interrupted to know it (set_cpus_allowed_ptr, which waits until it has gone).
    """
    other = thread.process.family.members.living(name)
    if other is None:
        return -errno.ESRCH
    assert isinstance(other, UserThread), f"{other} is no thread of a program"
    kernel = thread.process.kernel
    cpu = kernel.cpus[number]
    if other is thread:
        await thread.migrate(cpu)
        return 0

    async def resched(_: Cpu) -> None:
        other.moves_to = cpu

    here: Cpu | None = None
    while here is not other.cpu:
        here = other.cpu
        await kernel.engine.step(Label(f"let {name} migrate", ((here.name, Mode.WRITE),)))
    if here.current is other.actor:
        latency_ns = kernel.costs.ipi_ns
        await call_on(thread.cpu, (here,), resched, vector=_RESCHED, latency_ns=latency_ns)
    else:
        await resched(here)
    return 0


async def _wait_for_end(thread: UserThread, child: Process) -> None:
    if child is thread.process:
        return  # It ends before it could look.
    await thread.wait_in(child.gone, lambda: child.space is None)
    if child.space is None:
        await child.release()


def _set_rlimit(thread: UserThread, call: op.Rlimit) -> int:
    """Set a limit; EINVAL: the interpreter of the recordings knows no such limit."""
    mm = thread.space.mm
    limits = with_rlimit(mm.rlimits, call.name, call.limit)
    if limits is None:
        return -errno.EINVAL
    mm.rlimits = limits
    return 0
