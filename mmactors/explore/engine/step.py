"""What one step does, as the search sees it, and which steps commute.

A `Step` is an engine `Label` made unique: one object for a text and its touches, kept through a
whole search, so that steps are compared by identity and what is known of a pair is looked up.

Two steps are dependent when they touch one object and at least one of them changes it in a way that
the order shows: reads commute with reads, adds with adds. A step may name a whole column or one
element of it, `name[index]`; both overlap.
"""

from typing import Final

from mmactors.label import Mode

Touches = tuple[tuple[str, Mode], ...]


class Step:
    """One kind of step. Made by `StepTable.of` only."""

    __slots__ = (
        "_dependent",
        "declared",
        "is_local",
        "is_look",
        "looks",
        "may_fail",
        "may_look",
        "only_look",
        "runs_out",
        "text",
        "touches",
    )

    def __init__(
        self, text: str, touches: Touches, *, may_fail: bool = False, runs_out: bool = False
    ) -> None:
        self.text: Final = text
        self.touches: Final = touches
        self.is_local: Final = not touches
        """It touches nothing that others see: never a choice point."""
        self.is_look: Final = bool(touches) and all(mode is Mode.READ for _, mode in touches)
        """It changes nothing."""
        self.may_fail: Final = may_fail
        """It changes nothing if it fails."""
        self.may_look: Final = self.is_look or self.is_local or may_fail
        """It may have changed nothing: who takes it and does change something says so (`acted`)."""
        self.runs_out: Final = runs_out
        """It ends a wait whose time is out, and may lead back to where the wait began."""
        self.looks: Final = tuple(name for name, mode in touches if mode is not Mode.ADD)
        """The objects whose values the actor may learn."""
        self.only_look: Final = self.looks[0] if len(self.looks) == 1 else None
        """The object, if it is one."""
        self.declared: Final[dict[str, bool]] = {}
        """What it touches by name, and whether that may be written."""
        for name, mode in touches:
            self.declared[name] = self.declared.get(name, False) or mode is not Mode.READ
        self._dependent: Final[dict[Step, bool]] = {}

    def depends_on(self, other: "Step") -> bool:
        """Return whether the order of the two steps may matter."""
        known = self._dependent.get(other)
        if known is None:
            known = self._dependent[other] = _clash(self.touches, other.touches)
        return known

    def __repr__(self) -> str:
        return f"<{self.text}>"


class StepTable:
    """All steps of one search."""

    def __init__(self) -> None:
        self._steps: Final[dict[str, Step]] = {}
        self._rare: Final[dict[tuple[str, Touches, bool, bool], Step]] = {}
        """Those whose text another step had first."""

    def of(
        self, text: str, touches: Touches, *, may_fail: bool = False, runs_out: bool = False
    ) -> Step:
        """Return the one step with this text and these touches, of which all that is said holds."""
        step = self._steps.get(text)
        if step is None:
            step = self._steps[text] = Step(text, touches, may_fail=may_fail, runs_out=runs_out)
        elif (
            step.touches != touches
            or step.may_fail is not may_fail
            or step.runs_out is not runs_out
        ):
            key = text, touches, may_fail, runs_out
            step = self._rare.get(key)
            if step is None:
                step = Step(text, touches, may_fail=may_fail, runs_out=runs_out)
                self._rare[key] = step
        return step

    def also(self, step: Step, touches: Touches) -> Step:
        """Return `step` as it is when it touches more than it declares."""
        more = tuple(touch for touch in dict.fromkeys(touches) if touch not in step.touches)
        if not more:
            return step
        touches = step.touches + more
        return self.of(step.text, touches, may_fail=step.may_fail, runs_out=step.runs_out)


def _clash(touches: Touches, others: Touches) -> bool:
    return any(
        overlap(name, other_name) and (mode is not other_mode or mode is Mode.WRITE)
        for name, mode in touches
        for other_name, other_mode in others
    )


def overlap(name: str, other: str) -> bool:
    """Return whether two names mean one object, or a column and an element of it."""
    if name == other:
        return True
    return name.startswith(f"{other}[") or other.startswith(f"{name}[")
