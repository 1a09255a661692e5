"""The names of all counters that a run ends with, known without a machine."""

from functools import cache
from typing import Final

import attrs

from mmactors.hw.statistics import HardwareStatistics
from mmactors.mm.vmstat import NODE_STAT_NAMES, NUMA_EVENT_NAMES, VM_EVENT_NAMES, ZONE_STAT_NAMES

THRESHOLD_NAMES: Final = ("nr_dirty_threshold", "nr_dirty_background_threshold", "nr_unstable")
"""Lines of /proc/vmstat that are no counters."""
MACHINE_NAMES: Final = (
    "tlb_shootdowns",
    "context_switches",
    "memory_lines",
    "memory_queued_ns",
    "processes_killed",
)


@cache
def counter_names() -> tuple[str, ...]:
    """Return every name that `expect` may use."""
    hardware = []
    for field in attrs.fields(HardwareStatistics):
        if field.type is not None and attrs.has(field.type):
            hardware += [f"{field.name}.{part.name}" for part in attrs.fields(field.type)]
        else:
            hardware.append(field.name)
    vmstat = (*ZONE_STAT_NAMES, *NUMA_EVENT_NAMES, *NODE_STAT_NAMES, *VM_EVENT_NAMES)
    return (*vmstat, *THRESHOLD_NAMES, *hardware, *MACHINE_NAMES)
