"""The sanitizer of a machine: takes the moments that kernel paths tell, asks its checkers.

What is found is kept, emitted as the event error_report_end, and ends the run if that is wanted.
All state stands in plain objects below `kernel.checks`, so that a search can put it back.
"""

from attrs import define, field

from mmactors.actors.kernel import Kernel
from mmactors.checks import Checks
from mmactors.events import ErrorReportEnd
from mmactors.hw.hardware import FAULT_ADDRESS
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.finding import Finding, Law, SanitizerError
from mmactors.sanitize.lockdep import Lockdep
from mmactors.sanitize.page_history import Moment, PageHistory
from mmactors.sanitize.stale_tlb import StaleTlb

FINDINGS_MAX = 100
"""So many are kept; a broken machine may break the same law at every access."""


@define(eq=False)
class Sanitizer(Checks):
    """Takes the moments of one machine."""

    kernel: Kernel
    config: SanitizeConfig
    findings: list[Finding] = field(factory=list, init=False)
    nr_findings: int = field(default=0, init=False)
    wants_accesses: bool = field(default=False, init=False)
    history: PageHistory = field(factory=PageHistory, init=False)
    _stale_tlb: StaleTlb = field(init=False)
    _lockdep: Lockdep | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        hardware = self.kernel.hardware
        self._stale_tlb = StaleTlb(hardware, self.history)
        if self.config.stale_tlb:
            hardware.watch_translations()
        if self.config.lockdep:
            engine = self.kernel.engine
            engine.lock_observer = self._lockdep = Lockdep(engine, on_finding=self.take)

    # -- the moments ---------------------------------------------------------------------------

    def stale_translation(self, cpu: int) -> None:
        """Report the entry that the hardware stopped at, and let the access pass."""
        hardware = self.kernel.hardware
        entry = hardware.stale_entry()
        law, head, facts = self._stale_tlb.explain(cpu, entry, hardware.stop[FAULT_ADDRESS])
        hardware.acknowledge(cpu)
        self.report(law, head, facts)

    def pages_allocated(self, pfn: int, order: int) -> None:
        """Note who has the pages."""
        self.history.note_allocated(pfn, order, self._moment())

    def pages_freed(self, pfn: int, order: int) -> None:
        """Note who gave the pages back."""
        self.history.note_freed(pfn, order, self._moment())

    # -- findings ------------------------------------------------------------------------------

    def report(self, law: Law, what: str, facts: list[str]) -> None:
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
            return Moment("the end of the run", engine.now_ns)
        return Moment(str(actor), actor.clock.now)


def attach(kernel: Kernel, config: SanitizeConfig) -> Sanitizer | None:
    """Let a machine be checked as `config` says, from now on; return the sanitizer if any is on."""
    if not config.is_on:
        return None
    sanitizer = Sanitizer(kernel, config)
    kernel.checks = sanitizer
    return sanitizer
