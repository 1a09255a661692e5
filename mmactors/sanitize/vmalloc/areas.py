"""O15: areas of the kernel's addresses: who has which, from when to when, and how it goes back.

A program's name stays known as stale when somebody else has the addresses by now. What is unmapped
is freed lazily, so that a CPU may still reach it: who does so uses what it has given back.
"""

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field

from mmactors.checks import AreaChecks
from mmactors.hw.watch import CachedEntry
from mmactors.sanitize.law import Law
from mmactors.sanitize.page_history import Moment, PageHistory
from mmactors.sanitize.slab.objects import Deed
from mmactors.sanitize.vmalloc.forgotten import Forgotten, kernel_address

Report = Callable[[Law, str, Sequence[str]], None]
Problems = list[tuple[Law, str, list[str]]]
_NAMED_MAX: Final = 4
"""So many translations are told of one by one."""
_WORD: Final = 1 << 64
_MAPPED: Final = ("vunmap", "vfree", "free_vm_area")
_LEGAL: Final = {
    "vmalloc": ("vfree",),
    "vzalloc": ("vfree",),
    "vmap": _MAPPED,
    "get_vm_area": _MAPPED,
    "vm_map_ram": ("vm_unmap_ram",),
}
"""By what made an area: what may give it back. Of the three of a kind each does the same."""


@define(eq=False)
class AreaRecord:
    """One area that a program's module was given."""

    address: int
    """A signed word."""
    nr_bytes: int
    """What was asked for."""
    how: str
    made: Deed
    freed: Deed | None = None

    def __str__(self) -> str:
        return f"{self.how}'s area of {self.nr_bytes} bytes at {self.address % _WORD:#x}"

    def story(self) -> list[str]:
        """Return who had it made, and who gave it back."""
        facts = [f"{self} was made {self.made}"]
        if self.freed is not None:
            facts.append(f"and given back {self.freed}")
        return facts


