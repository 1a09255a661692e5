"""O13: objects of the kernel's caches: who has which, from when to when, and what lies around them.

A shadow of the allocator that trusts none of its words: each object that is handed out has a record
of its own, which a program's names are bound to, so that a name stays known as stale when somebody
else has the memory by now. What an object and the bytes around it hold is remembered too: they
change by who has the object, and by nobody else. Looked at are both neighbours of an object that is
handed out, the object that is freed, and all at rest.

Not seen: what lies behind an object of a program's cache that became an alias of a larger one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from attrs import define, field

from mmactors.checks import ObjectChecks
from mmactors.mm.slab.allocator import KmemCacheLike
from mmactors.mm.slab.flags import SLAB_KMALLOC
from mmactors.mm.slab.oops import pointer
from mmactors.sanitize.law import Law
from mmactors.sanitize.slab.look import Look
from mmactors.units import PAGE_SHIFT

Report = Callable[[Law, str, Sequence[str]], None]
_SHOWN_MAX: Final = 16
"""So many bytes are shown."""


class Deed(NamedTuple):
    """Somebody did something with an object. A tuple: a checkpoint need not look into it."""

    actor: str
    t_ns: int
    doing: object
    """The operation of a program; None: nobody was told to do it."""

    def __str__(self) -> str:
        doing = "" if self.doing is None else f", doing `{self.doing}`"
        return f"by {self.actor} at t={self.t_ns} ns{doing}"


BOOT: Final = Deed("boot", 0, None)


@define(eq=False)
class Record:
    """One object, from when it was handed out until its memory is another object's."""

    thing: int
    cache: str
    """Its name; empty: the pages are no slab."""
    index: int
    """In its slab."""
    slab: int
    object_size: int
    """Of the cache, in bytes."""
    nr_bytes: int
    """What was asked for."""
    allocated: Deed
    freed: Deed | None = None
    is_named: bool = False
    """A program was given it."""
    first: int = 0
    """Where the bytes begin that nobody else changes."""
    kept: bytes = b""
    """They, as they should be."""

    def __str__(self) -> str:
        where = f"0x{pointer(self.thing)}"
        if not self.cache:
            return f"kmalloc's block of {self.nr_bytes} bytes at {where}"
        return f"object {self.index} of slab {self.slab:#x} of {self.cache} at {where}"

    def story(self) -> list[str]:
        """Return who allocated it, and who freed it."""
        facts = [f"{self} was allocated {self.allocated}"]
        if self.freed is not None:
            facts.append(f"and freed {self.freed}")
        return facts


