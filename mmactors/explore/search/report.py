"""A schedule for people: one column an actor, and beside it what each step changed."""

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from mmactors.engine.schedule import SEPARATOR
from mmactors.explore.engine.untimed import NOTHING_HAPPENS
from mmactors.explore.execution.broken import Broken, Kind
from mmactors.explore.execution.choice import INDEX_MASK
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.script import Script, play

_MAX_WIDTH: Final = 40
_NR_FAIR_ROWS: Final = 12


@frozen(kw_only=True)
class Row:
    """One step of a schedule."""

    actor: str
    label: str
    t_ns: int
    is_preemption: bool
    changes: tuple[str, ...]


def rows_of(execution: Execution, script: Script, *, max_steps: int) -> list[Row]:
    """Play the schedule and return its steps."""
    shows: list[dict[str, str]] = []
    preemptions: list[bool] = []
    times: list[int] = []
    engine = execution.engine
    play(execution, script, max_steps=max_steps)
    touched = [name for step in execution.steps for name, _ in step.touches]
    names = list(dict.fromkeys([*execution.named, *touched]))

    def on_step(choice: int) -> None:
        shows.append(_shown(execution, names))
        preemptions.append(execution.is_preemption(execution.candidates(), choice))
        times.append(engine.clock.now)

    play(execution, script, max_steps=max_steps, on_step=on_step)
    shows.append(_shown(execution, names))
    rows = []
    for at, (choice, step) in enumerate(zip(execution.choices, execution.steps, strict=True)):
        is_scripted = at < len(script)
        if at >= len(script) + _NR_FAIR_ROWS:
            break
        before = shows[at] if is_scripted else {}
        after = shows[at + 1] if is_scripted else {}
        looked = (
            f"{name} is {before[name]}" for name in step.looks if step.is_look and name in before
        )
        changed = (
            f"{name}: {before.get(name, 'none')} → {text}"
            for name, text in after.items()
            if before.get(name) != text
        )
        rows.append(
            Row(
                actor=engine.party[choice & INDEX_MASK].name,
                label=step.text,
                t_ns=times[at] if is_scripted else engine.clock.now,
                is_preemption=is_scripted and preemptions[at],
                changes=(*looked, *changed),
            )
        )
    return rows


def _shown(execution: Execution, names: Sequence[str]) -> dict[str, str]:
    """Return what the objects of these names hold, as far as they can be shown."""
    with execution.engine.guard.suspended():
        found = ((name, execution.histories.find(name)) for name in names)
        shown = ((name, thing.show()) for name, thing in found if thing is not None)
        return {name: text for name, text in shown if text}


def table(rows: Sequence[Row], actors: Sequence[str]) -> str:
    """Return the steps in columns; a star marks where an actor was preempted."""
    has_time = any(row.t_ns for row in rows)
    names = [name for name in actors if any(row.actor == name for row in rows)]
    widths = {
        name: min(
            _MAX_WIDTH, max([len(name), *(len(row.label) for row in rows if row.actor == name)])
        )
        for name in names
    }
    head = ["   #", *(["    t ns"] if has_time else []), *(f"{n:{widths[n]}}" for n in names)]
    lines = [" | ".join([*head, "what is seen and changed"])]
    lines.append("-+-".join("-" * len(cell) for cell in [*head, "what is seen and changed"]))
    for at, row in enumerate(rows, 1):
        if row.label.endswith(NOTHING_HAPPENS):
            continue
        cells = [f"{'*' if row.is_preemption else ' '}{at:3}"]
        if has_time:
            cells.append(f"{row.t_ns:8}")
        cells += [
            f"{row.label if row.actor == name else '':{widths[name]}.{_MAX_WIDTH}}"
            for name in names
        ]
        lines.append(" | ".join([*cells, "; ".join(row.changes)]).rstrip())
    return "\n".join(lines)


def scripted_test(name: str, script: Script, broken: Broken, arguments: Sequence[str]) -> str:
    """Return a test that plays the schedule, to be pasted beside the one that found it."""
    lines = [
        f"def test_{_identifier(name)}_as_found():",
        f'    """{broken.kind.value[0].upper()}{broken.kind.value[1:]}: {broken.law}."""',
        "    mmactors.play(",
        f"        {_function(name)},",
        "        [",
        *(f"            {actor + SEPARATOR + label!r}," for actor, label in script),
        "        ],",
        *(f"        {argument}," for argument in arguments),
        "    )",
    ]
    return "\n".join(lines).replace("'", '"')


def explain(
    rows: Sequence[Row],
    actors: Sequence[str],
    broken: Broken,
    *,
    nr_preemptions: int,
    is_least: bool,
) -> str:
    """Return what broke, and the schedule that breaks it."""
    plural = "" if nr_preemptions == 1 else "s"
    least = (
        "no schedule with fewer breaks it"
        if is_least and nr_preemptions
        else "the fewest that were found"
    )
    needs = f"{len(rows)} steps, {nr_preemptions} preemption{plural}"
    if nr_preemptions:
        needs += f" (*), {least}"
    if broken.kind is Kind.LIVELOCK:
        needs += "; then it goes on like this for ever"
    return f"{broken}\n\n{table(rows, actors)}\n\n{needs}"


def _identifier(name: str) -> str:
    function = _function(name).removeprefix("test_")
    return "".join(letter if letter.isalnum() else "_" for letter in function).strip("_")


def _function(name: str) -> str:
    return name.rpartition("::")[2].partition("[")[0]
