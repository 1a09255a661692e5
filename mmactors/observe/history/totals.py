"""Sums over all waits of a log, made while it is read."""

from attrs import define, field


@define
class Total:
    """How often, how long in all, and the longest; ns."""

    count: int = 0
    total_ns: int = 0
    longest_ns: int = 0

    def add(self, ns: int) -> None:
        """Count one more."""
        self.count += 1
        self.total_ns += ns
        self.longest_ns = max(self.longest_ns, ns)


@define
class Interruptions(Total):
    """How often an actor interrupted CPUs in one call, or in faults, and which CPUs how often."""

    cpus: dict[int, int] = field(factory=dict)


@define(eq=False)
class Totals:
    """The sums that `mmactors waits` prints."""

    classes: dict[str, Total] = field(factory=dict)
    """By class of the lock."""
    pairs: dict[tuple[str, str, str], Total] = field(factory=dict)
    """By who waited, for whom, and the class of the lock."""
    interruptions: dict[tuple[str, str], Interruptions] = field(factory=dict)
    """By who interrupted others, and in which call; faults are one."""
    unended: int = 0
    """Waits that were not over at the end of the log."""

    def add_lock(self, lock_class: str, waiter: str, holder: str | None, ns: int) -> None:
        """Count a wait for a lock that is over."""
        self.classes.setdefault(lock_class, Total()).add(ns)
        self.pairs.setdefault((waiter, holder or "", lock_class), Total()).add(ns)

    def add_answers(self, sender: str, call: str, cpus: list[int], ns: int) -> None:
        """Count an interrupt of other CPUs that all of them have answered."""
        entry = self.interruptions.setdefault((sender, call), Interruptions())
        entry.add(ns)
        for cpu in cpus:
            entry.cpus[cpu] = entry.cpus.get(cpu, 0) + 1
