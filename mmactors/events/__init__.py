"""Events: what happened, as facts with numbers, named after the kernel's tracepoints (v6.1).

An event class holds the tracepoint's own fields under the tracepoint's own names. Who, where, when
and why (the envelope) is added by the probe that takes it. A class whose kernel has no tracepoint
says so in its docstring; its subsystem is `mmactors`. docs/events.md is generated from here.

Adding a field is a minor change of SCHEMA_VERSION, renaming or removing one a major change.
"""

from typing import Any, ClassVar, Final, Protocol

from attrs import fields

from mmactors.events.fault_injection import FaultInjection
from mmactors.events.memory import (
    MmPageAlloc,
    MmPageAllocExtfrag,
    MmPageAllocZoneLocked,
    MmPageFree,
    MmPageFreeBatched,
    MmPagePcpuDrain,
    MmVmscanWakeupKswapd,
    PageFaultEnd,
    PageFaultKernel,
    PageFaultUser,
    TlbFlush,
    VmUnmappedArea,
)
from mmactors.events.percpu import (
    PercpuAllocPercpu,
    PercpuAllocPercpuFail,
    PercpuCreateChunk,
    PercpuDestroyChunk,
    PercpuFreePercpu,
)
from mmactors.events.slab import Console, Kfree, Kmalloc, KmemCacheAlloc, KmemCacheFree
from mmactors.events.thread import (
    LibcMessage,
    SchedMigrateTask,
    SchedProcessExit,
    SchedProcessFork,
    SchedSwitch,
    SchedWakeupNew,
    SchedWaking,
    SignalGenerate,
    SysEnter,
    SysExit,
)
from mmactors.events.wait import (
    ContentionBegin,
    ContentionEnd,
    ErrorReportEnd,
    IpiHandled,
    IpiSend,
)

__all__ = [
    "ENVELOPE",
    "ON_BEHALF",
    "SCHEMA",
    "SCHEMA_VERSION",
    "Console",
    "ContentionBegin",
    "ContentionEnd",
    "ErrorReportEnd",
    "Event",
    "FaultInjection",
    "IpiHandled",
    "IpiSend",
    "Kfree",
    "Kmalloc",
    "KmemCacheAlloc",
    "KmemCacheFree",
    "LibcMessage",
    "MmPageAlloc",
    "MmPageAllocExtfrag",
    "MmPageAllocZoneLocked",
    "MmPageFree",
    "MmPageFreeBatched",
    "MmPagePcpuDrain",
    "MmVmscanWakeupKswapd",
    "PageFaultEnd",
    "PageFaultKernel",
    "PageFaultUser",
    "PercpuAllocPercpu",
    "PercpuAllocPercpuFail",
    "PercpuCreateChunk",
    "PercpuDestroyChunk",
    "PercpuFreePercpu",
    "SchedMigrateTask",
    "SchedProcessExit",
    "SchedProcessFork",
    "SchedSwitch",
    "SchedWakeupNew",
    "SchedWaking",
    "SignalGenerate",
    "SysEnter",
    "SysExit",
    "TlbFlush",
    "VmUnmappedArea",
    "event_fields",
]

SCHEMA: Final = "mmactors.events"
SCHEMA_VERSION: Final = (2, 1)

ENVELOPE: Final = {
    "seq": "number of the event in the run, from 1; a filtered log leaves numbers out",
    "t": "virtual time, ns; never decreases for one actor",
    "actor": "who it happened to",
    "cpu": "the actor's CPU, or null",
    "pid": "the actor's process (tgid), or null: idle, and services",
    "tid": "the actor's thread, the PID column of ftrace, or null",
    "event": "the tracepoint's name, below",
}
"""What every line has, in this order, and what it means."""
ON_BEHALF: Final = {
    "span": "`seq` of the event that opened the innermost call or fault which this event is a part "
    "of (`sys_enter`, `page_fault_user`, `page_fault_kernel`); of the opening event its own",
    "cause": "`seq` of the event that led to this one, if that is not the span",
    "for_actor": "on whose behalf it was done, if not the actor's own",
    "for_cpu": "the CPU of that actor, if it has one",
    "for_pid": "the process of that actor, if it has one",
}
"""What a line has after `event` where there is such a thing, in this order."""


class Event(Protocol):
    """What every event class has."""

    name: ClassVar[str]
    """The tracepoint's name."""
    subsystem: ClassVar[str]
    """The tracepoint's group, as in /sys/kernel/tracing/events."""


def event_fields(event_class: type[Any]) -> dict[str, str]:
    """Return the fields of an event class as the log names them, in order; and the attributes.

    An attribute whose name Python wants for itself has an underscore more (`class_`).
    """
    names = [attribute.name for attribute in fields(event_class)]
    return {name.rstrip("_"): name for name in names}
