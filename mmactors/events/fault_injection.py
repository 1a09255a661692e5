"""What was made to happen on purpose (lib/fault-inject.c, 6.1)."""

from typing import ClassVar

from attrs import define


@define(kw_only=True)
class FaultInjection:
    """A fault was injected (no tracepoint; the kernel prints `FAULT_INJECTION: forcing a failure`).

    It happens to whom it is done. The first five fields are what the kernel prints.
    """

    name: ClassVar[str] = "fault_injection"
    subsystem: ClassVar[str] = "mmactors"

    name_: str
    """Which of the scenario's `faults`."""
    interval: int
    probability: int
    space: int
    times: int
    """How many more there may be, this one among them; -1: any number."""
    site: str
    """Where: the function that allocates, the vector of an IPI, the wait queue."""
    order: int | None = None
    """Of an allocation; null: it was none."""
    gfp_flags: int | None = None
    """Of an allocation."""
    cache: str | None = None
    """Of the object that was not allocated; null: it was none."""
    late_ns: int | None = None
    """By how much an IPI is later; after what time the sleeper is woken."""
    target_cpu: int | None = None
    """Who is interrupted late."""
