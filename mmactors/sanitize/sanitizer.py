"""The sanitizer of a machine: takes the moments that kernel paths tell, asks its checkers.

What is found is kept, emitted as the event error_report_end, and ends the run if that is wanted.
All state stands in plain objects below `kernel.checks`, so that a search can put it back.
"""

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field

from mmactors.actors.kernel import Kernel
from mmactors.checks import Checks
from mmactors.events import ErrorReportEnd
from mmactors.hw.hardware import FAULT_ADDRESS
from mmactors.mm.mm_struct import MmStruct
from mmactors.sanitize.at_rest import counter_problems, leak_problems
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.finding import Finding, SanitizerError
from mmactors.sanitize.law import Law
from mmactors.sanitize.lockdep import Lockdep
from mmactors.sanitize.page_history import Moment, PageHistory
from mmactors.sanitize.page_state import PageState
from mmactors.sanitize.revoked import Revoked
from mmactors.sanitize.stale_tlb import StaleTlb

FINDINGS_MAX: Final = 100
"""So many are kept; a broken machine may break the same law at every access."""


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
    _lockdep: Lockdep | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        kernel, config = self.kernel, self.config
        if config.revoked:
            self._revoked = Revoked(kernel.hardware, kernel.tlb_states)
        self._stale_tlb = StaleTlb(kernel.hardware, self.history, self._revoked)
        if config.stale_tlb or config.revoked:
            kernel.hardware.watch_translations()
        if config.page_state or config.leaks:
            self._page_state = PageState(kernel.pages)
        if config.lockdep:
            engine = kernel.engine
            engine.lock_observer = self._lockdep = Lockdep(engine, on_finding=self.take)

    # -- the moments ---------------------------------------------------------------------------

    def stale_translation(self, cpu: int) -> None:
        """Report the entry that the hardware stopped at, and let the access pass."""
        hardware = self.kernel.hardware
        entry = hardware.stale_entry()
        law, what, facts = self._stale_tlb.explain(cpu, entry, hardware.stop[FAULT_ADDRESS])
        hardware.acknowledge(cpu)
        if law is not Law.STALE_TRANSLATION or self.config.stale_tlb:
            self.report(law, what, facts)

    def revoke(self, mm: object, start: int, end: int) -> None:
        """Note what TLBs know of the range whose entries were just changed."""
        if self._revoked is not None:
            assert isinstance(mm, MmStruct), f"{mm!r} is no address space"
            self._revoked.revoke(mm, start, end, self._moment())

    def revoke_completed(self, mm: object) -> None:
        """Mark what TLBs still know of it."""
        if self._revoked is not None:
            assert isinstance(mm, MmStruct), f"{mm!r} is no address space"
            self._revoked.completed(mm, self._moment())

    def pages_allocated(self, pfn: int, order: int) -> None:
        """Look at pages that are handed out, and note who has them."""
        self._look_at_pages(PageState.allocated, pfn, order)
        self.history.note_allocated(pfn, order, self._moment())

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

    # -- when nobody runs ----------------------------------------------------------------------

    def at_rest(self) -> None:
        """Hold the machine to the laws that hold when no kernel path is under way."""
        with self.kernel.engine.guard.suspended():
            self._look_at_rest()

    def _look_at_rest(self) -> None:
        kernel = self.kernel
        if self.config.counters:
            for law, what, facts in counter_problems(kernel):
                self.report(law, what, facts)
        if self.config.leaks:
            assert self._page_state is not None, "leaks need the state of pages"
            for law, what, facts in leak_problems(kernel, self._page_state.state, self.history):
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
            return Moment("nobody", engine.now_ns)
        return Moment(str(actor), actor.clock.now)


def attach(kernel: Kernel, config: SanitizeConfig) -> Sanitizer | None:
    """Let a machine be checked as `config` says, from now on; return the sanitizer if any is on."""
    if not config.is_on:
        return None
    sanitizer = Sanitizer(kernel, config)
    kernel.checks = sanitizer
    return sanitizer
