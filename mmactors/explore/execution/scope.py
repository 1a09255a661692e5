"""What is in scope: the objects whose steps are choice points. The rest runs without choices.

Without a scope every step that touches something is a choice point. With one, steps outside belong
to the step before them. What actors do to objects outside is taken down, with the locks that they
hold; what of that is shared (outside.py) is named in the verdict: about its order nothing was found
out.

An actor that serves requests acts for who asked: what it touches until it answers, the asker
touches, with the mailbox for a lock.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final

from mmactors.engine.actor import Keyed
from mmactors.engine.mailbox import Mailbox, Reply
from mmactors.errors import Place, Problem, UserError
from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step, Touches
from mmactors.explore.engine.store_buffer import BUFFER_NAME
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.engine.view import find_in, is_cpu
from mmactors.explore.execution.outside import (
    Access,
    Kind,
    Lock,
    SharedOutside,
    column_of,
    shared,
)
from mmactors.explore.world.mailbox import SharedMailbox

_NO_LOCKS: Final[frozenset[Lock]] = frozenset()
_NR_NAMES: Final = 12
"""So many names an error gives."""


class Scope:
    """The names of one search; None: everything."""

    def __init__(self, given: tuple[str, ...] | None, engine: SearchEngine) -> None:
        self.names = given
        self.outside: dict[Access, None] = {}
        """What was done outside the scope, in any schedule."""
        self._given: Final = given
        self._engine: Final = engine
        self._known: Final[dict[Step, bool]] = {}
        self._noted: Final[set[tuple[object, ...]]] = set()
        self._locks: Final[dict[Step, tuple[str, ...]]] = {}
        """By step: what it touches that somebody may hold."""
        self._held: Final[dict[str, dict[int, bool]]] = {}
        """By lock: who holds it in this schedule, and whether alone."""
        self._has_skipped = False
        """Steps were taken of which nobody told."""
        self._locks_of: Final[dict[int, frozenset[Lock]]] = {}
        self.touched: Final[set[str]] = set()
        """All that any step touched, by name."""

    def begin(self, names: tuple[str, ...] | None) -> None:
        """Use what the world says unless the search was given something; a schedule begins."""
        if self._given is None and names != self.names:
            self.names = names
            self.forget()
        for holders in self._held.values():
            holders.clear()
        self._locks_of.clear()
        self._has_skipped = True

    def skip(self) -> None:
        """Note that steps are taken again of which all was noted the first time."""
        self._has_skipped = True

    def forget(self) -> None:
        """What was explored so far is void."""
        self.outside = {}
        self._known.clear()
        self._noted.clear()

    def is_named(self, name: str) -> bool:
        """Return whether the scope names an object, or the column that it is of."""
        names = self.names
        return names is None or name in names or name.partition("[")[0] in names

    def is_outside(self, step: Step) -> bool:
        """Return whether a step touches nothing in scope."""
        if self.names is None:
            return False
        known = self._known.get(step)
        if known is None:
            known = self._known[step] = any(self.is_named(name) for name, _ in step.touches)
            self.touched.update(name for name, _ in step.touches)
        return not known

    # -- what is done ------------------------------------------------------------------------------

    def took(self, actor: SearchActor, step: Step, extra: Touches, *, is_choice: bool) -> None:
        """Note that an actor took a step, and touched `extra` besides what that declares."""
        if self._has_skipped:
            self._has_skipped = False
            for name in self._held:
                self._look_at_lock(name)
        if step not in self._locks:
            self._locks[step] = tuple(
                name for name, _ in step.touches if _holders(self._find(name)) is not None
            )
        for name in self._locks[step]:
            self._look_at_lock(name)
        self._note(actor, step, extra, is_choice=is_choice)
        pending = actor.pending
        if actor.gate is not None and not actor.finished and self.is_outside(pending):
            self._note(actor, pending, (), is_choice=False)  # It may never come to that, and would.

    def merge(self, outside: dict[Access, None]) -> None:
        """Add what another process noted."""
        self.outside.update(outside)

    def shared_outside(self, read_by_laws: Iterable[str] = ()) -> tuple[SharedOutside, ...]:
        """Return what actors share outside the scope, with what laws read after each step."""
        if self.names is None:
            return ()
        laws = [name for name in read_by_laws if not self.is_named(name)]
        return shared(self.outside, self.names, read_by_laws=laws, kind_of=self._kind_of)

    def must_name_objects(self, objects: Iterable[str], *, is_exhausted: bool) -> None:
        """Raise UserError if a name of the scope names nothing that is there or was touched.

        If not all was tried it may name what was not touched yet, unless it looks like a slip. Who
        finds objects when they are asked for knows better which names there are.
        """
        if self.names is None or type(self._engine.objects) is not dict:
            return
        known = {*self.touched, *objects}
        columns = sorted({column for column in map(column_of, known) if not is_cpu(column)})
        for name in self.names:
            if name in known or column_of(name) in columns:
                continue
            near = get_close_matches(name, sorted(known), n=1)
            near = near or get_close_matches(column_of(name), columns, n=1)
            if near or is_exhausted:
                raise UserError(_names_nothing(name, columns, near))

    def _note(self, actor: SearchActor, step: Step, extra: Touches, *, is_choice: bool) -> None:
        locks = self._locks_of.get(actor.index, _NO_LOCKS)
        name = actor.name
        if name in self._engine.registered:
            name, locks = self._acts_for(actor, locks)
        elif name.startswith(BUFFER_NAME):
            name = name.removeprefix(BUFFER_NAME)  # Who stored sees no difference.
        key = (name, step, extra, is_choice, locks)
        if key in self._noted:
            return
        self._noted.add(key)
        names = self.names or ()
        for touched, mode in step.touches + extra:
            self.touched.add(touched)
            # An element in scope may be a part of what others touch as a whole, and that is not.
            if column_of(touched) not in names and not self._is_handed_over(actor, touched):
                self.outside[Access(touched, name, mode, is_choice, locks)] = None

    def _is_handed_over(self, actor: SearchActor, name: str) -> bool:
        """Return whether an object only hands something over: to give and to take commute."""
        if is_cpu(name) or name.startswith(BUFFER_NAME):
            return True
        thing = self._find(name)
        if isinstance(thing, Mailbox) and thing.is_read_by(actor):
            return True
        return isinstance(thing, SharedMailbox) or getattr(thing, "hands_over", False)

    def _acts_for(self, actor: SearchActor, locks: frozenset[Lock]) -> tuple[str, frozenset[Lock]]:
        """Return for whom the reader of a mailbox acts, and under which locks."""
        mailbox = self._engine.registered[actor.name]
        if not isinstance(mailbox, Mailbox):
            return actor.name, locks
        waiting = mailbox.waiting()
        askers = [
            other
            for other in self._engine.party
            if type(other.waits_for) is Reply
            and other.waits_for.server == actor.name
            and other.index not in waiting
        ]
        own = frozenset({(actor.name, True)})
        if len(askers) != 1:
            return actor.name, locks | own
        return askers[0].name, self._locks_of.get(askers[0].index, _NO_LOCKS) | own

    def _kind_of(self, name: str) -> Kind:
        thing = self._find(name)
        if isinstance(thing, Mailbox):
            return Kind.MAILBOX
        return Kind.VALUE if _holders(thing) is None else Kind.LOCK

    def _look_at_lock(self, name: str) -> None:
        """Note who holds a lock now."""
        before = self._held.setdefault(name, {})
        now = _holders(self._find(name)) or {}
        if now == before:
            return
        self._held[name] = now
        for index in {*before, *now}:
            locks = {lock for lock in self._locks_of.get(index, _NO_LOCKS) if lock[0] != name}
            if index in now:
                locks.add((name, now[index]))
            self._locks_of[index] = frozenset(locks)

    def _find(self, name: str) -> Keyed | None:
        engine = self._engine
        found = find_in(engine.registered, name)
        return find_in(engine.objects, name) if found is None else found


def _holders(thing: Any) -> dict[int, bool] | None:
    """Return who holds a lock, and whether alone; None: it is no lock."""
    try:
        holder = thing.holder
    except AttributeError:
        try:
            readers, holder = thing.readers, thing.writer
        except AttributeError:
            return None
        held = {reader.index: False for reader in readers}
    else:
        held = {}
    if holder is not None:
        held[holder.index] = True
    return held


def _names_nothing(name: str, columns: list[str], near: list[str]) -> Problem:
    more = f" and {len(columns) - _NR_NAMES} more" if len(columns) > _NR_NAMES else ""
    return Problem(
        place=Place("scope"),
        found=f"it names {name!r}, and no step touches an object of that name",
        legal=f"expected names of objects: {', '.join(columns[:_NR_NAMES])}{more}",
        advice=f"did you mean {near[0]}?" if near else "leave it out, or name what steps touch",
    )
