"""What lockdep prints: the kernel's reports, with a last line that teaches (lockdep.c, Linux 6.1).

Headlines, sections and the braces behind a lock's name are the kernel's. `{+.+.}` tells how the
class was used, for writing and for reading, first as to hardirqs and then as to softirqs, of which
there are none here: they are on when interrupts are. `+` with interrupts enabled, `-` in an
interrupt, `?` both, `.` neither. `{3:3}` is a lock that sleeps, `{2:2}` one that spins. Instead of
addresses stand the lock's own name, the function, and what the program was told to do.
"""

from typing import Any, Final

from attrs import define, frozen

from mmactors.engine.actor import Processor
from mmactors.engine.lock.lock_observer import Hold, Observed
from mmactors.sanitize.finding import Finding
from mmactors.sanitize.law import Law
from mmactors.sanitize.lock_graph import (
    IN_IRQ,
    IRQ_ON,
    Edge,
    LockNode,
    Path,
    Usage,
)
from mmactors.sanitize.occasion import Occasion, Place, place_text

CIRCULAR: Final = "possible circular locking dependency detected"
CIRCULAR_IPI: Final = "possible deadlock: an IPI is waited for that may never be handled"
RECURSIVE: Final = "possible recursive locking detected"
INCONSISTENT: Final = "inconsistent lock state"
BAD_ORDER: Final = "HARDIRQ-safe -> HARDIRQ-unsafe lock order detected"
INVERSION: Final = "possible irq lock inversion dependency detected"
NOT_NESTED: Final = "Nested lock was not taken"
SLEEPING: Final = "sleeping function called from invalid context"

_COLUMN: Final = 24
"""Width of a CPU's column in a scenario."""

_CIRCULAR_TEACHES: Final = (
    "Nothing hung: the lines above happened one after the other. They can happen at the same time, "
    "and then each waits for the other for ever. Take these locks in one order everywhere, or give "
    "the first back before the second is taken."
)
_IPI_TEACHES: Final = (
    "Nothing hung. A CPU with interrupts off answers no IPI: a lock that is held while "
    "an IPI is waited for (a TLB flush, say) must never be waited for with interrupts off, neither "
    "by itself nor through other locks. Leave interrupts on around the one, or send the IPI after "
    "the other was given back."
)
_RECURSIVE_TEACHES: Final = (
    "A lock does not know that its holder asks again. If the two are different locks of one class "
    "that everybody takes in one order, say so with a nesting level (spin_lock_nested, here "
    "`nesting=`)."
)
_IRQ_TEACHES: Final = (
    "An interrupt runs on top of whom it interrupts: if that one has the lock, the handler waits "
    "for ever. A lock that interrupts take must be taken with interrupts off everywhere "
    "(spin_lock_irqsave, here `lock.irqsave()`), and so must what is taken inside it."
)
_SLEEP_TEACHES: Final = (
    "It did not have to sleep this time. Who holds a spinlock, has interrupts off, is in an "
    "interrupt or in an RCU read section must not give its CPU away: give back first, or take a "
    "lock that spins."
)
_NEST_TEACHES: Final = (
    "Several locks of one class may be taken in any order only by who holds the lock that keeps "
    "others from doing the same; that lock is not held here."
)


@define(eq=False)
class Held:
    """A lock that an actor has or waits for."""

    lock: Observed | None
    name: str
    node: LockNode
    hold: Hold
    depth: int
    """In how many interrupts it was taken."""
    at: Place | None
    is_waiting: bool = True

    @classmethod
    def wait(cls, node: LockNode, name: str, at: Place | None) -> "Held":
        """Return what is no lock: waiting for an IPI, or having interrupts off."""
        return cls(None, name, node, Hold.WRITE, 0, at)

    def line(self) -> str:
        """Return the lock as the kernel's print_lock does."""
        where = "" if self.at is None else f", at: {place_text(self.at)}"
        return f"{self.name} {class_text(self.node)}{where}"


