"""Shared objects as the search sees them: a state that can be named, and shown."""

from collections.abc import Hashable, Mapping
from typing import Final

from attrs import frozen

from mmactors.engine.actor import Keyed, Processor

_CPU: Final = "cpu"


def is_cpu(name: str) -> bool:
    """Return whether an object is a CPU: what makes its threads ready, or interrupts it."""
    return name.startswith(_CPU) and name[len(_CPU) :].isdecimal()


def find_in(objects: Mapping[str, Keyed], name: str) -> Keyed | None:
    """Return the object, or the column that it is an element of; None: neither is there."""
    for known in (name, name.partition("[")[0]):
        try:
            return objects[known]
        except KeyError:
            continue
    return None


@frozen(eq=False)
class CpuView:
    """Who runs on a CPU, who wants to, and which interrupts are pending."""

    cpu: Processor

    def key(self) -> Hashable:
        """Return the state; times are no part of it."""
        cpu = self.cpu
        return (
            cpu.current.index,
            tuple(thread.index for thread in cpu.queued()),
            tuple(cpu.pending_vectors()),
            cpu.irqs_enabled,
            tuple(cpu.contexts),
        )

    def show(self) -> str:
        """Return the state as text."""
        cpu = self.cpu
        parts = ["idle" if cpu.current is cpu.idle else f"runs {cpu.current.name}"]
        if queued := [thread.name for thread in cpu.queued()]:
            parts.append(f"queued {' '.join(queued)}")
        if vectors := cpu.pending_vectors():
            parts.append(f"pending {' '.join(vectors)}")
        if cpu.contexts:
            parts.append(f"in {' > '.join(cpu.contexts)}")
        elif not cpu.irqs_enabled:
            parts.append("interrupts off")
        return ", ".join(parts)
