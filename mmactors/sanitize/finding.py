"""What a checker finds: which law was broken, by whom, when, and where to look."""

from attrs import frozen

from mmactors.engine.report import LawBroken
from mmactors.sanitize.law import LESSONS, Law


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
        lesson = LESSONS[self.law]
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


def raise_finding(finding: Finding) -> None:
    """Stop with the first finding."""
    raise SanitizerError(finding)