@frozen
class Order:
    """Where an order was seen."""

    occasion: Occasion
    first_at: Place | None
    """Where the first lock had been taken."""
    irqs_disabled: Occasion | None
    """Where interrupts had been turned off, if that is what is held."""


def class_text(node: LockNode) -> str:
    """Return a class with how it was used, `(&mm->mmap_lock){++++}-{3:3}`."""
    if node.is_ipi:
        return "(IPI)"
    both = [
        "?+"[not all_in] if on else "-."[not all_in]
        for on, all_in in (
            (IRQ_ON[read] in node.usages, IN_IRQ[read] in node.usages) for read in (0, 1)
        )
    ]
    soft = ["+" if IRQ_ON[read] in node.usages else "." for read in (0, 1)]
    kind = 3 if node.sleeps else 2
    return f"({node}){{{''.join(both + soft)}}}-{{{kind}:{kind}}}"


def circular(first: Held, second: Held, path: Path, order: Order, stack: list[Held]) -> Finding:
    """Report that `second` is wanted while `first` is held, and `path` leads back to `first`."""
    nodes = [first.node, second.node, *(edge.second for edge, _ in path)]
    is_ipi = any(node.is_ipi for node in nodes)
    headline = CIRCULAR_IPI if is_ipi else CIRCULAR
    who = order.occasion.actor
    lines = [
        f"{who} {_wish(second.node)}:",
        f" {second.line()}",
        "",
        f"but {_state(first.node)}:",
        f" {first.line()}",
        "",
        "which lock already depends on the new lock."
        if not is_ipi
        else "on which already depends what it waits for.",
        "",
        "the existing dependency chain (in reverse order) is:",
    ]
    links = [(Edge(first.node, second.node), order), *((edge, edge.how[how]) for edge, how in path)]
    for number, (edge, where) in reversed(list(enumerate(links))):
        lines += ["", f"-> #{number} {_edge_text(edge)}:", *_order_lines(edge, where)]
    lines += ["", "other info that might help us debug this:", ""]
    lines += _chain_lines(nodes)
    lines += _scenario(links)
    lines += _held_lines(who, stack)
    return _finding(
        headline,
        " -> ".join(map(str, nodes)),
        lines,
        _IPI_TEACHES if is_ipi else _CIRCULAR_TEACHES,
        order.occasion,
    )


def recursive(first: Held, second: Held, stack: list[Held], occasion: Occasion) -> Finding:
    """Report that a lock of a class is wanted while one is held (print_deadlock_bug)."""
    lines = [
        f"{occasion.actor} is trying to acquire lock:",
        f" {second.line()}",
        "",
        "but task is already holding lock:",
        f" {first.line()}",
        "",
        "other info that might help us debug this:",
        " Possible unsafe locking scenario:",
        "",
        "       CPU0",
        "       ----",
        f"  lock({first.node});",
        f"  lock({second.node});",
        "",
        " *** DEADLOCK ***",
        "",
        " May be due to missing lock nesting notation",
        "",
        *_held_lines(occasion.actor, stack),
        *_backtrace(occasion),
    ]
    return _finding(RECURSIVE, str(second.node), lines, _RECURSIVE_TEACHES, occasion)


def inconsistent(
    held: Held, before: Usage, now: Usage, stack: list[Held], occasion: Occasion
) -> Finding:
    """Report that a class is taken in interrupts and with interrupts on (print_usage_bug)."""
    lines = [
        f"inconsistent {{{before.value}}} -> {{{now.value}}} usage.",
        f"{occasion.circumstances()}, takes:",
        f" {held.line()}",
        f"{{{before.value}}} state was registered at:",
        *_indented(held.node.usages[before]),
        "",
        "other info that might help us debug this:",
        " Possible unsafe locking scenario:",
        "",
        "       CPU0",
        "       ----",
        f"  lock({held.node});",
        "  <Interrupt>",
        f"    lock({held.node});",
        "",
        " *** DEADLOCK ***",
        "",
        *_held_lines(occasion.actor, stack),
        *_backtrace(occasion),
    ]
    return _finding(INCONSISTENT, f"{held.node} {now.value}", lines, _IRQ_TEACHES, occasion)


