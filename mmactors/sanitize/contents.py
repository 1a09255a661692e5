"""O3 and O11: a write that is lost, and data that somebody sees who must not.

Simulated frames hold no data. With this checker each page has a running hash of all stores that
reached it, `content = mix(content, number of the store)`, so that a later store cannot hide that an
earlier one is missing. What a place *should* hold is kept apart from pages, as the set of all
contents that are legal there: a place is a page of private memory, (address space, page number), or
a page of a file, (its mapping, index). Every load compares.

A set, because kernel and program may both be right about different things. Each call is linearised
at its own change of the entry (`pages_dropped`, `pages_may_drop`, `pages_moved`, `pages_forked`).
Until it returns, other CPUs may still use the old translation: what they store there may be lost,
and what they load there may be old ("fading"). After MADV_FREE the old content and zeros are both
legal until the next store.

Not seen: order of stores to one page by different paths, parts of pages: a store is a store to the
page. Instruction fetches are loads.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Final, NamedTuple
from zlib import crc32

from attrs import define, field

from mmactors.mm.area.mapped_file import MappedFile, Mapping
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import VM_SHARED
from mmactors.mm.area.vma import Vma, linear_page_index
from mmactors.sanitize.durable import Durable, Legal, Place, Promised
from mmactors.sanitize.law import Law
from mmactors.sanitize.page_history import Moment
from mmactors.sanitize.pins import Pins
from mmactors.units import PAGE_MASK, PAGE_SHIFT

ZEROS: Final = 0
"""The content of a page that was cleared."""

Problem = tuple[Law, str, list[str]]
IsThere = Callable[[int], bool]
"""Says whether the page tables have anything at an address."""

_ONLY_ZEROS: Final = frozenset((ZEROS,))


class _Store(NamedTuple):
    """One store."""

    place: Place
    pfn: int
    moment: Moment


class _Access(NamedTuple):
    """One access of a page that stands for a place."""

    place: Place
    pfn: int
    where: str
    """The place in words."""
    is_write: bool


@define(eq=False)
class _Call:
    """What an actor's call has taken away and not yet flushed."""

    fading: dict[Place, Legal] = field(factory=dict)
    """What old translations may still show."""
    twins: dict[Place, Place] = field(factory=dict)
    """Where else a store through an old translation is seen."""