@define(eq=False)
class Areas(AreaChecks):
    """Knows all areas that modules have."""

    report: Report
    now: Callable[[], Deed]
    history: PageHistory
    forgotten: Forgotten | None
    """None: nobody wants to know what TLBs know."""
    is_telling: bool
    """Whether what modules do wrong is reported."""
    _made: list[AreaRecord] = field(factory=list, init=False)
    _names: dict[tuple[int, str], AreaRecord] = field(factory=dict, init=False)
    """By program and name: what it was bound to last."""
    _blamed: set[str] = field(factory=set, init=False)
    """Actors of which it was told that they use what they should not."""

    def forget_begins(self, is_given_back: Callable[[int], bool]) -> None:
        """Note what TLBs know of what was given back."""
        if self.forgotten is not None:
            self.forgotten.begins(self._moment(), is_given_back)

    def forget_ended(self, is_promised: Callable[[int], bool]) -> None:
        """Tell of what they still know of it."""
        if self.forgotten is None:
            return
        for known in self.forgotten.ended(self._moment(), is_promised)[:_NAMED_MAX]:
            entry = known.entry
            address = kernel_address(entry.start) % _WORD
            head = f"cpu{known.cpu} still knows that {address:#x} was page {entry.pfn:#x}"
            facts = [
                f"its TLB was filled at t={entry.fill_ns} ns, and all were to forget it by now"
            ]
            self.report(Law.STALE_KERNEL, head, facts)

    def percpu_freed_twice(self, name: str) -> None:
        """Tell of it."""
        what = f"the per-CPU area of `{name}` is free and is given back"
        self._tell(Law.OBJECT_FREED_TWICE, what, ["legal: nothing"])

    def percpu_used(self, name: str, *, is_held: bool, is_inside: bool) -> None:
        """Look whether the name's area is the module's, and has these bytes."""
        if not is_held:
            what = f"the per-CPU area of `{name}` is free and is touched"
            self._blame(Law.USE_AFTER_FREE, what, ["legal: nothing"], self.now())
        elif not is_inside:
            what = f"bytes behind the per-CPU area of `{name}` are touched"
            self._blame(Law.OUT_OF_BOUNDS, what, [], self.now())

    def area_named(self, owner: int, name: str, address: int, nr_bytes: int, how: str) -> None:
        """Bind a name to an area; 0: to none."""
        self._names.pop((owner, name), None)
        if address:
            record = AreaRecord(address, nr_bytes, how, self.now())
            self._made.append(record)
            self._names[owner, name] = record

    def area_freed(self, owner: int, name: str, how: str) -> None:
        """Look whether it was given back before, and whether this is how it goes back."""
        record = self._names.get((owner, name))
        if record is None:
            return
        now = self.now()
        if record.freed is not None:
            facts = [*record.story(), f"and given back again {now}", "legal: nothing"]
            self._tell(Law.OBJECT_FREED_TWICE, f"{record} is free and is given back", facts)
            return
        record.freed = now
        if how not in _LEGAL[record.how]:
            facts = [*record.story(), f"legal: {_LEGAL[record.how][0]}"]
            self._tell(Law.WRONG_AREA, f"{record} is given back by {how}", facts)

    def area_used(
        self,
        owner: int,
        name: str,
        offset: int,
        nr_bytes: int,
        *,
        is_write: bool,
        has_pages: bool,
    ) -> None:
        """Look whether the name's area is there, and has these bytes."""
        now = self.now()
        self._blamed.discard(now.actor)
        record = self._names.get((owner, name))
        if record is None:
            return
        does = "writes" if is_write else "reads"
        last = offset + nr_bytes - 1
        what = f"`{name}` {does} bytes {offset} to {last} of {record}"
        if record.freed is not None:
            facts = [*record.story(), "legal: nothing, until it is made again"]
            self._blame(Law.USE_AFTER_FREE, what, facts, now)
        elif not has_pages:
            facts = [*record.story(), "its pages were freed while they were mapped there"]
            self._blame(Law.USE_AFTER_FREE, what, facts, now)
        elif offset < 0 or last >= record.nr_bytes:
            facts = [*record.story(), f"legal: bytes 0 to {record.nr_bytes - 1}"]
            self._blame(Law.OUT_OF_BOUNDS, what, facts, now)

    def explain(
        self, cpu: int, entry: CachedEntry, address: int, generation: int
    ) -> tuple[Law, str, list[str]] | None:
        """Return what is wrong with an access through an entry of the kernel's that is stale.

        `generation` is that of the entry's page now. None: it was told of already.
        """
        is_freed = entry.generation != generation
        page = f"page {entry.pfn:#x}, which is {'another one' if is_freed else 'the same'} now"
        facts = [f"the entry was filled at t={entry.fill_ns} ns, for {page}"]
        if is_freed:
            facts += self.history.describe(entry.pfn)
        if entry.is_revoked_all:
            if self.forgotten is not None:
                facts += self.forgotten.describe(cpu, entry)
            head = f"cpu{cpu} reaches {address % _WORD:#x} through an entry of its TLB"
            return Law.STALE_KERNEL, f"{head} that all were to forget", facts
        now = self.now()
        if now.actor in self._blamed:
            return None
        head = f"cpu{cpu} still reaches {address % _WORD:#x}"
        return Law.USE_AFTER_FREE, f"{head}, whose page was given back", facts

    def problems(self) -> Problems:
        """Return the areas in use that nobody knows any more."""
        known = set(map(id, self._names.values()))
        return [
            (Law.AREA_LEAK, f"nobody knows {record}, and it is in use", record.story())
            for record in self._made
            if record.freed is None and id(record) not in known
        ]

    def _blame(self, law: Law, what: str, facts: Sequence[str], now: Deed) -> None:
        self._blamed.add(now.actor)
        self._tell(law, what, facts)

    def _tell(self, law: Law, what: str, facts: Sequence[str]) -> None:
        if self.is_telling:
            self.report(law, what, facts)

    def _moment(self) -> Moment:
        now = self.now()
        return Moment(now.actor, now.t_ns)
