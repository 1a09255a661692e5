"""The `race` section of a scenario: what is searched for, and what the gallery says of it."""

from attrs import frozen

from mmactors.engine import chance
from mmactors.option import option
from mmactors.scenario.race_names import FunctionName, Goal


@frozen(kw_only=True)
class RaceConfig:
    """A race to explore: what comes after `race` in the programs, in every order."""

    id: str | None = option(None, doc="Its name in the catalogue.")
    title: str | None = option(None, doc="What happens, in one line.")
    story: str | None = option(None, doc="What happens, in which order, and why it is wrong.")
    bug: str | None = option(
        None, doc="Identifiers of the bug: CVE, commit, the releases that had it."
    )
    fix: str | None = option(None, doc="Identifiers of the fix.")
    broken: tuple[str, ...] = option(
        (), doc="Rules of `kernel.rules` that the buggy kernel does not keep."
    )
    finds: str | None = option(None, doc="A part of what the buggy kernel's failure says.")
    scope: tuple[str, ...] = option(
        (),
        doc="Objects whose steps are choice points, such as page_tables, tlb, ptl; "
        "empty: every step is one.",
    )
    laws: tuple[FunctionName, ...] = option(
        (),
        doc="Laws of your own, as `module:function`: the module beside the scenario or where "
        "Python looks, the function given the machine as `Machine.inspect()` shows it. It asserts, "
        "or returns False. One whose name begins with `always_` holds after each step, the others "
        "when all threads have done their work.",
    )
    reaches: tuple[Goal, ...] = option(
        (),
        doc="What has to happen in some schedule: the name of an event (docs/events.md), the text "
        "of a step in which * and ? match any, or a `module:function` that returns whether it "
        "has. The verdict names what never happened.",
    )
    may: tuple[str, ...] = option(
        (), doc="What may happen by itself, once in a schedule each.", choices=chance.ALL
    )
    budget: int = option(
        20_000, doc="Schedules that may be tried to find the bug.", minimum=1, maximum=1 << 30
    )
    exhausts: bool = option(
        True, doc="The right kernel's schedules are tried all; false: sampled, see `why_sampled`."
    )
    why_sampled: str | None = option(
        None, doc="Why not all schedules of the right kernel can be tried."
    )
    look_at: str | None = option(None, doc="What to look at in the schedule that is printed.")

    @property
    def has_own(self) -> bool:
        """Whether it brings laws or goals of its own."""
        return bool(self.laws or self.reaches)

    @property
    def functions(self) -> tuple[FunctionName, ...]:
        """The functions that its laws and goals name, each once: exploring runs their modules."""
        goals = [goal.function for goal in self.reaches if goal.function is not None]
        return tuple(dict.fromkeys([*self.laws, *goals]))