@define(eq=False)
class Objects(ObjectChecks):
    """Knows all objects of a machine."""

    look: Look
    report: Report
    now: Callable[[], Deed]
    is_telling: bool
    """Whether what is found is reported; else the records are only kept."""
    records: dict[int, Record] = field(factory=dict, init=False)
    """By address: the last object there."""
    used: dict[int, set[int]] = field(factory=dict, init=False)
    """By slab: its objects that somebody has."""
    names: dict[tuple[int, str], Record | None] = field(factory=dict, init=False)
    """By program and name: what it was bound to last; None: to nothing."""
    _misplaced: set[int] = field(factory=set, init=False)
    """Caches of which it was said that their pointers lie beside their objects."""
    _blamed: dict[str, int] = field(factory=dict, init=False)
    """By actor: what it is freeing, which was reported already."""

    def __attrs_post_init__(self) -> None:
        for s, thing in self.look.used_objects():
            self._record(s, thing, BOOT)

    # -- what caches tell ----------------------------------------------------------------------

    def object_allocated(self, cache: object, thing: int) -> None:
        """Note who has it; look at its neighbours, and at what was there before."""
        before = self.records.get(thing)
        now = self.now()
        if before is not None and before.freed is None:
            facts = [*before.story(), f"and is handed out again {now}"]
            self._tell(Law.OBJECT_TWICE, f"{before} is in use and is handed out", facts)
        elif before is not None:
            self._look_at(before)
        record = self._record(_cache(cache), thing, now)
        if record.cache:
            size = len(record.kept)
            for beside in (thing - size, thing + size):
                other = self.records.get(beside)
                if other is not None and other.slab == record.slab:
                    self._look_at(other)

    def object_freed(self, cache: object, thing: int) -> None:
        """Note that nobody has it any more; look whether anybody had."""
        now = self.now()
        is_blamed = self._blamed.pop(now.actor, None) == thing
        record = self.records.get(thing)
        if record is None:
            self._tell_no_object(thing)
        elif record.freed is not None:
            if not is_blamed:
                self._tell_freed_twice(record, now)
        else:
            s = _cache(cache)
            if record.cache != ("" if s is None else s.name):
                self._tell_wrong_cache(record, s)
            if s is not None:
                self._forget_freepointer(s, record)
            self._look_at(record)
            record.freed = now
            self.used[record.slab].discard(thing)
            self._keep_free(s, record)
            if s is not None and s.number not in self._misplaced:
                self._look_where_pointer_is(s, record)

    def wrong_cache(self, cache: object, own: object, thing: int) -> None:
        """Report it, with who had the object from where."""
        wrong, right = _cache(cache), _cache(own)
        assert wrong is not None, "a cache is told"
        assert right is not None, "a cache is told"
        record = self.records.get(thing)
        what = f"0x{pointer(thing)}" if record is None else str(record)
        facts = [] if record is None else record.story()
        is_kmalloc = right.flags & SLAB_KMALLOC
        facts.append(
            f"legal: {'kfree' if is_kmalloc else f'kmem_cache_free as one of {right.name}'}"
        )
        told = f"another {wrong.name}" if wrong.name == right.name else wrong.name
        self._tell(Law.WRONG_CACHE, f"{what} is freed as an object of {told}", facts)

    def _tell_wrong_cache(self, record: Record, wrong: KmemCacheLike | None) -> None:
        """Report what an allocator takes for somebody's whose it is not, as SLOB always does."""
        legal = f"kmem_cache_free as one of {record.cache}" if record.cache else "kfree"
        told = "what kmalloc has returned" if wrong is None else f"an object of {wrong.name}"
        facts = [*record.story(), f"legal: {legal}"]
        self._tell(Law.WRONG_CACHE, f"{record} is freed as {told}", facts)

    def object_written(self, address: int, nr_bytes: int) -> None:
        """Take what is there now for what should be."""
        memory = self.look.memory
        for thing in self._things(address, address + nr_bytes):
            record = self.records[thing]
            end = record.first + len(record.kept)
            record.kept = bytes(memory.bytes_view[record.first : end])

    def object_is_allocators(self, thing: int) -> None:
        """Let it hold whatever it holds."""
        self.records[thing].kept = b""

    # -- what programs tell --------------------------------------------------------------------

    def object_named(self, owner: int, name: str, thing: int, nr_bytes: int) -> None:
        """Bind a name to the object that is at an address now."""
        record = self.records.get(thing)
        self.names[owner, name] = record
        if record is not None:
            record.nr_bytes = nr_bytes
            record.is_named = True

    def name_freed(self, owner: int, name: str) -> None:
        """Look whether the name's object was freed before, whoever has its memory now."""
        record = self.names.get((owner, name))
        if record is not None and record.freed is not None:
            now = self.now()
            self._tell_freed_twice(record, now)
            self._blamed[now.actor] = record.thing

    def name_used(
        self, owner: int, name: str, offset: int, nr_bytes: int, *, is_write: bool
    ) -> None:
        """Look whether the name's object is there, and has these bytes."""
        record = self.names.get((owner, name))
        if record is None:
            return
        does = "writes" if is_write else "reads"
        last = offset + nr_bytes - 1
        where = f"byte {offset}" if nr_bytes == 1 else f"bytes {offset} to {last}"
        what = f"`{name}` {does} {where} of {record}"
        if record.freed is not None:
            facts = record.story()
            owner_now = self.records[record.thing]
            if owner_now is not record:
                facts += ["there is now:", *owner_now.story()]
            facts.append("legal: nothing, until it is allocated again")
            self._tell(Law.USE_AFTER_FREE, what, facts)
        elif offset < 0 or last >= record.nr_bytes:
            legal = f"bytes 0 to {record.nr_bytes - 1}" if record.nr_bytes else "no byte"
            facts = [*record.story(), f"legal: {legal}, which were asked for"]
            first = record.thing + offset
            hit = self._things(first, first + nr_bytes)
            facts += [
                f"in the way is {self.records[thing]}, allocated {self.records[thing].allocated}"
                for thing in hit
                if thing != record.thing and self.records[thing].freed is None
            ]
            self._tell(Law.OUT_OF_BOUNDS, f"{what}, which has {record.nr_bytes} bytes", facts)

    # -- at rest -------------------------------------------------------------------------------

    def look_at_all(self) -> None:
        """Compare what all objects hold with what they should."""
        for record in list(self.records.values()):
            self._look_at(record)

    # -- how -----------------------------------------------------------------------------------

    def own_bytes(self, thing: int) -> tuple[int, int]:
        """Return which bytes only who has an object changes, half open."""
        record = self.records[thing]
        return record.first, record.first + len(record.kept)

    def _record(self, s: KmemCacheLike | None, thing: int, now: Deed) -> Record:
        look = self.look
        if s is None:
            slab = thing >> PAGE_SHIFT
            record = Record(thing, "", 0, slab, 0, 0, now)
        else:
            slab, size = look.slab_of(s, thing), s.object_size
            record = Record(thing, s.name, look.index_of(s, slab, thing), slab, size, size, now)
        self._keep(record, *look.own_bytes(s, thing))
        self.records[thing] = record
        self.used.setdefault(slab, set()).add(thing)
        return record

    def _keep(self, record: Record, first: int, end: int) -> None:
        """Remember bytes, as they should stay."""
        record.first = first
        record.kept = bytes(self.look.memory.bytes_view[first:end])

    def _forget_freepointer(self, s: KmemCacheLike, record: Record) -> None:
        """Let the pointer be what it is, which the cache has written already, or will."""
        first, end = self.look.freepointer(s, record.thing)
        seen = bytes(self.look.memory.bytes_view[first:end])
        before, behind = first - record.first, end - record.first
        record.kept = record.kept[:before] + seen + record.kept[behind:]

    def _look_where_pointer_is(self, s: KmemCacheLike, record: Record) -> None:
        """Report a cache whose pointers end behind its objects, where there is no room for them.

        Who sees bytes only does not see it: the upper half of a pointer is always the same there.
        """
        found = self.look.misplaced(s)
        if found is None:
            return
        self._misplaced.add(s.number)
        size = record.object_size
        facts = [*record.story(), f"legal: bytes 0 to {size - 1}, or a word behind them for it"]
        where = f"in bytes {found[0]} to {found[1] - 1} of {record}, which has {size} bytes"
        self._tell(Law.OUT_OF_BOUNDS, f"the pointer to the next free object is {where}", facts)

    def _keep_free(self, s: KmemCacheLike | None, record: Record) -> None:
        """Remember what nobody changes of a free object."""
        record.kept = b""
        if s is not None:
            self._keep(record, *self.look.free_bytes(s, record.thing, record.object_size))

    def _look_at(self, record: Record) -> None:
        """Report bytes that somebody has changed who had no right to."""
        memory = self.look.memory.bytes_view
        first, kept = record.first, record.kept
        seen = bytes(memory[first : first + len(kept)])
        if seen == kept:
            return
        if not self.look.is_there(record.slab, record.cache, record.thing):
            record.kept = b""
            return
        record.kept = seen
        changed = [nth for nth in range(len(kept)) if kept[nth] != seen[nth]]
        begin, end = changed[0], changed[-1] + 1
        shown = slice(begin, min(end, begin + _SHOWN_MAX))
        offset = first + begin - record.thing
        of_object = f"{record}, which has {record.object_size} bytes"
        facts = [
            *record.story(),
            f"they were {kept[shown].hex(' ')}",
            f"they are {seen[shown].hex(' ')}",
            f"found {self.now()}; it was done in this call, or since one that looked at them",
            "legal: stores by who has the object, to its own bytes",
        ]
        last = offset + end - begin - 1
        what = f"bytes {offset} to {last} of {of_object}, were written by nobody who has it"
        self._tell(Law.OUT_OF_BOUNDS, what, facts)

    def _things(self, begin: int, end: int) -> list[int]:
        """Return the objects whose bytes, or those around them, are in a range."""
        return [thing for thing in self.look.things(begin, end, self) if thing in self.records]

    def _tell_freed_twice(self, record: Record, now: Deed) -> None:
        facts = [*record.story(), f"and freed again {now}"]
        there = self.records[record.thing]
        if there is not record:
            facts += ["by now there is:", *there.story()]
        facts.append("legal: nothing, until it is allocated again")
        self._tell(Law.OBJECT_FREED_TWICE, f"{record} is free and is freed", facts)

    def _tell_no_object(self, thing: int) -> None:
        facts = []
        what = "was never handed out"
        for start in self._things(thing, thing + 1):
            record = self.records[start]
            what = f"is {thing - start} bytes behind the start of {record}"
            facts = [*record.story(), f"legal: 0x{pointer(start)}"]
        self._tell(Law.NO_OBJECT_FREED, f"0x{pointer(thing)} is freed, which {what}", facts)

    def _tell(self, law: Law, what: str, facts: Sequence[str]) -> None:
        if self.is_telling:
            self.report(law, what, facts)


def _cache(cache: Any) -> KmemCacheLike | None:
    found: KmemCacheLike | None = cache
    return found
