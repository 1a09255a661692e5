"""From the parts of the model to the values that the machine-wide /proc texts are made of."""

from collections.abc import Callable, Sequence
from functools import partial

from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.engine.cpu_times import cpu_usage
from mmactors.engine.lock.lock_stat import LockSideStatistics
from mmactors.mm.page_alloc.layout import MemoryLayout
from mmactors.observe.proc.cpu import CpuTimes, Stat, interrupts, stat
from mmactors.observe.proc.link import Link
from mmactors.observe.proc.lock_stat import LockClassStats, LockSide, LockTime, lock_stat
from mmactors.observe.proc.of_memory import memory_files
from mmactors.observe.proc.of_system import system_files
from mmactors.observe.proc.sysctl import sysctls
from mmactors.observe.proc.system import loadavg, uptime


def machine_texts(
    kernel: Kernel, layout: MemoryLayout, processes: Sequence[Process]
) -> dict[str, str]:
    """Return the machine-wide files of /proc by their paths there; some are links."""
    files = machine_files(kernel, layout, processes)
    return {name: make() for name, make in files.items()}


def machine_files(
    kernel: Kernel, layout: MemoryLayout, processes: Sequence[Process]
) -> dict[str, Callable[[], str]]:
    """Return what makes the text of each machine-wide file, by its path below /proc."""

    first_pid = processes[0].pid if processes else 0
    return {
        **memory_files(kernel, layout),
        **layout.boot_texts,
        "interrupts": lambda: _interrupts_of(kernel.cpus),
        "stat": lambda: stat(_stat_of(kernel, processes)),
        "lock_stat": lambda: lock_stat(_lock_classes(kernel)),
        "uptime": lambda: _uptime_of(kernel),
        "loadavg": lambda: _loadavg_of(kernel, processes),
        **system_files(kernel),
        **{f"sys/{name}": partial(str, text) for name, text in sysctls(kernel).items()},
        "self": lambda: Link(str(first_pid)),
        "thread-self": lambda: Link(f"{first_pid}/task/{first_pid}"),
    }


def _uptime_of(kernel: Kernel) -> str:
    now_ns = kernel.engine.now_ns
    idle_ns = sum(_times_of(cpu, now_ns).idle_ns for cpu in kernel.cpus)
    return uptime(uptime_ns=now_ns, idle_ns=idle_ns)


def _loadavg_of(kernel: Kernel, processes: Sequence[Process]) -> str:
    return loadavg(
        nr_running=sum(cpu.nr_running(kernel.engine.now_ns) for cpu in kernel.cpus),
        nr_threads=sum(process.nr_live_threads for process in processes),
        last_pid=processes[0].table.last_pid if processes else 0,
    )


def _interrupts_of(cpus: Sequence[Cpu]) -> str:
    vectors = sorted({vector for cpu in cpus for vector in cpu.interrupts})
    counts = {vector: tuple(cpu.interrupts[vector] for cpu in cpus) for vector in vectors}
    # A flush is a function that is called on the CPU: it is counted as both (irq_tlb_count).
    counts["CAL"] = tuple(cpu.interrupts["CAL"] + cpu.interrupts["TLB"] for cpu in cpus)
    return interrupts(counts, nr_cpus=len(cpus))


def _stat_of(kernel: Kernel, processes: Sequence[Process]) -> Stat:
    """Return what show_stat reads (fs/proc/stat.c).

    Each thread was a fork (total_forks). A flush of another CPU's TLB is one call of a function on
    it, which counts as such (arch_irq_stat_cpu).
    """
    cpus, now_ns = kernel.cpus, kernel.engine.now_ns
    return Stat(
        cpus=tuple(_times_of(cpu, now_ns) for cpu in cpus),
        nr_interrupts=sum(sum(cpu.interrupts.values()) for cpu in cpus),
        context_switches=sum(cpu.context_switches for cpu in cpus),
        processes=sum(len(process.tasks) for process in processes),
        procs_running=sum(cpu.nr_running(now_ns) for cpu in cpus),
        procs_blocked=sum(cpu.nr_iowait for cpu in cpus),
    )


def _times_of(cpu: Cpu, now_ns: int) -> CpuTimes:
    usage = cpu_usage(cpu, now_ns)
    return CpuTimes(
        user_ns=usage.user_ns,
        system_ns=usage.system_ns,
        idle_ns=usage.idle_ns,
        iowait_ns=usage.iowait_ns,
        irq_ns=usage.irq_ns,
    )


def _lock_classes(kernel: Kernel) -> list[LockClassStats]:
    return [
        LockClassStats(name=one.name, write=_side(one.write), read=_side(one.read))
        for one in kernel.locks.statistics()
    ]


def _side(side: LockSideStatistics) -> LockSide:
    return LockSide(
        wait=LockTime(
            nr=side.contentions,
            min_ns=side.waittime_min_ns,
            max_ns=side.waittime_max_ns,
            total_ns=side.waittime_total_ns,
        ),
        hold=LockTime(
            nr=side.acquisitions,
            min_ns=side.holdtime_min_ns,
            max_ns=side.holdtime_max_ns,
            total_ns=side.holdtime_total_ns,
        ),
        contended_bounces=side.con_bounces,
        acquired_bounces=side.acq_bounces,
    )
