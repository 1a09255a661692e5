"""A schedule, step by step: who did what, what that saw and changed, whom it let go on."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import evolve, frozen

from mmactors.engine.schedule import SEPARATOR
from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.untimed import NOTHING_HAPPENS, SearchEngine
from mmactors.explore.engine.view import is_cpu
from mmactors.explore.execution.choice import INDEX_MASK
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.script import Script, is_preemption, play
from mmactors.explore.report.relevance import Relevance, touched_otherwise
from mmactors.explore.report.teller import Teller
from mmactors.label import Mode

NR_FAIR_ROWS: Final = 12
"""So many steps are shown of what goes on for ever."""
_FEW: Final = 3
"""So much is told at least of what a step that matters looked at."""
NONE: Final = "none"
"""What a part is said to be that is not there."""


@frozen(kw_only=True)
class Seen:
    """What a step saw of an object, or made of it."""

    thing: str
    before: str
    after: str | None
    """None: it was looked at only."""
    matters: bool
    """A law, a check or another actor has to do with it."""
    is_news: bool = True
    """It is worth a line where there is nothing better to show."""

    @property
    def is_plain_change(self) -> bool:
        """Whether it is a change, and none of who runs."""
        return self.after is not None and self.is_news

    def __str__(self) -> str:
        if self.after is None:
            return f"{self.thing} is {self.before}"
        return f"{self.thing}: {self.before} → {self.after}"


@frozen(kw_only=True)
class Hold:
    """Somebody holds a lock."""

    lock: str
    actor: str


@frozen(kw_only=True)
class Row:
    """One step of a schedule."""

    number: int
    """Counted from 1."""
    actor: str
    label: str
    entry: str
    """As the schedule has it: `app: lock ptl[0x1404]`."""
    t_ns: int
    doing: str = ""
    """What the actor has begun with this step, such as a system call; empty: nothing new."""
    is_preemption: bool = False
    seen: tuple[Seen, ...] = ()
    matters: bool = True
    """It may have to do with what broke."""
    wakes: tuple[str, ...] = ()
    """Actors that could not go on before the step and can after it."""
    holds: tuple[Hold, ...] = ()
    """Who holds which locks after it."""
    nr_times: int = 1
    """It was done so often in a row, and nothing happened by it."""


@frozen(kw_only=True)
class Lane:
    """An actor, as reports show it."""

    name: str
    place: str
    """The CPU it runs on; empty: none."""
    is_service: bool
    """It is a part of the machine or of the surroundings."""


@frozen
class _Moment:
    """The state between two steps."""

    parts: dict[str, dict[str, str]]
    """By the engine's name of an object: its parts."""
    able: frozenset[str]
    holds: tuple[Hold, ...]
    places: dict[str, str]
    doing: dict[str, str]
    t_ns: int


def rows_of(
    execution: Execution, script: Script, teller: Teller, *, max_steps: int
) -> tuple[list[Row], list[Lane]]:
    """Play the schedule; return its steps, and who took any."""
    otherwise = touched_otherwise(execution, max_steps=max_steps)
    play(execution, script, max_steps=max_steps)
    touched = [name for step in execution.steps for name, _ in step.touches]
    names = list(dict.fromkeys([*execution.named, *touched]))
    moments: list[_Moment] = []
    preemptions: list[bool] = []
    labels: list[str] = []

    def on_step(choice: int) -> None:
        moments.append(_look(execution, teller, names))
        preemptions.append(is_preemption(execution, execution.candidates(), choice))
        if len(moments) > 1:
            at = len(moments) - 2
            labels.append(_label(execution, teller, at))

    play(execution, script, max_steps=max_steps, on_step=on_step)
    moments.append(_look(execution, teller, names))
    labels += [_label(execution, teller, at) for at in range(len(labels), len(execution.steps))]
    relevance = Relevance(execution, len(script), teller, otherwise)
    rows = []
    doing: dict[str, str] = {}
    for at, (choice, step) in enumerate(zip(execution.choices, execution.steps, strict=True)):
        if at >= len(script) + NR_FAIR_ROWS:
            break
        row = Row(
            number=at + 1,
            actor=execution.engine.party[choice & INDEX_MASK].name,
            label=labels[at],
            entry=f"{execution.engine.party[choice & INDEX_MASK].name}{SEPARATOR}{step.text}",
            t_ns=execution.engine.clock.now,
        )
        if at < len(script):
            before, after = moments[at], moments[at + 1]
            begun = before.doing.get(row.actor, "")
            row = evolve(
                row,
                doing="" if doing.get(row.actor) == begun else begun,
                t_ns=before.t_ns,
                is_preemption=preemptions[at],
                seen=_seen(execution, at, before, after, relevance, is_last=at == len(script) - 1),
                matters=preemptions[at] or relevance.of_step(at),
                wakes=tuple(sorted(after.able - before.able - {row.actor})),
                holds=after.holds,
            )
        if not step.text.endswith(NOTHING_HAPPENS):
            rows.append(row)
            doing[row.actor] = row.doing or doing.get(row.actor, "")
    return _judged(rows), _lanes(execution, rows, moments)


