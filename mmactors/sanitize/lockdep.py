"""lockdep: possible deadlocks, from a run in which none happened (kernel/locking/lockdep.c, 6.1).

Theory of operation. Whoever takes a lock while others are held adds orders between their classes
to a graph; who takes a lock in an interrupt, or with interrupts enabled, marks its class. A
deadlock is possible as soon as an order closes a cycle, or orders lead from a class that interrupts
take to one during which interrupts may come: it needs no bad luck in this run, the two sides may
have run one after the other. Each acquisition is checked once for each combination of what was held
(the kernel's chain keys).

Beyond the kernel's: who waits for an IPI waits for every CPU that has interrupts off. A pseudo
class stands for "interrupts off somewhere". To wait for an IPI is to take it, while holding what
one holds; to wait for a lock with interrupts off is to take that lock while holding it.

As in the kernel, an order may be reported that cannot deadlock because of something that locks do
not show, such as a third lock around both. Unlike the kernel's, this lockdep goes on after its
first report: the order that would have closed the cycle is left out of the graph.

A page fault takes mmap_lock with a trylock first, in the kernel, which adds no orders;
might_fault() adds them where a fault could come. Here the lock operation of the fault adds them.

Left out: softirqs, wait types other than "sleeps or not", lock pinning, freed locks.
"""

from collections.abc import Callable
from typing import Final

from attrs import define

from mmactors.engine.actor import Actor, Processor
from mmactors.engine.baton import Engine
from mmactors.engine.lock.lock_observer import Hold, Nesting, Observed
from mmactors.sanitize.finding import Finding
from mmactors.sanitize.lock_graph import (
    IN_IRQ,
    IPI_CLASS,
    IRQ_ON,
    Dependency,
    LockGraph,
    Usage,
)
from mmactors.sanitize.lockdep_report import (
    Held,
    Order,
    bad_irq_order,
    circular,
    inconsistent,
    invalid_context,
    nested_not_taken,
    recursive,
)
from mmactors.sanitize.occasion import Occasion, brief_occasion_of, caller, occasion_of


@define(eq=False)
class _Context:
    """Where the running actor stands."""

    actor: Actor
    depth: int
    """Interrupts it is in."""
    is_irq_off: bool
    """A CPU is there and takes no interrupts."""
    is_irq_on: bool


