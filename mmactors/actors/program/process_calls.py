"""System calls on processes: fork, kill, wait4, setrlimit (kernel/, Linux 6.1)."""

import errno

from mmactors.actors.program.fork import fork
from mmactors.actors.program.process import Process
from mmactors.actors.program.thread import UserThread
from mmactors.mm.area.rlimit import with_rlimit
from mmactors.mm.fault.siginfo import SIGKILL, FaultSignal
from mmactors.workload.operation import all as op

ProcessOperation = op.Fork | op.Kill | op.Reap | op.Rlimit


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


async def _wait_for_end(thread: UserThread, child: Process) -> None:
    if child is thread.process:
        return  # It ends before it could look.
    await thread.wait_in(child.gone, lambda: child.space is None)
    if child.space is None:
        child.release()


def _set_rlimit(thread: UserThread, call: op.Rlimit) -> int:
    """Set a limit; EINVAL: the interpreter of the recordings knows no such limit."""
    mm = thread.space.mm
    limits = with_rlimit(mm.rlimits, call.name, call.limit)
    if limits is None:
        return -errno.EINVAL
    mm.rlimits = limits
    return 0