def _judged(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, each with what is known only of all of them.

    What lets somebody go on whose later steps matter does, too. A step that matters shows at least
    what it changed, or some of what it looked at.
    """
    judged: list[Row] = []
    later: set[str] = set()
    for row in reversed(rows):
        seen = row.seen
        matters = row.matters or any(each.matters for each in seen) or bool(later & {*row.wakes})
        if matters:
            later.add(row.actor)
            if not any(each.matters for each in seen):
                told = [each for each in seen if each.is_plain_change] or [
                    each for each in seen if each.is_news
                ][:_FEW]
                seen = tuple(evolve(each, matters=each in told) for each in seen)
        judged.append(evolve(row, matters=matters, seen=seen))
    return judged[::-1]


def _label(execution: Execution, teller: Teller, at: int) -> str:
    step = execution.steps[at]
    return teller.label(step.text, step.touches)


def _seen(
    execution: Execution,
    at: int,
    before: _Moment,
    after: _Moment,
    relevance: Relevance,
    *,
    is_last: bool,
) -> tuple[Seen, ...]:
    step = execution.steps[at]
    found = []
    written = {name for name, mode in step.touches if mode is not Mode.READ}
    # What it is about and is what it was: a lock that was not free, a value over the same one.
    for at_touch, name in enumerate(name for name, _ in step.touches):
        parts = before.parts.get(name, {})
        if parts == after.parts.get(name) and (is_last or (at_touch == 0 and len(parts) == 1)):
            written.discard(name)  # On the last step, what broke was looked at from inside.
    for name in (name for name, _ in step.touches if name not in written):
        for thing, text in before.parts.get(name, {}).items():
            matters = relevance.of_part(at, name, thing, text, is_look=True)
            is_news = not is_cpu(name) and relevance.is_news(thing, text)
            found.append(
                Seen(thing=thing, before=text, after=None, matters=matters, is_news=is_news)
            )
    for name, parts in after.parts.items():
        for thing, was, now in _changes(before.parts.get(name, {}), parts):
            matters = relevance.of_part(at, name, thing, was, now)
            found.append(
                Seen(thing=thing, before=was, after=now, matters=matters, is_news=not is_cpu(name))
            )
    return tuple(dict.fromkeys(found))


def _changes(old: dict[str, str], new: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Return the parts that are not what they were; the only part of an object may be renamed."""
    if len(old) == len(new) == 1:
        old = dict(zip(new, old.values(), strict=True))
    for thing in dict.fromkeys([*old, *new]):
        was, now = old.get(thing, NONE), new.get(thing, NONE)
        if was != now:
            yield thing, was, now


def _look(execution: Execution, teller: Teller, names: Sequence[str]) -> _Moment:
    """Return what the objects of these names hold, as far as they can be shown."""
    engine = execution.engine
    with engine.guard.suspended():
        teller.glance()
        things = {name: execution.histories.find(name) for name in names}
        parts = {name: teller.parts(name, thing) for name, thing in things.items()}
        holds = [
            Hold(lock=teller.called(name), actor=holder)
            for name in names
            for holder in _holders(engine, name)
        ]
        able = [actor.name for actor in engine.party if _is_able(actor)]
    on_cpus = [actor for actor in engine.party if actor.cpu is not None]
    return _Moment(
        parts=parts,
        able=frozenset(able),
        holds=tuple(dict.fromkeys(holds)),
        places={actor.name: actor.cpu.name for actor in on_cpus if actor.cpu is not None},
        doing={actor.name: str(actor.doing) for actor in engine.party if actor.doing is not None},
        t_ns=engine.clock.now,
    )


def _is_able(actor: SearchActor) -> bool:
    """Return whether an actor could take a step now."""
    if actor.finished or not actor.is_enabled():
        return False
    return actor.branch is None or bool(actor.branch())


def _holders(engine: SearchEngine, name: str) -> list[str]:
    """Return who holds the lock `name`, by name; nobody holds what is no lock."""
    lock: Any = engine.registered.get(name) or engine.objects.get(name)
    holders = [getattr(lock, "holder", None), getattr(lock, "writer", None)]
    holders += list(getattr(lock, "readers", ()) or ())
    return [each.name for each in holders if each is not None]


def _lanes(execution: Execution, rows: Sequence[Row], moments: Sequence[_Moment]) -> list[Lane]:
    """Return the actors that took steps, those of one CPU beside each other."""
    places: dict[str, str] = {}
    for moment in moments:
        places = {**moment.places, **places}
    acting = {row.actor for row in rows}
    return [
        Lane(name=actor.name, place=places.get(actor.name, ""), is_service=_is_service(actor))
        for actor in execution.engine.party
        if actor.name in acting
    ]


def _is_service(actor: Any) -> bool:
    return bool(actor.daemon or actor.serves)
