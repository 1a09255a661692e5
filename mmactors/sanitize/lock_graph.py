"""The graph of lock orders and who used which lock how (kernel/locking/lockdep.c, Linux 6.1).

Theory of operation. A node is a lock class with a subclass. An edge A -> B says that somebody held
A and then took B, and would have waited for it. How both were held is part of the edge: a shared
holder of A keeps no reader of A out, a recursive reader of B waits for writers only. A path is
*strong* if nobody on it can pass: no recursive reader meets a shared holder on the way. A strong
cycle is a possible deadlock, and only a strong one.

Besides its edges a node knows where it was used in an interrupt and where with interrupts enabled.
A lock that interrupts take (irq-safe) and from which a strong path leads to one that is also taken
with interrupts on (irq-unsafe) is a possible deadlock too: the interrupt may come where the second
is held, while the first is held by somebody who waits for the second.

Left out: softirqs; redundant edges, which the kernel leaves out to save memory.

Invariants: the graph has no strong cycle; an edge that would close one is refused.
"""

from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

from attrs import define, field, frozen

from mmactors.engine.lock.lock_observer import Hold
from mmactors.engine.lock.lock_stat import LockClass


class Usage(Enum):
    """How a class was used, as far as interrupts care (enum lock_usage_bit)."""

    IN_HARDIRQ = "IN-HARDIRQ-W"
    IN_HARDIRQ_READ = "IN-HARDIRQ-R"
    HARDIRQ_ON = "HARDIRQ-ON-W"
    HARDIRQ_ON_READ = "HARDIRQ-ON-R"


IPI_CLASS: Final = LockClass("IPI")
"""No lock: who waits for an IPI waits for this; whose CPU has interrupts off holds it."""

IN_IRQ: Final = (Usage.IN_HARDIRQ, Usage.IN_HARDIRQ_READ)
IRQ_ON: Final = (Usage.HARDIRQ_ON, Usage.HARDIRQ_ON_READ)


@frozen
class Dependency:
    """How the two locks of an edge were held."""

    is_first_shared: bool
    is_second_recursive: bool

    @classmethod
    def of(cls, first: Hold, second: Hold) -> "Dependency":
        """Return what it means that `second` was wanted while `first` was held."""
        return cls(first is not Hold.WRITE, second is Hold.RECURSIVE_READ)


@define(eq=False)
class LockNode:
    """A lock class with a subclass."""

    lock_class: LockClass
    subclass: int
    sleeps: bool
    usages: dict[Usage, Any] = field(factory=dict, init=False)
    """Where it was first used so."""
    after: "dict[LockNode, Edge]" = field(factory=dict, init=False)
    """What was taken while it was held."""

    @property
    def is_ipi(self) -> bool:
        """Whether this stands for IPIs that wait until interrupts are on."""
        return self.lock_class is IPI_CLASS

    def __str__(self) -> str:
        """Return the name as the kernel prints it."""
        return self.lock_class.name + (f"/{self.subclass}" if self.subclass else "")


@define(eq=False)
class Edge:
    """Somebody held `first` and took `second`."""

    first: LockNode
    second: LockNode
    how: dict[Dependency, Any] = field(factory=dict, init=False)
    """Where, for each way in which it happened."""


Path = list[tuple[Edge, Dependency]]
_State = tuple[LockNode, bool]
"""A node that a path leads to, and whether all its last edges end in a recursive reader."""


class LockGraph:
    """All orders and usages of one machine."""

    def __init__(self) -> None:
        self._nodes: Final[dict[tuple[LockClass, int], LockNode]] = {}

    def orders(self) -> tuple[tuple[str, str], ...]:
        """Return the names of both locks of each edge."""
        return tuple(
            (str(node), str(after)) for node in self._nodes.values() for after in node.after
        )

    def node(self, lock_class: LockClass, subclass: int, *, sleeps: bool) -> LockNode:
        """Return the node of a class with a subclass; the first call makes it."""
        node = self._nodes.get((lock_class, subclass))
        if node is None:
            node = self._nodes[lock_class, subclass] = LockNode(lock_class, subclass, sleeps)
        return node

    def has_edge(self, first: LockNode, second: LockNode, dependency: Dependency) -> bool:
        """Return whether it is known that `second` is taken so while `first` is held so."""
        edge = first.after.get(second)
        return edge is not None and dependency in edge.how

    def add_edge(
        self, first: LockNode, second: LockNode, dependency: Dependency, where: object
    ) -> None:
        """Note a new order; the caller has asked for cycles."""
        edge = first.after.get(second)
        if edge is None:
            edge = first.after[second] = Edge(first, second)
        edge.how[dependency] = where

    def cycle(self, first: LockNode, second: LockNode, dependency: Dependency) -> Path | None:
        """Return the shortest path from `second` back to `first` that a new edge would close.

        Edge and path together have to be strong where they meet (check_noncircular).
        """
        for path, node, is_recursive in self._walk(
            second, is_recursive=dependency.is_second_recursive
        ):
            if node is first and path and not (is_recursive and dependency.is_first_shared):
                return path
        return None

    def irq_inversion(self) -> Iterator[tuple[LockNode, LockNode, Path]]:
        """Yield each irq-safe lock with each irq-unsafe one that a strong path leads to."""
        for safe in list(self._nodes.values()):
            if not any(usage in safe.usages for usage in IN_IRQ):
                continue
            # An interrupt that only reads does not wait for a shared holder.
            only_reads = Usage.IN_HARDIRQ not in safe.usages
            for path, unsafe, is_recursive in self._walk(safe, is_recursive=only_reads):
                is_unsafe = Usage.HARDIRQ_ON in unsafe.usages or (
                    not is_recursive and Usage.HARDIRQ_ON_READ in unsafe.usages
                )
                if path and is_unsafe:
                    yield safe, unsafe, path

    def _walk(
        self, start: LockNode, *, is_recursive: bool
    ) -> Iterator[tuple[Path, LockNode, bool]]:
        """Yield all that strong paths from `start` lead to, nearest first (__bfs)."""
        begin: _State = (start, is_recursive)
        came: dict[_State, tuple[_State, Edge, Dependency] | None] = {begin: None}
        todo = deque([begin])
        while todo:
            state = todo.popleft()
            node, last_is_recursive = state
            yield _path(came, state), node, last_is_recursive
            for edge in node.after.values():
                for dependency in edge.how:
                    if last_is_recursive and dependency.is_first_shared:
                        continue
                    found: _State = (edge.second, dependency.is_second_recursive)
                    if found not in came:
                        came[found] = (state, edge, dependency)
                        todo.append(found)


def _path(came: dict[_State, tuple[_State, Edge, Dependency] | None], state: _State) -> Path:
    path: Path = []
    step = came[state]
    while step is not None:
        state, edge, dependency = step
        path.append((edge, dependency))
        step = came[state]
    path.reverse()
    return path
