"""A step of the kernel before which its thread may be preempted (kernel.preempt: full)."""

from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.label import Label


async def preemptible_step(kernel: Kernel, cpu: Cpu, label: Label) -> Cpu:
    """Take a step in a search, for a thread with `preempt`; return the CPU that it is on then."""
    engine = kernel.engine
    actor = engine.current
    assert actor.preempt is not None, "somebody else decides where it goes on"
    await cpu.cond_resched()
    await actor.preempt()
    actor.is_preemptible = True
    await engine.step(label)
    actor.is_preemptible = False
    return kernel.cpus[engine.cpu_index]
