"""Litmus tests made of cycles, as diy makes them (Alglave, Maranget: diy.inria.fr/doc/gen.html).

A cycle goes from access to access. What leads to another processor is communication: Rfe (a load
sees a store), Fre (a load misses a store), Wse (a store is overwritten). What stays on one is the
order of a program: PodXY from an access X to an access Y of another cell, MFencedXY with a fence
between, Rfi (a load sees the store of its own processor). What comes out in the end says that all
of the cycle took place. Whether it may is judged here by the axioms of x86-TSO (Owens, Sarkar,
Sewell 2009, as Herding cats writes them down): the orders of memory have no cycle.
"""

from itertools import product

from attrs import frozen
from brute_force.litmus import Litmus

COMMUNICATION = {"Rfe": "WR", "Fre": "RW", "Wse": "WW"}
PROGRAM_ORDER = {f"Pod{kinds}": kinds for kinds in ("RR", "RW", "WR", "WW")}
FENCED = {f"MFenced{kinds}": kinds for kinds in ("RR", "RW", "WR", "WW")}
INTERNAL = {"Rfi": "WR"}
CHANGES = {**PROGRAM_ORDER, **FENCED}
"""What leads to another cell."""
_SHORTER = {("Rfe", "Fre"), ("Fre", "Wse"), ("Wse", "Wse")}
"""One edge says as much: Wse, Fre, Wse."""
EDGES = {**COMMUNICATION, **PROGRAM_ORDER, **FENCED, **INTERNAL}
MAX_PROCESSORS = 4
MAX_STORES = 2
"""To one cell: then the last value says in which order they came."""


@frozen
class Access:
    """One access of a test."""

    kind: str
    """R or W."""
    cell: str
    value: int
    processor: int
    is_fenced: bool
    """There is a fence before it."""


def cycles(length):
    """Return all cycles of so many edges that make a test, each once, not once a rotation."""
    found = {}
    for cycle in _paths(length):
        rotations = [cycle[at:] + cycle[:at] for at in range(length)]
        if cycle == min(rotations) and _fits(cycle):
            start = next((turn for turn in rotations if _is_start(turn)), None)
            if start is not None and _accesses(start) is not None:
                found[start] = None
    return list(found)


def _paths(length):
    """Yield all rows of so many edges, none of which makes the one before it say nothing."""
    left = [(edge,) for edge in EDGES]
    while left:
        path = left.pop()
        if len(path) == length:
            yield path
        else:
            left += [(*path, edge) for edge in EDGES if _may_follow(path[-1], edge)]


def _may_follow(one, other):
    """Return whether an edge can come behind another, and both say something."""
    return (
        EDGES[one][1] == EDGES[other][0]
        and (one, other) not in _SHORTER
        and not (one in CHANGES and other in CHANGES)  # Nobody else knows the cell between.
    )


def _fits(cycle):
    """Return whether the row of edges is a cycle of several cells and processors."""
    talks = sum(edge in COMMUNICATION for edge in cycle)
    return (
        _may_follow(cycle[-1], cycle[0])
        and sum(edge in CHANGES for edge in cycle) >= 2
        and 2 <= talks <= MAX_PROCESSORS
    )


def _is_start(cycle):
    """Return whether a cycle begins with a cell and a processor of its own."""
    return cycle[-1] in COMMUNICATION


def _accesses(cycle):
    """Return the accesses of a cycle, in its order; None: it has too many stores to a cell."""
    changes = sum(edge in CHANGES for edge in cycle)
    names = "xyzvw"[:changes]
    at = processor = 0
    found = []
    for edge, before in zip(cycle, (cycle[-1], *cycle[:-1]), strict=True):
        found.append((EDGES[edge][0], names[at], processor, before in FENCED))
        if edge in COMMUNICATION:
            processor += 1
        elif edge != "Rfi":
            at = (at + 1) % changes
    values = _values(cycle)
    if values is None:
        return None
    return [
        Access(kind, cell, value, number, is_fenced)
        for (kind, cell, number, is_fenced), value in zip(found, values, strict=True)
    ]


def _values(cycle):
    """Return what each access stores or sees: along the cycle the values of a cell grow."""
    length = len(cycle)
    values = [None] * length
    for first in range(length):
        if cycle[first - 1] not in CHANGES:
            continue
        last = 0
        at = first
        while True:
            if EDGES[cycle[at]][0] == "W":
                last += 1
            values[at] = last
            if cycle[at] in CHANGES:
                break
            at = (at + 1) % length
        if last > MAX_STORES:
            return None
    return values


def litmus_of(cycle):
    """Return the test of a cycle, with the verdict of the axioms."""
    accesses = _accesses(cycle)
    columns = [[] for _ in range(accesses[-1].processor + 1)]
    exists = []
    for number, access in enumerate(accesses):
        column = columns[access.processor]
        if access.is_fenced:
            column.append(("F",))
        if access.kind == "W":
            column.append(("W", access.cell, str(access.value)))
        else:
            column.append(("R", access.cell, f"r{number}"))
            exists.append((f"r{number}", access.value))
    for cell in dict.fromkeys(access.cell for access in accesses):
        stores = [access.value for access in accesses if access.cell == cell and access.kind == "W"]
        if len(stores) > 1:
            exists.append((cell, max(stores)))
    return Litmus(
        name="+".join(cycle),
        verdict="forbidden" if _is_forbidden(accesses) else "relaxed",
        source="axioms of x86-TSO",
        columns=tuple(map(tuple, columns)),
        exists=(tuple(exists),),
    )


def _is_forbidden(accesses):
    """Return whether the outcome is against one of the two axioms.

    Each cell alone is in order (uniproc). And memory is: loads and stores of one processor, but a
    store and a later load only if there is a fence between, and what processors see of others.
    """
    numbered = list(enumerate(accesses))
    same_cell = set()
    memory = set()
    for (one, first), (other, second) in product(numbered, repeat=2):
        is_same = first.cell == second.cell
        if one < other and first.processor == second.processor:
            if is_same:
                same_cell.add((one, other))
            is_fenced = any(access.is_fenced for access in accesses[one + 1 : other + 1])
            if first.kind + second.kind != "WR" or is_fenced:
                memory.add((one, other))
        if not is_same or one == other:
            continue
        if first.kind + second.kind == "WR":
            if first.value == second.value:
                same_cell.add((one, other))
                if first.processor != second.processor:
                    memory.add((one, other))
        elif second.kind == "W" and first.value < second.value:
            same_cell.add((one, other))
            memory.add((one, other))
    return _has_cycle(same_cell) or _has_cycle(memory)


def _has_cycle(pairs):
    """Return whether one can go round and come back."""
    after = set(pairs)
    while True:
        longer = {(a, d) for a, b in after for c, d in pairs if b == c} - after
        if not longer:
            return any(one == other for one, other in after)
        after |= longer