def bad_irq_order(
    safe: LockNode,
    unsafe: LockNode,
    path: Path,
    held: Held,
    stack: list[Held],
    occasion: Occasion,
    *,
    is_new_order: bool,
) -> Finding:
    """Report orders from a class that interrupts take to one that is taken with interrupts on.

    The last piece is a new order, or a new use of a class (print_bad_irq_dependency,
    print_irq_inversion_bug).
    """
    verb = "is trying to acquire" if is_new_order else "just changed the state of lock"
    lines = [f"{occasion.circumstances()}, {verb}:", f" {held.line()}", ""]
    lines += ["a HARDIRQ-irq-safe lock:", f" {class_text(safe)}"]
    lines += ["... which became HARDIRQ-irq-safe at:", *_indented(_first(safe, IN_IRQ)), ""]
    lines += ["leads to a HARDIRQ-irq-unsafe lock:", f" {class_text(unsafe)}"]
    lines += ["... which became HARDIRQ-irq-unsafe at:", *_indented(_first(unsafe, IRQ_ON)), ""]
    lines += ["the dependencies between the HARDIRQ-irq-safe and the HARDIRQ-irq-unsafe lock:"]
    for number, (edge, how) in enumerate(path):
        lines += [f"-> #{number} {_edge_text(edge)}:"]
        lines += _order_lines(edge, edge.how[how])
    lines += ["", "other info that might help us debug this:", ""]
    lines += _chain_lines([safe, *(edge.second for edge, _ in path)])
    left = 31
    lines += [
        " Possible interrupt unsafe locking scenario:",
        "",
        "       CPU0                    CPU1",
        "       ----                    ----",
        f"  lock({unsafe});",
        " " * left + "local_irq_disable();",
        " " * left + f"lock({safe});",
        " " * left + f"lock({path[0][0].second});",
        "  <Interrupt>",
        f"    lock({safe});",
        "",
        " *** DEADLOCK ***",
        "",
        *_held_lines(occasion.actor, stack),
    ]
    headline = BAD_ORDER if is_new_order else INVERSION
    return _finding(headline, f"{safe} -> {unsafe}", lines, _IRQ_TEACHES, occasion)


def nested_not_taken(
    held: Held, nest_lock: Observed, stack: list[Held], occasion: Occasion
) -> Finding:
    """Report that the lock that allows to take several is not held."""
    lines = [
        f"{occasion.actor} is trying to lock:",
        f" {held.line()}",
        "",
        "but this task is not holding:",
        f" {nest_lock.name}",
        "",
        *_held_lines(occasion.actor, stack),
        *_backtrace(occasion),
    ]
    return _finding(NOT_NESTED, str(held.node), lines, _NEST_TEACHES, occasion)


def invalid_context(what: str, cpu: Processor, stack: list[Held], occasion: Occasion) -> Finding:
    """Report that something that may sleep was called where sleeping is forbidden."""
    in_atomic = bool(cpu.spinlocks_held or cpu.contexts or cpu.rcu_nesting)
    lines = [
        f"{occasion.actor} calls what may sleep: {what}",
        f"in_atomic(): {in_atomic:d}, irqs_disabled(): {not cpu.irqs_enabled:d}",
        f"in interrupt: {' > '.join(cpu.contexts) or 'no'}",
        f"spinlocks held: {cpu.spinlocks_held}, RCU nest depth: {cpu.rcu_nesting}, expected: 0",
        *_held_lines(occasion.actor, stack),
        *_backtrace(occasion),
    ]
    return _finding(SLEEPING, what, lines, _SLEEP_TEACHES, occasion)


