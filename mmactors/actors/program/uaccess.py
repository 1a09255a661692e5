"""The kernel reading a program's memory with the program's translations (lib/iov_iter.c, 6.1).

An access of the kernel goes through the TLB as one of the program does. It may fault, and then the
fault is served like the program's own, but ends with EFAULT where the program would get a signal.
Inside `copy_from_user_atomic` no fault is served. Left out: that these accesses are made in kernel
mode, what a trap costs whose fault is not served, the bytes behind the first of each page.
"""

from typing import Final

import numpy as np

from mmactors.actors.fault.fault import PF_USER, handle_page_fault, tell_fixup
from mmactors.actors.program.thread import UserThread
from mmactors.actors.program.user_access import run_access, run_and_tell
from mmactors.arch.trace import LOAD
from mmactors.hw.hardware import (
    ELAPSED_NS,
    ERROR_CODE,
    FAULT,
    FAULT_ADDRESS,
    NO_LIMIT_NS,
    REASON,
    STALE,
)
from mmactors.workload.touch import page_trace

_ONE_PAGE: Final = np.zeros(1, np.int64)


async def fault_in_readable(thread: UserThread, address: int) -> bool:
    """Read a byte, and fault its page in if need be; False: it cannot be read."""
    process = thread.process
    space = process.space
    assert space is not None, f"{thread.name} has no address space"
    stop = process.kernel.hardware.stop
    while not await _read(thread, address):
        error_code = stop[ERROR_CODE] & ~PF_USER
        signal = await handle_page_fault(
            process.kernel, thread.cpu, space, stop[FAULT_ADDRESS], error_code
        )
        if signal is not None:
            return False
    return True


async def copy_from_user_atomic(thread: UserThread, address: int) -> bool:
    """Read a byte of a page with faults disabled; False: it is not there."""
    is_read = await _read(thread, address)
    kernel = thread.process.kernel
    if not is_read and kernel.probe.on:
        stop = kernel.hardware.stop
        tell_fixup(kernel, thread.cpu, stop[FAULT_ADDRESS], stop[ERROR_CODE] & ~PF_USER)
    return is_read


async def _read(thread: UserThread, address: int) -> bool:
    """Read a byte of a page; False: the access has trapped."""
    space = thread.process.space
    assert space is not None, f"{thread.name} has no address space"
    kernel = thread.process.kernel
    cpu = thread.cpu
    trace = page_trace(address, _ONE_PAGE, LOAD)
    stop = kernel.hardware.stop
    while True:
        if kernel.engine.is_exploring:
            await run_access(kernel, space, cpu, trace, 0)
        elif kernel.checks is not None and kernel.checks.wants_accesses:
            await run_and_tell(kernel, space, cpu, trace, 0, NO_LIMIT_NS)
        else:
            kernel.hardware.run(cpu.index, trace, 0, now_ns=cpu.clock.now)
        if stop[REASON] != STALE:
            break
        assert kernel.checks is not None, "somebody watches translations"
        kernel.checks.stale_translation(cpu.index)
    cpu.clock.now += stop[ELAPSED_NS]
    return stop[REASON] != FAULT
