"""How a kernel module's call is done for a program: what it costs, what ends it, on which CPU."""

import errno
from collections.abc import Awaitable, Callable

from mmactors.actors.program.thread import UserThread
from mmactors.actors.slab.caller import printk
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.engine.ipi import call_on
from mmactors.mm.fault.siginfo import OOPS
from mmactors.mm.slab.request import KernelOopsError


async def as_module(
    kernel: Kernel,
    thread: UserThread,
    work: Callable[[], Awaitable[int | None]],
    *,
    may_preempt: bool = True,
) -> int:
    """Do a call and return its result; an oops ends the process.

    `work` returns None where the kernel has died of it elsewhere, and has said so. `may_preempt`:
    its thread may be preempted in a kernel that preempts threads.
    """
    actor = thread.actor
    await kernel.engine.spend(kernel.costs.syscall_ns)
    if may_preempt and kernel.is_preemptible:
        actor.preempt = thread.go_where_told
    try:
        result = await work()
    except KernelOopsError as error:
        printk(kernel, error.lines)
        result = None
    finally:
        actor.preempt = None
    if result is None:
        thread.receive_signal(OOPS)
        return -errno.EFAULT
    return result


async def smp_call_function_single(
    kernel: Kernel, cpu: Cpu, target: Cpu, function: Callable[[Cpu], Awaitable[None]]
) -> None:
    """Let a CPU do something with interrupts off, and wait for it."""
    if target is cpu:
        with target.irqs_off():
            await function(target)
    else:
        await call_on(cpu, (target,), function, vector="CAL", latency_ns=kernel.costs.ipi_ns)