# -- parts of reports ------------------------------------------------------------------------------


def _finding(
    headline: str, classes: str, lines: list[str], teaches: str, occasion: Occasion
) -> Finding:
    is_sleep = headline == SLEEPING
    title = f"{'BUG' if is_sleep else 'WARNING'}: {headline}"
    report = ["=" * len(title), title, "-" * len(title), *lines, "", *_wrapped(teaches)]
    return Finding(
        law=Law.ATOMIC_SLEEP if is_sleep else Law.LOCK_ORDER,
        actor=occasion.actor,
        t_ns=occasion.t_ns,
        what=f"{headline}: {classes}",
        report="\n".join(report),
    )


def _wrapped(text: str, width: int = 100) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def _wish(second: LockNode) -> str:
    return "waits for an IPI" if second.is_ipi else "is trying to acquire lock"


def _state(first: LockNode) -> str:
    return "its CPU has" if first.is_ipi else "task is already holding lock"


def _edge_text(edge: Edge) -> str:
    if edge.second.is_ipi:
        return f"IPI, waited for with {class_text(edge.first)} held"
    if edge.first.is_ipi:
        return f"{class_text(edge.second)}, wanted with interrupts off"
    return f"{class_text(edge.second)}, wanted with {class_text(edge.first)} held"


def _order_lines(edge: Edge, order: Order) -> list[str]:
    lines = _indented(order.occasion)
    if order.first_at is not None:
        lines.append(f"       ({edge.first} was taken at {place_text(order.first_at)})")
    if edge.first.is_ipi and order.irqs_disabled is not None:
        off = order.irqs_disabled
        lines += ["       interrupts were turned off", *_indented(off)]
    return lines


def _indented(occasion: Occasion) -> list[str]:
    return [f"       {line}" for line in occasion.lines()]


def _chain_lines(nodes: list[LockNode]) -> list[str]:
    if len(nodes) <= 3:
        return []
    return ["Chain exists of:", f"  {' --> '.join(map(str, nodes))}", ""]


def _scenario(links: list[tuple[Edge, Any]]) -> list[str]:
    """Return who would wait for whom, one column a CPU, each with one order of the cycle."""
    columns = list(reversed(links))
    names = "".join(f"CPU{at}".ljust(_COLUMN) for at in range(len(columns)))
    lines = [" Possible unsafe locking scenario:", ""]
    lines += [" " * 7 + names.rstrip(), " " * 7 + ("----".ljust(_COLUMN) * len(columns)).rstrip()]
    # Each takes what it holds first; then all want what the next one holds.
    for at, (edge, _) in enumerate(columns):
        has = "local_irq_disable()" if edge.first.is_ipi else f"lock({edge.first})"
        lines.append(f"{'':{_margin(at)}}{has};")
    for at, (edge, _) in enumerate(columns):
        wants = "wait for the IPI" if edge.second.is_ipi else f"lock({edge.second})"
        lines.append(f"{'':{_margin(at)}}{wants};")
    return [*lines, "", " *** DEADLOCK ***", ""]


def _margin(column: int) -> int:
    return 2 if column == 0 else 7 + column * _COLUMN


def _held_lines(who: str, stack: list[Held]) -> list[str]:
    if not stack:
        return [f"no locks held by {who}."]
    plural = "s" if len(stack) > 1 else ""
    lines = [f"{len(stack)} lock{plural} held by {who}:"]
    for number, held in enumerate(stack):
        waits = " (waits for it)" if held.is_waiting else ""
        lines.append(f" #{number}: {held.line()}{waits}")
    return lines


def _backtrace(occasion: Occasion) -> list[str]:
    return ["", "stack backtrace:", *_indented(occasion)]


def _first(node: LockNode, usages: tuple[Usage, Usage]) -> Occasion:
    occasion: Occasion = next(node.usages[usage] for usage in usages if usage in node.usages)
    return occasion
