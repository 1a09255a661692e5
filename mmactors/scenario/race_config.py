"""The `race` section of a scenario: what is searched for, and what the gallery says of it."""

from attrs import frozen

from mmactors.engine import chance
from mmactors.option import option


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
