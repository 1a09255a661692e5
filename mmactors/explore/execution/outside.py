"""What actors share outside the scope: accesses whose order was never tried, and would matter.

Two accesses to one object matter if they are of two actors, do not commute, and at least one of
them was no choice point. They do not if both were made under one lock that is in scope: its order
was tried. If that lock is outside the scope, it is the lock that has to be named: the order of what
it guards is the lock's. A law that holds after each step looks between any two of them.

What is taken for shared here may be ordered by something else, such as a flag; nothing that is
shared is left out, so that a scope with nothing shared outside it finds what no scope would.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from enum import Enum
from itertools import combinations, product
from typing import Final, NamedTuple

from attrs import frozen

from mmactors.label import Mode

Lock = tuple[str, bool]
"""A lock that is held, and whether alone."""
A_LAW: Final = "a law"
"""Who reads what laws look at after each step."""


class Kind(Enum):
    """What an object is, by what one does to it."""

    VALUE = "write"
    LOCK = "lock"
    MAILBOX = "send"


class Access(NamedTuple):
    """How somebody touches an object outside the scope, in any schedule."""

    name: str
    actor: str
    mode: Mode
    is_choice: bool
    """The step was a choice point, because it touches what is in scope as well."""
    locks: frozenset[Lock]


@frozen(kw_only=True)
class SharedOutside:
    """An object, or a column of them, that actors share outside the scope."""

    name: str
    elements: tuple[str, ...]
    """The names of those that are shared; just `name` if it is no column."""
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    under: tuple[str, ...]
    """Locks outside the scope that order all its accesses: one of them is to be named instead."""
    kind: Kind

    def as_json(self) -> dict[str, object]:
        """Return what JSON can hold of it."""
        return {
            "name": self.name,
            "elements": list(self.elements),
            "written_by": list(self.written_by),
            "read_by": list(self.read_by),
            "under": list(self.under),
            "kind": self.kind.name.lower(),
        }

    def who(self) -> str:
        """Return who does what to it."""
        write = (
            f"{_and(self.written_by)} {self.kind.value}{'' if len(self.written_by) > 1 else 's'}"
        )
        if not self.read_by:
            return write
        return f"{write}, {_and(self.read_by)} read{'' if len(self.read_by) > 1 else 's'}"


def shared(
    accesses: Iterable[Access],
    scope: Collection[str],
    *,
    read_by_laws: Collection[str],
    kind_of: Callable[[str], Kind],
) -> tuple[SharedOutside, ...]:
    """Return what is shared, by column, in the order of their names."""
    columns: dict[str, list[Access]] = {}
    for access in accesses:
        columns.setdefault(column_of(access.name), []).append(access)
    for name in read_by_laws:
        if column_of(name) in columns:
            law = Access(name, A_LAW, Mode.READ, is_choice=True, locks=frozenset())
            columns[column_of(name)].append(law)
    found = (_of_column(columns[name], scope, kind_of) for name in sorted(columns))
    return tuple(each for each in found if each is not None)


def to_add(found: Iterable[SharedOutside]) -> tuple[str, ...]:
    """Return what has to be named in the scope so that nothing would be shared outside it.

    What a lock guards needs the lock alone.
    """
    return tuple(each.name for each in found if not each.under)


def widened(scope: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    """Return the scope with more columns; elements of those need no names of their own."""
    added = tuple(more)
    return (*[name for name in scope if column_of(name) not in added], *added)


def column_of(name: str) -> str:
    """Return the column that an object is an element of, or its name."""
    return name.partition("[")[0]


def _of_column(
    accesses: list[Access], scope: Collection[str], kind_of: Callable[[str], Kind]
) -> SharedOutside | None:
    if len({access.actor for access in accesses}) == 1:
        return None
    elements: set[str] = set()
    actors: dict[str, Mode] = {}
    guards: set[str] | None = None
    for one, other in _overlapping(accesses):
        if not _may_race(one, other):
            continue
        common = _common_locks(one.locks, other.locks)
        if any(is_named(lock, scope) for lock in common):
            continue
        kinds = set(map(column_of, common))
        guards = kinds if guards is None else guards & kinds
        for access in (one, other):
            if access.actor is not A_LAW:
                elements.add(access.name)
            if actors.get(access.actor) in (None, Mode.READ):
                actors[access.actor] = access.mode
    if guards is None:
        return None
    return SharedOutside(
        name=column_of(accesses[0].name),
        elements=tuple(sorted(elements)),
        written_by=tuple(sorted(who for who, mode in actors.items() if mode is not Mode.READ)),
        read_by=tuple(sorted(who for who, mode in actors.items() if mode is Mode.READ)),
        under=tuple(sorted(guards)),
        kind=kind_of(min(elements)),
    )


def is_named(name: str, scope: Collection[str]) -> bool:
    """Return whether the scope names an object, or the column that it is of."""
    return name in scope or column_of(name) in scope


def _may_race(one: Access, other: Access) -> bool:
    return (
        one.actor != other.actor
        and not (one.is_choice and other.is_choice)
        and (one.mode is not other.mode or one.mode is Mode.WRITE)
    )


def _overlapping(accesses: list[Access]) -> Iterator[tuple[Access, Access]]:
    """Return pairs of accesses to one object, or to an object and one that it contains."""
    by_name: dict[str, list[Access]] = {}
    for access in accesses:
        by_name.setdefault(access.name, []).append(access)
    for name, here in by_name.items():
        yield from combinations(here, 2)
        at = name.find("[")
        while at >= 0:
            yield from product(here, by_name.get(name[:at], ()))
            at = name.find("[", at + 1)


def _common_locks(ours: frozenset[Lock], theirs: frozenset[Lock]) -> set[str]:
    """Return the locks that keep the two apart: two readers of a lock are not kept apart."""
    alone = dict(theirs)
    return {name for name, is_alone in ours if name in alone and (is_alone or alone[name])}


def _and(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
