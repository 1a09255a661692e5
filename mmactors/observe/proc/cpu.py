"""The machine-wide files of /proc about CPUs in the kernel's exact formats (Linux 6.1, x86-64).

interrupts (kernel/irq/proc.c and arch/x86/kernel/irq.c) and stat (fs/proc/stat.c). Left out: rows
of hypervisors, machines with 1000 interrupt lines or more.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

NSEC_PER_CLOCK_T: Final = 10_000_000
"""USER_HZ is 100."""


@frozen(kw_only=True)
class DeviceInterrupt:
    """One interrupt line of a device."""

    irq: int
    counts: tuple[int, ...]
    """By CPU."""
    chip: str
    hwirq: int
    flow: str
    """How the line is handled: `edge` or `fasteoi`."""
    action: str
    """Name of the device."""


ARCH_INTERRUPTS: Final = (
    ("NMI", "Non-maskable interrupts"),
    ("LOC", "Local timer interrupts"),
    ("SPU", "Spurious interrupts"),
    ("PMI", "Performance monitoring interrupts"),
    ("IWI", "IRQ work interrupts"),
    ("RTR", "APIC ICR read retries"),
    ("RES", "Rescheduling interrupts"),
    ("CAL", "Function call interrupts"),
    ("TLB", "TLB shootdowns"),
    ("TRM", "Thermal event interrupts"),
    ("THR", "Threshold APIC interrupts"),
    ("DFR", "Deferred Error APIC interrupts"),
    ("MCE", "Machine check exceptions"),
    ("MCP", "Machine check polls"),
    ("ERR", None),
    ("MIS", None),
    ("PIN", "Posted-interrupt notification event"),
    ("NPI", "Nested posted-interrupt event"),
    ("PIW", "Posted-interrupt wakeup event"),
)
"""Rows by label, in the kernel's order; without a description: one count for the machine."""

_IRQ_WIDTH: Final = 3
"""Of the first column, for fewer than 1000 interrupt lines."""


def interrupts(
    counts: dict[str, tuple[int, ...]], *, nr_cpus: int, devices: Iterable[DeviceInterrupt] = ()
) -> str:
    """Return the text of /proc/interrupts; `counts` is by label, then by CPU; absent ones are 0."""
    unknown = counts.keys() - {label for label, _description in ARCH_INTERRUPTS}
    assert not unknown, f"no rows of /proc/interrupts: {sorted(unknown)}"
    parts = [" " * (_IRQ_WIDTH + 8), *(f"CPU{cpu:<8}" for cpu in range(nr_cpus)), "\n"]
    for device in devices:
        parts.append(_interrupt_counts(str(device.irq), device.counts))
        parts.append(f" {device.chip:>8} {device.hwirq:{_IRQ_WIDTH}}-{device.flow:<8}")
        parts.append(f"  {device.action}\n")
    for label, description in ARCH_INTERRUPTS:
        if description is None:
            total = sum(counts.get(label, ()))
            parts.append(f"{label:>{_IRQ_WIDTH}}: {total:10}\n")
        else:
            parts.append(_interrupt_counts(label, counts.get(label, (0,) * nr_cpus)))
            parts.append(f"  {description}\n")
    return "".join(parts)


def _interrupt_counts(label: str, counts: tuple[int, ...]) -> str:
    return f"{label:>{_IRQ_WIDTH}}: " + "".join(f"{count:10} " for count in counts)


@frozen(kw_only=True)
class CpuTimes:
    """What one CPU did since boot, in nanoseconds."""

    user_ns: int = 0
    nice_ns: int = 0
    system_ns: int = 0
    idle_ns: int = 0
    iowait_ns: int = 0
    irq_ns: int = 0
    softirq_ns: int = 0
    steal_ns: int = 0
    guest_ns: int = 0
    guest_nice_ns: int = 0

    def columns(self) -> tuple[int, ...]:
        """Return the times in the order of /proc/stat."""
        return (
            self.user_ns,
            self.nice_ns,
            self.system_ns,
            self.idle_ns,
            self.iowait_ns,
            self.irq_ns,
            self.softirq_ns,
            self.steal_ns,
            self.guest_ns,
            self.guest_nice_ns,
        )


@frozen(kw_only=True)
class Stat:
    """What /proc/stat needs."""

    cpus: tuple[CpuTimes, ...]
    nr_interrupts: int
    """All of them, those without a line too."""
    line_counts: tuple[int, ...] = ()
    """By interrupt line, all CPUs together."""
    context_switches: int = 0
    boot_time_s: int = 0
    """Seconds since 1970."""
    processes: int = 0
    """Forks since boot."""
    procs_running: int = 0
    procs_blocked: int = 0
    softirqs: tuple[int, ...] = (0,) * 10
    """HI TIMER NET_TX NET_RX BLOCK IRQ_POLL TASKLET SCHED HRTIMER RCU."""


def stat(values: Stat) -> str:
    """Return the text of /proc/stat; times are cut to hundredths of a second."""
    total = [sum(column) for column in zip(*(cpu.columns() for cpu in values.cpus), strict=True)]
    # The kernel writes two blanks after the first label.
    parts = [f"cpu  {_clock_ticks(total)}\n"]
    for number, cpu in enumerate(values.cpus):
        parts.append(f"cpu{number} {_clock_ticks(cpu.columns())}\n")
    parts.append("intr " + " ".join(map(str, (values.nr_interrupts, *values.line_counts))))
    parts.append(
        f"\nctxt {values.context_switches}\n"
        f"btime {values.boot_time_s}\n"
        f"processes {values.processes}\n"
        f"procs_running {values.procs_running}\n"
        f"procs_blocked {values.procs_blocked}\n"
    )
    parts.append("softirq " + " ".join(map(str, (sum(values.softirqs), *values.softirqs))) + "\n")
    return "".join(parts)


def _clock_ticks(times_ns: Sequence[int]) -> str:
    return " ".join(str(ns // NSEC_PER_CLOCK_T) for ns in times_ns)
