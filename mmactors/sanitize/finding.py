"""What a checker finds: which law was broken, by whom, when, and where to look."""

from enum import StrEnum
from typing import Final

from attrs import frozen

from mmactors.engine.report import LawBroken


class Law(StrEnum):
    """What was broken, as the first words of a finding."""

    STALE_TRANSLATION = "stale translation"
    LOCK_ORDER = "possible deadlock"
    ATOMIC_SLEEP = "sleep in atomic context"


@frozen(kw_only=True)
class _Lesson:
    """What the kernel promises, and where to look if it does not keep it."""

    law: str
    look: str


_LESSONS: Final = {
    Law.STALE_TRANSLATION: _Lesson(
        law="a page goes back to the allocator only when no CPU can reach it any more: entries "
        "are cleared, then every CPU in mm_cpumask forgets them, then the page is freed",
        look="who cleared the entry of this address, and which flush should have reached this CPU "
        "before the page was freed (mm/mmu_gather.c, arch/x86/mm/tlb.c)",
    ),
}


@frozen(kw_only=True)
class Finding:
    """One broken law."""

    law: Law
    actor: str
    """Who ran when it was found."""
    t_ns: int
    what: str
    """What happened, in one line."""
    facts: tuple[str, ...] = ()
    """Who did what when before, one line each."""
    report: str | None = None
    """The whole text of a checker that has a form of its own (lockdep)."""

    @property
    def head(self) -> str:
        """The first line."""
        return f"{self.law}: {self.what}"

    def __str__(self) -> str:
        if self.report is not None:
            return self.report
        lesson = _LESSONS[self.law]
        lines = [
            self.head,
            f"  by {self.actor} at t={self.t_ns} ns",
            *(f"  {fact}" for fact in self.facts),
            f"  the law: {lesson.law}",
            f"  look at: {lesson.look}",
        ]
        return "\n".join(lines)


class SanitizerError(LawBroken):
    """A checker found a broken law, and the run was to end with it."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        self.law = str(finding.law)
        super().__init__(str(finding))