class Lockdep:
    """Watches the locks of one engine: `engine.lock_observer = Lockdep(engine)`."""

    def __init__(
        self, engine: Engine, *, on_finding: Callable[[Finding], None] | None = None
    ) -> None:
        self.findings: Final[list[Finding]] = []
        self._engine: Final = engine
        self._on_finding: Final = on_finding
        self._graph: Final = LockGraph()
        self._ipi: Final = self._graph.node(IPI_CLASS, 0, sleeps=False)
        self._held: Final[dict[Actor, list[Held]]] = {}
        self._chains: Final[set[tuple[object, ...]]] = set()
        """Combinations of held locks and a new one that were checked."""
        self._known: Final[set[tuple[object, ...]]] = set()
        """What was reported, or belongs to what was."""
        self._irqs_disabled: Final[dict[Processor, Occasion]] = {}

    def has_found_nothing(self) -> None:
        """Assert that there is no finding: a law for `world.always`."""
        assert not self.findings, "\n\n".join(map(str, self.findings))

    # -- what the engine reports -----------------------------------------------------------------

    def acquire(self, lock: Observed, hold: Hold, nesting: Nesting) -> None:
        """Check the running actor's wish to have `lock`, and note it (lock_acquire)."""
        context = self._context()
        stack = self._held.setdefault(context.actor, [])
        held = self._new(lock, hold, nesting, context)
        is_nested = nesting.nest_lock is not None and any(
            each.lock is nesting.nest_lock for each in stack
        )
        if lock.sleeps:
            self.might_sleep(held.node.lock_class.name)
        chain = (
            *((each.node, each.hold, each.depth) for each in stack),
            *(held.node, hold, context.depth, context.is_irq_off, context.is_irq_on),
            *(nesting.nest_lock is not None, is_nested),
        )
        if chain not in self._chains:
            self._chains.add(chain)
            occasion = occasion_of(context.actor)
            if nesting.nest_lock is not None and not is_nested:
                self._report(nested_not_taken(held, nesting.nest_lock, stack, occasion))
            self._mark(held, context, occasion)
            self._check_recursion(held, stack, occasion, is_nested=is_nested)
            self._add_orders(held, stack, context, occasion)
        stack.append(held)

    def acquired(self, lock: Observed) -> None:
        """Note that the running actor waits for `lock` no more."""
        held = self._find(lock)
        if held is not None:
            held.is_waiting = False

    def tried(self, lock: Observed, hold: Hold, nesting: Nesting) -> None:
        """Note a lock that was taken without readiness to wait: nothing leads to it."""
        context = self._context()
        held = self._new(lock, hold, nesting, context)
        held.is_waiting = False
        if context.is_irq_on:
            self._mark_usage(held, IRQ_ON[hold is not Hold.WRITE])
        self._held.setdefault(context.actor, []).append(held)

    def release(self, lock: Observed) -> None:
        """Note that the running actor has `lock` no more (lock_release)."""
        held = self._find(lock)
        if held is not None:
            self._held[self._engine.current].remove(held)

    def downgrade(self, lock: Observed) -> None:
        """Note that the running actor shares `lock` from now on (lock_downgrade)."""
        held = self._find(lock)
        if held is not None:
            held.hold = Hold.READ

    def might_sleep(self, what: str) -> None:
        """Report that the running actor must not sleep here (__might_resched)."""
        actor = self._engine.current
        cpu = actor.cpu
        if cpu is None or not (
            cpu.spinlocks_held or cpu.contexts or cpu.rcu_nesting or not cpu.irqs_enabled
        ):
            return
        place = caller()
        if ("sleep", what, place) not in self._known:
            self._known.add(("sleep", what, place))
            self._report(invalid_context(what, cpu, self._held.get(actor, []), occasion_of(actor)))

    def irqs_disabled(self, cpu: Processor) -> None:
        """Remember where interrupts were turned off (trace_hardirqs_off)."""
        running = self._engine.running
        if running is not None:
            self._irqs_disabled[cpu] = brief_occasion_of(running)

    def irqs_enabled(self, cpu: Processor) -> None:
        """Mark what is held while interrupts are turned on (trace_hardirqs_on)."""
        running = self._engine.running
        if running is None or running.cpu is not cpu or cpu.contexts:
            return
        for held in self._held.get(running, ()):
            if not held.depth and not held.is_waiting:
                self._mark_usage(held, IRQ_ON[held.hold is not Hold.WRITE])

    def wait_for_ipi(self, vector: str, targets: tuple[Processor, ...]) -> None:
        """Add orders from what is held to the answers of CPUs that might have interrupts off."""
        context = self._context()
        stack = [each for each in self._held.get(context.actor, ()) if each.depth == context.depth]
        chain = (*((each.node, each.hold) for each in stack), vector)
        if chain in self._chains:
            return
        self._chains.add(chain)
        names = ", ".join(f"cpu{target.index}" for target in targets)
        wanted = Held.wait(self._ipi, f"{vector} to be handled by {names}", caller())
        occasion = occasion_of(context.actor)
        self._add_all([(held, Order(occasion, held.at, None)) for held in stack], wanted, stack)

    # -- checks ----------------------------------------------------------------------------------

    def _context(self) -> _Context:
        actor = self._engine.current
        cpu = actor.cpu
        if cpu is None:
            return _Context(actor, 0, is_irq_off=False, is_irq_on=False)
        is_on = cpu.irqs_enabled
        return _Context(actor, len(cpu.contexts), is_irq_off=not is_on, is_irq_on=is_on)

    def _new(self, lock: Observed, hold: Hold, nesting: Nesting, context: _Context) -> Held:
        node = self._graph.node(lock.lock_class, nesting.subclass, sleeps=lock.sleeps)
        return Held(lock, lock.name, node, hold, context.depth, caller())

    def _find(self, lock: Observed) -> Held | None:
        """Return the running actor's latest hold of `lock`; None: it took it unwatched."""
        stack = self._held.get(self._engine.current, ())
        return next((held for held in reversed(stack) if held.lock is lock), None)

    def _mark(self, held: Held, context: _Context, occasion: Occasion) -> None:
        """Note how the class is used, as far as interrupts care (mark_usage)."""
        is_shared = held.hold is not Hold.WRITE
        if context.depth:
            self._mark_usage(held, IN_IRQ[is_shared], occasion)
        if context.is_irq_on:
            self._mark_usage(held, IRQ_ON[is_shared], occasion)

    def _mark_usage(self, held: Held, usage: Usage, occasion: Occasion | None = None) -> None:
        """Note a use that is new, and what it collides with (mark_lock)."""
        node = held.node
        if usage in node.usages:
            return
        if occasion is None:
            occasion = occasion_of(self._engine.current)
        stack = self._held.get(self._engine.current, [])
        node.usages[usage] = occasion
        opposite = IRQ_ON if usage in IN_IRQ else IN_IRQ
        # Two readers do not keep each other out.
        found = opposite[: 1 if usage in (IN_IRQ[1], IRQ_ON[1]) else 2]
        for other in found:
            if other in node.usages:
                self._report_once(
                    ("state", node), inconsistent(held, other, usage, stack, occasion)
                )
                return
        self._check_inversions(held, stack, occasion, is_new_order=False)

    def orders(self) -> tuple[tuple[str, str], ...]:
        """Return each order that was seen: who was held, and who was then waited for."""
        return self._graph.orders()

    def _check_inversions(
        self, held: Held, stack: list[Held], occasion: Occasion, *, is_new_order: bool
    ) -> None:
        for safe, unsafe, path in self._graph.irq_inversion():
            if safe is not unsafe:
                self._report_once(
                    ("irq", safe, unsafe),
                    bad_irq_order(
                        safe, unsafe, path, held, stack, occasion, is_new_order=is_new_order
                    ),
                )

    def _check_recursion(
        self, held: Held, stack: list[Held], occasion: Occasion, *, is_nested: bool
    ) -> None:
        """Report a lock of a class of which one is held already (check_deadlock)."""
        if is_nested or held.node.lock_class.may_nest:
            return
        for other in stack:
            if held.hold is Hold.RECURSIVE_READ and other.hold is not Hold.WRITE:
                continue
            if other.node is held.node and other.depth == held.depth:
                self._report_once(("recursion", held.node), recursive(other, held, stack, occasion))
                return

    def _add_orders(
        self, held: Held, stack: list[Held], context: _Context, occasion: Occasion
    ) -> None:
        """Add orders from all that is held in this context (check_prevs_add)."""
        orders = [
            (each, Order(occasion, each.at, None))
            for each in stack
            if each.depth == context.depth and each.node is not held.node
        ]
        if context.is_irq_off:
            cpu = context.actor.cpu
            assert cpu is not None, f"{context.actor} has interrupts off but no CPU"
            off = Held.wait(self._ipi, f"interrupts off on cpu{cpu.index}", None)
            orders.insert(0, (off, Order(occasion, None, self._irqs_disabled.get(cpu))))
        self._add_all(orders, held, stack)
        self._check_inversions(held, stack, occasion, is_new_order=True)

    def _add_all(self, orders: list[tuple[Held, Order]], second: Held, stack: list[Held]) -> None:
        """Add orders that lead to `second`, without those that would close a cycle.

        One acquisition is worth one report: the first cycle.
        """
        has_reported = False
        for first, order in orders:
            dependency = Dependency.of(first.hold, second.hold)
            key = ("order", first.node, second.node, dependency)
            if key in self._known or self._graph.has_edge(first.node, second.node, dependency):
                continue
            path = self._graph.cycle(first.node, second.node, dependency)
            if path is None:
                self._graph.add_edge(first.node, second.node, dependency, order)
                continue
            self._known.add(key)
            if not has_reported:
                has_reported = True
                nodes = frozenset({first.node, *(edge.first for edge, _ in path)})
                self._report_once(("cycle", nodes), circular(first, second, path, order, stack))

    def _report_once(self, key: tuple[object, ...], finding: Finding) -> None:
        if key not in self._known:
            self._known.add(key)
            self._report(finding)

    def _report(self, finding: Finding) -> None:
        self.findings.append(finding)
        if self._on_finding is not None:
            self._on_finding(finding)
