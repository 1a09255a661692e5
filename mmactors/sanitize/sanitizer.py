"""The sanitizer of a machine: takes the moments that kernel paths tell, asks its checkers.

What is found is kept, emitted as the event error_report_end, and ends the run if that is wanted.
All state stands in plain objects below `kernel.checks`, so that a search can put it back.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Final

from attrs import define, field

from mmactors.actors.state.kernel import Kernel
from mmactors.checks import Checks
from mmactors.events import ErrorReportEnd
from mmactors.hw.hardware import FAULT_ADDRESS
from mmactors.label import Mode, data, values
from mmactors.mm.area.mapped_file import Mapping
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.page_alloc.gfp import GFP_ZERO
from mmactors.sanitize.at_rest import Mapped, counter_problems, leak_problems
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.contents import Contents
from mmactors.sanitize.durable import Promised
from mmactors.sanitize.finding import Finding, SanitizerError
from mmactors.sanitize.heap.heap import HeapBlocks
from mmactors.sanitize.law import Law
from mmactors.sanitize.lockdep import Lockdep
from mmactors.sanitize.page_history import Moment, PageHistory
from mmactors.sanitize.page_state import PageState
from mmactors.sanitize.reserve import reserve_problem
from mmactors.sanitize.revoked import Revoked
from mmactors.sanitize.slab.at_rest import slab_problems
from mmactors.sanitize.slab.look import Look
from mmactors.sanitize.slab.objects import Deed, Objects
from mmactors.sanitize.slab.which import look_at
from mmactors.sanitize.stale_tlb import StaleTlb
from mmactors.sanitize.vmalloc.areas import Areas
from mmactors.sanitize.vmalloc.forgotten import Forgotten
from mmactors.sanitize.vmalloc.percpu import percpu_problems
from mmactors.sanitize.vmalloc.queues import queue_problems

FINDINGS_MAX: Final = 100
"""So many are kept; a broken machine may break the same law at every access."""

Problem = tuple[Law, str, list[str]]


@define(eq=False)
class Sanitizer(Checks):
    """Takes the moments of one machine."""

    kernel: Kernel
    config: SanitizeConfig
    findings: list[Finding] = field(factory=list, init=False)
    nr_findings: int = field(default=0, init=False)
    history: PageHistory = field(factory=PageHistory, init=False)
    _stale_tlb: StaleTlb = field(init=False)
    _revoked: Revoked | None = field(default=None, init=False)
    _page_state: PageState | None = field(default=None, init=False)
    _contents: Contents | None = field(default=None, init=False)
    _lockdep: Lockdep | None = field(default=None, init=False)
    objects: Objects | None = field(default=None, init=False)
    _look: Look = field(init=False)
    _heap: HeapBlocks | None = field(default=None, init=False)
    _areas: Areas = field(init=False)

    def __attrs_post_init__(self) -> None:
        kernel, config = self.kernel, self.config
        if config.revoked:
            self._revoked = Revoked(kernel.hardware, kernel.tlb_states, kernel.engine.touch)
        self._stale_tlb = StaleTlb(kernel.hardware, self.history, self._revoked)
        if config.stale_tlb or config.revoked:
            kernel.hardware.watch_translations()
        if config.page_state or config.leaks:
            self._page_state = PageState(kernel.pages)
        if config.contents:
            self._contents = Contents()
            self.wants_accesses = True
        self._look = look_at(kernel.slab)
        if config.objects or config.leaks:
            self.objects = Objects(
                self._look, report=self.report, now=self._deed, is_telling=config.objects
            )
            kernel.slab.memory.checks = self.objects
        forgotten = None
        if config.revoked:
            table = kernel.init_mm.page_table
            forgotten = Forgotten(kernel.hardware, table, kernel.engine.touch)
        self._areas = kernel.area_checks = Areas(
            self.report, self._deed, self.history, forgotten, is_telling=config.objects
        )
        if config.heap:
            self._heap = kernel.heap_checks = HeapBlocks(self.report, self._deed)
        if config.lockdep:
            engine = kernel.engine
            engine.lock_observer = self._lockdep = Lockdep(engine, on_finding=self.take)

    # -- the moments ---------------------------------------------------------------------------

    def stale_translation(self, cpu: int) -> None:
        """Report the entry that the hardware stopped at, and let the access pass."""
        hardware = self.kernel.hardware
        entry = hardware.stale_entry()
        address = hardware.stop[FAULT_ADDRESS]
        if entry.is_global:
            problem = self._areas.explain(cpu, entry, address, hardware.generation_of(entry.pfn))
        else:
            problem = self._stale_tlb.explain(cpu, entry, address)
        hardware.acknowledge(cpu)
        if problem is None:
            return
        law, what, facts = problem
        if law is not Law.STALE_TRANSLATION or self.config.stale_tlb:
            self.report(law, what, facts)

    def revoke(self, mm: object, start: int, end: int) -> None:
        """Note what TLBs know of the range whose entries were just changed."""
        if self._revoked is not None:
            self._revoked.revoke(_mm(mm), start, end, self._moment())

    def revoke_completed(self, mm: object) -> None:
        """Mark what TLBs still know of it."""
        if self._revoked is not None:
            self._revoked.completed(_mm(mm), self._moment())
        if self._contents is not None:
            self._touch_values(mm)
            self._contents.completed(_mm(mm), self._moment())

    def pages_allocated(self, pfn: int, order: int, gfp: int) -> None:
        """Look at pages that are handed out, and note who has them."""
        if self._contents is not None:
            for page in range(pfn, pfn + (1 << order)):
                self._contents.pins.handed_out(page)
                if gfp & GFP_ZERO:
                    self._contents.page_zeroed(page)
        self._look_at_pages(PageState.allocated, pfn, order)
        self.history.note_allocated(pfn, order, self._moment())

    def watermark_passed(self, zone: int, order: int) -> None:
        """Hold the zone's free pages, as its lists have them, against the min watermark."""
        if self.config.reserves:
            problem = reserve_problem(self.kernel.allocator.zones[zone], order)
            if problem is not None:
                self.report(Law.RESERVE, problem)

    def pages_freed(self, pfn: int, order: int) -> None:
        """Look at pages that are given back, and note who gave them."""
        self._look_at_pages(PageState.freed, pfn, order)
        self.history.note_freed(pfn, order, self._moment())

    def _look_at_pages(
        self,
        look: Callable[[PageState, int, int], list[tuple[Law, str]]],
        pfn: int,
        order: int,
    ) -> None:
        if self._page_state is not None:
            for law, what in look(self._page_state, pfn, order):
                if self.config.page_state:
                    self.report(law, what, self.history.describe(pfn))

    # -- contents ------------------------------------------------------------------------------

    def access(self, mm: object, address: int, pfn: int, *, is_write: bool) -> None:
        """Compare what the page holds with what the address should."""
        if self._contents is not None:
            now = self._moment()
            self._take_problem(self._contents.access(_mm(mm), address, pfn, now, is_write=is_write))

    def file_access(self, mapping: object, index: int, pfn: int, *, is_write: bool) -> None:
        """Compare what the page holds with what the file should."""
        if self._contents is not None:
            now = self._moment()
            self._take_problem(
                self._contents.access_file(_mapping(mapping), index, pfn, now, is_write=is_write)
            )

    def page_copied(self, source: int, target: int) -> None:
        """Let the copy hold the same."""
        if self._contents is not None:
            self._contents.page_copied(source, target)

    def page_made_private(self, mm: object, address: int, pfn: int) -> None:
        """Let the address have a content of its own."""
        if self._contents is not None:
            self._touch_values(mm)
            self._contents.page_made_private(_mm(mm), address, pfn)

    def page_read(self, pfn: int, mapping: object, index: int) -> None:
        """Let the page hold what is on disk."""
        if self._contents is not None:
            self._contents.page_read(pfn, _mapping(mapping), index)

    def page_written(self, pfn: int, mapping: object, index: int) -> None:
        """Let the disk hold what is in the page."""
        if self._contents is not None:
            self._contents.page_written(pfn, _mapping(mapping), index)

    def fsync_began(self, mapping: object) -> None:
        """Note what of a file has to come to disk."""
        if self._contents is not None:
            actor, legal = self._moment().actor, self._contents.legal
            self._see(self._contents.durable.fsync_began(actor, _mapping(mapping), legal))

    def msync_began(self, mm: object, start: int, end: int) -> None:
        """Note what of a range has to come to disk."""
        if self._contents is not None:
            actor, legal = self._moment().actor, self._contents.legal
            self._see(self._contents.durable.msync_began(actor, _mm(mm), start, end, legal))

    def _see(self, pages: list[Promised]) -> None:
        """Say that it depends on the stores before this moment what a call has promised."""
        engine = self.kernel.engine
        for page in pages:
            pfn = page.mapping.pages.get(page.index)
            if pfn is not None:
                engine.touch(data(pfn), Mode.READ)
        engine.observe(tuple((page.mapping.inode, page.index, page.good) for page in pages))

    def sync_ended(self, mm: object = None, *, succeeded: bool = True) -> None:
        """Look whether it has come to disk."""
        if self._contents is None:
            return
        actor = self._moment().actor
        if not succeeded:
            self._contents.durable.give_up(actor)
            return
        for problem in self._contents.not_on_disk(actor, None if mm is None else _mm(mm)):
            self.report(*problem)

    def page_pinned(self, mm: object, address: int, pfn: int) -> None:
        """Note what the page stands for."""
        if self._contents is not None:
            self._contents.page_pinned(_mm(mm), address, pfn)

    def access_pinned(self, mm: object, address: int, pfn: int, *, is_write: bool) -> None:
        """Compare what the page holds with what it stands for; nobody has made it dirty."""
        if self._contents is not None:
            now = self._moment()
            self._take_problem(
                self._contents.access_pinned(_mm(mm), address, pfn, now, is_write=is_write)
            )
            if is_write:
                self._contents.durable.device_stored(pfn)

    def page_dirtied(self, pfn: int) -> None:
        """Note that somebody has."""
        if self._contents is not None:
            self._contents.durable.page_dirtied(pfn)

    def pages_dropped(self, mm: object, start: int, end: int) -> None:
        """Let a range show what a new mapping does."""
        if self._contents is not None:
            self._touch_values(mm)
            self._contents.dropped(_mm(mm), start, end, self._moment())

    def file_unmapped(self, mm: object, start: int, end: int) -> None:
        """Look whether private data of a range went that was not to go."""
        if self._contents is not None:
            self._touch_values(mm)
            space = _mm(mm)
            with self.kernel.engine.guard.suspended():
                problems = self._contents.file_unmapped(
                    space, start, end, self._moment(), partial(_is_there, space)
                )
            for problem in problems:
                self.report(*problem)

    def mm_exits(self, mm: object) -> None:
        """Look whether all private data is still there."""
        with self.kernel.engine.guard.suspended():
            self._look_for_lost(_mm(mm))
        if self._heap is not None:
            self._heap.exits(_mm(mm).ctx_id)

    def _look_for_lost(self, mm: MmStruct) -> None:
        if self._contents is not None:
            for problem in self._contents.lost_private(mm, partial(_is_there, mm)):
                self.report(*problem)

    def pages_may_drop(self, mm: object, start: int, end: int) -> None:
        """Let a range show its content or zeros."""
        if self._contents is not None:
            self._touch_values(mm)
            self._contents.may_drop(_mm(mm), start, end, self._moment())

    def pages_moved(self, mm: object, old: int, new: int, nr_bytes: int) -> None:
        """Let contents be found at another address."""
        if self._contents is not None:
            self._touch_values(mm)
            self._contents.moved(_mm(mm), old, new, nr_bytes, self._moment())

    def pages_forked(self, parent: object, child: object, start: int, end: int) -> None:
        """Let a child have its parent's contents."""
        if self._contents is not None:
            self._touch_values(parent)
            self._touch_values(child)
            self._contents.forked(_mm(parent), _mm(child), start, end, self._moment())

    def _touch_values(self, mm: object) -> None:
        """Say that what addresses should hold depends on when this happens."""
        self.kernel.engine.touch(values(_mm(mm).ctx_id), Mode.WRITE)

    def content_key(self, pfn: int) -> Hashable:
        """Return what a page holds, as a value."""
        return None if self._contents is None else self._contents.content.get(pfn)

    def stored_key(self, mapping: object, index: int) -> Hashable:
        """Return what a page of a file holds on disk, as a value."""
        return (
            None if self._contents is None else self._contents.disk.get((_mapping(mapping), index))
        )

    def value_key(self, ctx_id: int, page: int | None) -> Hashable:
        """Return what an address should hold, or all of an address space (None), as a value."""
        return None if self._contents is None else self._contents.value_key(ctx_id, page)

    def file_dropped(self, mapping: object, first: int, end: int | None) -> None:
        """Let pages of a file be zeros."""
        if self._contents is not None:
            self._contents.file_dropped(_mapping(mapping), first, end)

    def _take_problem(self, problem: Problem | None) -> None:
        if problem is not None:
            self.report(*problem)

    def lock_orders(self) -> tuple[tuple[str, str], ...]:
        """Return the orders of lock classes that lockdep has seen; none if it is off."""
        return () if self._lockdep is None else self._lockdep.orders()

    # -- when nobody runs ----------------------------------------------------------------------

    def at_rest(self) -> None:
        """Hold the machine to the laws that hold when no kernel path is under way."""
        with self.kernel.engine.guard.suspended():
            self._look_at_rest()

    def _look_at_rest(self) -> None:
        kernel, config = self.kernel, self.config
        for space in kernel.spaces.values():
            self._look_for_lost(space.mm)
        for problem in slab_problems(kernel, config, self._look, self.objects):
            self.report(*problem)
        problems = self._areas.problems() if config.leaks else []
        if config.objects and kernel.vmalloc_space is not None:
            problems += queue_problems(kernel.vmalloc_space)
        if kernel.percpu is not None:
            problems += percpu_problems(kernel, kernel.percpu, config)
        for problem in problems:
            self.report(*problem)
        if not config.counters and not config.leaks:
            return
        mapped = Mapped(kernel)
        if config.counters:
            for law, what, facts in counter_problems(kernel, mapped):
                self.report(law, what, facts)
        if config.leaks:
            assert self._page_state is not None, "leaks need the state of pages"
            for law, what, facts in leak_problems(
                kernel, mapped, self._page_state.state, self.history
            ):
                self.report(law, what, facts)

    # -- findings ------------------------------------------------------------------------------

    def report(self, law: Law, what: str, facts: Sequence[str] = ()) -> None:
        """Make a finding of what was found now, and take it."""
        moment = self._moment()
        self.take(
            Finding(law=law, actor=moment.actor, t_ns=moment.t_ns, what=what, facts=tuple(facts))
        )

    def take(self, finding: Finding) -> None:
        """Keep a finding, emit it, and raise SanitizerError if the first one ends the run."""
        self.nr_findings += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)
        probe = self.kernel.probe
        if probe.on and self.kernel.engine.running is not None:
            probe.emit(ErrorReportEnd(error_detector=finding.law, finding=finding.what))
        if self.config.panic:
            raise SanitizerError(finding)

    def _moment(self) -> Moment:
        engine = self.kernel.engine
        actor = engine.running
        if actor is None:
            return Moment("the check at rest", engine.now_ns)
        return Moment(str(actor), actor.clock.now)

    def _deed(self) -> Deed:
        actor = self.kernel.engine.running
        return Deed(*self._moment(), None if actor is None else actor.doing)


def _is_there(mm: MmStruct, address: int) -> bool:
    """Say whether the page tables have a page, or where it is now, at an address."""
    table = mm.page_table
    index = table.pte_offset(address)
    return index is not None and table.memory.view[index] != 0


def _mm(mm: object) -> MmStruct:
    assert isinstance(mm, MmStruct), f"{mm!r} is no address space"
    return mm


def _mapping(mapping: object) -> Mapping:
    assert isinstance(mapping, Mapping), f"{mapping!r} holds no pages of a file"
    return mapping


def attach(kernel: Kernel, config: SanitizeConfig) -> Sanitizer | None:
    """Let a machine be checked as `config` says, from now on; return the sanitizer if any is on."""
    if not config.is_on:
        return None
    sanitizer = Sanitizer(kernel, config)
    kernel.checks = sanitizer
    return sanitizer