@define(eq=False)
class Contents:
    """Knows what each page holds and what each place should hold."""

    content: dict[int, int] = field(factory=dict)
    """By page; absent: zeros."""
    disk: dict[Place, int] = field(factory=dict)
    """By page of a file, what is on disk; absent: zeros."""
    legal: dict[Place, Legal] = field(factory=dict)
    """Absent: what a new mapping shows."""
    durable: Durable = field(factory=Durable)
    """What fsync and msync have promised."""
    pins: Pins = field(factory=Pins)
    """What pages stand for that devices hold."""
    _lazy: set[Place] = field(factory=set)
    """Places whose content may go at any time (MADV_FREE)."""
    _calls: dict[tuple[str, int], _Call] = field(factory=dict)
    """By actor and address space."""
    _last_on_page: dict[int, _Store] = field(factory=dict)
    _last_at_place: dict[Place, _Store] = field(factory=dict)
    _nr_stores: Counter[str] = field(factory=Counter)
    """By actor: stores that nobody orders have the same numbers in every order."""

    # -- accesses ------------------------------------------------------------------------------

    def access(
        self, mm: MmStruct, address: int, pfn: int, now: Moment, *, is_write: bool
    ) -> Problem | None:
        """Take an access through an address space; return what is wrong."""
        place = self._place_of(mm, address)
        if place is None:
            return None  # No area, so no promise about contents: that it got here is O1 or O2.
        where = f"{address & PAGE_MASK:#x} of address space {mm.ctx_id}"
        legal = self._legal_in(mm, address, place)
        return self._take(_Access(place, pfn, where, is_write), legal, now)

    def access_file(
        self, mapping: Mapping, index: int, pfn: int, now: Moment, *, is_write: bool
    ) -> Problem | None:
        """Take an access of read() or write() to a page of a file; return what is wrong."""
        where = f"page {index} of inode {mapping.inode}"
        place = (mapping, index)
        return self._take(_Access(place, pfn, where, is_write), self._legal_at(place), now)

    def page_pinned(self, mm: MmStruct, address: int, pfn: int) -> None:
        """Somebody took hold of the page at an address."""
        self.pins.pin(pfn, (mm.ctx_id, address >> PAGE_SHIFT), self._place_of(mm, address))

    def access_pinned(
        self, mm: MmStruct, address: int, pfn: int, now: Moment, *, is_write: bool
    ) -> Problem | None:
        """Take an access to a page that was pinned at an address; return what is wrong."""
        place = self.pins.place_of(pfn, (mm.ctx_id, address >> PAGE_SHIFT))
        if place is None:
            if is_write:
                self._store_given_up(mm, address, pfn, now)
            return None
        where = f"{place[1] << PAGE_SHIFT:#x} of address space {mm.ctx_id}"
        if isinstance(place[0], Mapping):
            where = f"page {place[1]} of inode {place[0].inode}"
        legal = self._legal_in(mm, place[1] << PAGE_SHIFT, place)
        return self._take(_Access(place, pfn, where, is_write), legal, now)

    def _store_given_up(self, mm: MmStruct, address: int, pfn: int, now: Moment) -> None:
        """Let a store happen to a page that only old translations still lead to, if any."""
        number = self._next_number(now)
        self.content[pfn] = _mix(self.content.get(pfn, ZEROS), number)
        place = (mm.ctx_id, address >> PAGE_SHIFT)
        for call in self._calls.values():
            if place in call.fading:
                call.fading[place] |= _mix_all(call.fading[place], number)

    def _take(self, access: _Access, legal: Legal, now: Moment) -> Problem | None:
        place = access.place
        seen = self.content.get(access.pfn, ZEROS)
        calls = [call for call in self._calls.values() if place in call.fading]
        is_current = seen in legal
        problem = None
        if not is_current and not any(seen in call.fading[place] for call in calls):
            problem = self._explain(access)
            self.legal[place] = legal = frozenset((seen,))  # Once is enough.
            self.durable.may_hold(place, legal)
            is_current = True
        if access.is_write:
            self._store(access, legal if is_current else None, calls, now)
        elif is_current and not calls and place not in self._lazy and len(legal) > 1:
            self.legal[place] = frozenset((seen,))
        return problem

    def _store(self, access: _Access, legal: Legal | None, calls: list[_Call], now: Moment) -> None:
        """Let a store happen; `legal` None: it went where only old translations lead."""
        place, pfn = access.place, access.pfn
        number = self._next_number(now)
        self.content[pfn] = _mix(self.content.get(pfn, ZEROS), number)
        self._last_on_page[pfn] = self._last_at_place[place] = _Store(place, pfn, now)
        if legal is not None:
            after = _mix_all(legal, number)
            self.legal[place] = after | legal if calls else after
            if not calls:
                self._lazy.discard(place)
        for call in calls:
            call.fading[place] |= _mix_all(call.fading[place], number)
        self.durable.may_hold(place, self._legal_at(place))
        for call in self._calls.values():
            twin = call.twins.get(place)
            if twin is not None:
                there = self._legal_at(twin)
                self.legal[twin] = there | _mix_all(there, number)

    def _next_number(self, now: Moment) -> int:
        self._nr_stores[now.actor] += 1
        return crc32(now.actor.encode()) << 32 | self._nr_stores[now.actor]

    # -- what moves contents -------------------------------------------------------------------

    def page_zeroed(self, pfn: int) -> None:
        """A page was cleared."""
        self.durable.page_dirtied(pfn)
        self.content.pop(pfn, None)
        self._last_on_page.pop(pfn, None)

    def page_copied(self, source: int, target: int) -> None:
        """A page was copied."""
        self.content[target] = self.content.get(source, ZEROS)
        last = self._last_on_page.get(source)
        if last is not None:
            self._last_on_page[target] = last

    def page_made_private(self, mm: MmStruct, address: int, pfn: int) -> None:
        """A copy is an address space's own; what its file gets from now on is not seen there."""
        place = (mm.ctx_id, address >> PAGE_SHIFT)
        if place not in self.legal:
            self.legal[place] = frozenset((self.content.get(pfn, ZEROS),))

    def page_read(self, pfn: int, mapping: Mapping, index: int) -> None:
        """A page was filled from disk."""
        self.durable.page_dirtied(pfn)
        self.content[pfn] = self.disk.get((mapping, index), ZEROS)
        self._last_on_page.pop(pfn, None)

    def page_written(self, pfn: int, mapping: Mapping, index: int) -> None:
        """A page was written to disk."""
        self.disk[mapping, index] = self.content.get(pfn, ZEROS)

    # -- what changes what is legal ------------------------------------------------------------

    def dropped(self, mm: MmStruct, start: int, end: int, now: Moment) -> None:
        """Private contents of a range are given up."""
        call = self._call(mm, now)
        for place in self._private_places(mm, start, end):
            call.fading[place] = self._legal_at(place)
            self._give_up(place)

    def _give_up(self, place: Place) -> None:
        self.legal.pop(place, None)
        self._lazy.discard(place)
        self.pins.move(place, None)

    def may_drop(self, mm: MmStruct, start: int, end: int, now: Moment) -> None:
        """Private contents of a range may become zeros at any time until the next store."""
        call = self._call(mm, now)
        for place in self._private_places(mm, start, end):
            call.fading[place] = self._legal_at(place)
            self.legal[place] = self._legal_at(place) | _ONLY_ZEROS
            self._lazy.add(place)

    def file_unmapped(
        self, mm: MmStruct, start: int, end: int, now: Moment, is_there: IsThere
    ) -> list[Problem]:
        """A part of a file was taken out of a range; return what private data went with it.

        Behind its end a file takes the private copies of its pages along, and only there.
        """
        call = self._call(mm, now)
        problems = []
        for place in self._private_places(mm, start, end):
            shown = self._shown_by_file(mm, place)
            if shown is None:
                continue  # Its area is gone already.
            mapping, index = shown
            if index >= mapping.nr_pages:
                call.fading[place] = self._legal_at(place)
                self._give_up(place)
            elif not is_there(place[1] << PAGE_SHIFT):
                problems += self._lost(mm, place, "went with a part of its file")
        return problems

    def lost_private(self, mm: MmStruct, is_there: IsThere) -> list[Problem]:
        """Return what private data of an address space at rest is nowhere any more."""
        places = [place for place in self.legal if place[0] == mm.ctx_id]
        return [
            problem
            for place in places
            if not is_there(place[1] << PAGE_SHIFT)
            for problem in self._lost(mm, place, "is nowhere")
        ]

    def _lost(self, mm: MmStruct, place: Place, what: str) -> list[Problem]:
        """Return what is wrong with a place that no entry maps any more."""
        address = place[1] << PAGE_SHIFT
        vma = mm.find_vma(address)
        if vma is None or address < vma.vm_start or place in self._lazy:
            return []
        legal = self.legal.pop(place)  # Once is enough.
        if not legal.isdisjoint(self._legal_in(mm, address, place)):
            return []  # A new page would show the same.
        last = self._last_at_place.get(place)
        text = f"what was stored at {address:#x} of address space {mm.ctx_id} {what}"
        facts = [] if last is None else [f"the last store went to page {last.pfn:#x} {last.moment}"]
        return [(Law.LOST_PRIVATE, text, facts)]

    def file_dropped(self, mapping: Mapping, first: int, end: int | None) -> None:
        """Pages of a file are given up for good (truncation, a hole)."""
        for contents in (self.legal, self.disk, self.pins.places()):
            for place in [each for each in contents if each[0] is mapping]:
                if place[1] >= first and (end is None or place[1] < end):
                    self.disk.pop(place, None)
                    self._give_up(place)
                    self.durable.dropped(place)

    def moved(self, mm: MmStruct, old: int, new: int, nr_bytes: int, now: Moment) -> None:
        """Private contents of a range are at another address from now on."""
        call = self._call(mm, now)
        distance = (new - old) >> PAGE_SHIFT
        for place in self._private_places(mm, old, old + nr_bytes):
            there = (mm.ctx_id, place[1] + distance)
            call.fading[place] = self.legal[there] = self._legal_at(place)
            call.twins[place] = there
            self.legal.pop(place, None)
            self.pins.move(place, there)

    def forked(self, parent: MmStruct, child: MmStruct, start: int, end: int, now: Moment) -> None:
        """A child sees the private contents that its parent has in a range now."""
        call = self._call(parent, now)
        for place in self._private_places(parent, start, end):
            there = (child.ctx_id, place[1])
            if there in self.legal:
                continue  # It was copied at once, and is the child's own.
            self.legal[there] = self._legal_at(place)
            call.twins[place] = there
            if place in self._lazy:
                self._lazy.add(there)

    def completed(self, mm: MmStruct, now: Moment) -> None:
        """The running actor's call returns: old translations show nothing any more."""
        self._calls.pop((now.actor, mm.ctx_id), None)

    # -- places --------------------------------------------------------------------------------

    def _call(self, mm: MmStruct, now: Moment) -> _Call:
        return self._calls.setdefault((now.actor, mm.ctx_id), _Call())

    def _private_places(self, mm: MmStruct, start: int, end: int) -> Iterable[Place]:
        """Return those places of a range that have a content of their own or are pinned.

        The lowest first.
        """
        first, stop = start >> PAGE_SHIFT, end >> PAGE_SHIFT
        ctx_id = mm.ctx_id
        pinned = set(self.pins.places())
        if stop - first <= len(self.legal):
            places: list[Place] = [(ctx_id, page) for page in range(first, stop)]
            return [place for place in places if place in self.legal or place in pinned]
        return sorted(
            (
                place
                for place in {*self.legal, *pinned}
                if place[0] == ctx_id and first <= place[1] < stop
            ),
            key=lambda place: place[1],
        )

    def _shown_by_file(self, mm: MmStruct, place: Place) -> tuple[Mapping, int] | None:
        """Return the page of a file that a place of private memory was copied from."""
        address = place[1] << PAGE_SHIFT
        vma = mm.find_vma(address)
        if vma is None or address < vma.vm_start:
            return None
        return _file_place(vma, address)

    def _place_of(self, mm: MmStruct, address: int) -> Place | None:
        vma = mm.find_vma(address)
        if vma is None or address < vma.vm_start:
            return None
        shared = _file_place(vma, address)
        if shared is not None and vma.vm_flags & VM_SHARED:
            return shared
        return (mm.ctx_id, address >> PAGE_SHIFT)

    def _legal_in(self, mm: MmStruct, address: int, place: Place) -> Legal:
        """Return what is legal at an address; private memory without a copy shows its file."""
        if place not in self.legal and place[0] == mm.ctx_id:
            vma = mm.find_vma(address)
            file_place = None if vma is None else _file_place(vma, address)
            if file_place is not None:
                return self._legal_at(file_place)
        return self._legal_at(place)

    def _legal_at(self, place: Place) -> Legal:
        legal = self.legal.get(place)
        return frozenset((self.disk.get(place, ZEROS),)) if legal is None else legal

    # -- what tells states apart -----------------------------------------------------------------

    def value_key(self, ctx_id: int, page: int | None) -> Hashable:
        """Return what may be seen at a page, or at all of an address space, in any way."""
        if page is None:
            places = [place for place in self.legal if place[0] == ctx_id]
        else:
            places = [(ctx_id, page)]
        return (
            frozenset((place[1], self.legal.get(place), place in self._lazy) for place in places),
            tuple(
                (who, frozenset((place[1], call.fading.get(place)) for place in places))
                for who, call in sorted(self._calls.items())
            ),
            self.pins.key(ctx_id) if page is None else None,
        )

    def not_on_disk(self, actor: str, mm: MmStruct | None) -> list[Problem]:
        """Return what fsync or msync of an actor, which returns, has not brought to disk."""
        pages = self.durable.ended(actor, self.disk, mm, empty=ZEROS)
        return [self._explain_disk(page) for page in pages]

    # -- messages ------------------------------------------------------------------------------

    def _explain_disk(self, page: Promised) -> Problem:
        what = f"page {page.index} of inode {page.mapping.inode} is not on disk as it was stored"
        last = self._last_at_place.get((page.mapping, page.index))
        facts = [] if last is None else [f"the last store went to page {last.pfn:#x} {last.moment}"]
        return Law.NOT_ON_DISK, what, facts

    def _explain(self, access: _Access) -> Problem:
        pfn = access.pfn
        what = f"a {'store to' if access.is_write else 'load from'} {access.where}"
        wanted = self._last_at_place.get(access.place)
        there = self._last_on_page.get(pfn)
        facts = []
        if wanted is not None:
            facts.append(f"the last store here went to page {wanted.pfn:#x} {wanted.moment}")
        if there is not None and there.place != access.place:
            facts.append(f"page {pfn:#x} has a store that was to another place {there.moment}")
            return Law.ISOLATION, f"{what} finds in page {pfn:#x} what is not its own", facts
        return Law.LOST_WRITE, f"{what} does not find in page {pfn:#x} what was stored", facts


def _file_place(vma: Vma, address: int) -> tuple[Mapping, int] | None:
    file = vma.vm_file
    if not isinstance(file, MappedFile):
        return None
    return (file.mapping, linear_page_index(vma, address))


def _mix(content: int, number: int) -> int:
    return hash((content, number))


def _mix_all(contents: Legal, number: int) -> Legal:
    return frozenset(_mix(content, number) for content in contents)
