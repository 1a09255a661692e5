"""Schedules as a page: a lane an actor, time downwards, arrows for preemptions and wake-ups.

The page is one file that loads nothing. Lanes of one CPU stand beside each other; bars beside a
lane are the locks that its actor holds. An arrow stands between two rows, from lane to lane, so
that it needs no measuring and is printed as it is seen. What does not matter is hidden until asked
for (`v`); `j` and `k` step through, with everything the step saw below.
"""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Final

from attrs import frozen

from mmactors.errors import Place, Problem, UserError
from mmactors.explore.report.rows import Hold, Lane, Row
from mmactors.explore.report.story import Story
from mmactors.explore.report.table import shown_rows

_NR_COLOURS: Final = 8
_LEAST_LANE_REM: Final = 7
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(stories: Sequence[tuple[str, Story]]) -> str:
    """Return a page of HTML with each story below its title."""
    here = files("mmactors.explore.report")
    style = here.joinpath("lanes.css").read_text(encoding="utf-8")
    script = here.joinpath("lanes.js").read_text(encoding="utf-8")
    titles = ", ".join(title for title, _ in stories)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>{escape(titles)}</title>",
            f"<style>{style}</style></head><body>",
            *(_Chart(story).drawn(title) for title, story in stories),
            '<aside class="details" aria-live="polite"></aside>',
            f"<script>{script}</script></body></html>",
            "",
        ]
    )


def write_page(file: Path, stories: Sequence[tuple[str, Story]], *, option: str) -> None:
    """Write the page; raise UserError, naming the option, if the file cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page(stories), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(
            Problem(
                place=Place(option),
                found=f"{file} cannot be written: {error.strerror}",
                legal="expected a file in a folder that can be written",
                advice="name another file",
            )
        ) from None


@frozen
class _Link:
    """An arrow below a row."""

    start: int
    end: int
    kind: str
    says: str


class _Chart:
    """One story, drawn."""

    def __init__(self, story: Story) -> None:
        self._story: Final = story
        self._lanes: Final = _by_place(story.lanes)
        self._at: Final = {lane.name: at for at, lane in enumerate(self._lanes)}
        locks = dict.fromkeys(hold.lock for row in story.rows for hold in row.holds)
        self._colours: Final = {lock: at % _NR_COLOURS for at, lock in enumerate(locks)}
        self._slots: Final = _slots(story.rows)
        self._has_time: Final = any(row.t_ns for row in story.rows)

    def drawn(self, title: str) -> str:
        """Return the section of the page."""
        story = self._story
        nr_lanes = len(self._lanes)
        least = nr_lanes * _LEAST_LANE_REM + 8
        style = f"--lanes: {nr_lanes}; --least: {least}rem; --seen: {max(2, nr_lanes * 0.9):.1f}fr"
        style += f"; --time: {'10ch' if self._has_time else '0ch'}"
        what = f"{story.broken.kind.value}: {story.broken.law}"
        parts = [
            f'<section class="story"><h1>{escape(what)}</h1>',
            f"<h2>{escape(title)}: {escape(story.summary())}</h2>",
            self._legend(),
            f'<div class="scroll"><div class="chart" style="{style}">',
            *self._heads(),
        ]
        before: tuple[Hold, ...] = ()
        told = {row.number: row for row in shown_rows(story.rows, is_verbose=False)}
        shown: Row | None = None
        for row in story.rows:
            row_told = told.get(row.number, row)
            if row.matters or row.number in told:
                parts += self._link_rows(self._preemption(shown, row), before, is_minor=False)
                shown = row
            parts.append(self._row(row, row_told, before))
            parts += self._link_rows(self._wakes(row), row.holds, is_minor=not row.matters)
            before = row.holds
        text = f"<pre>{escape(story.text)}</pre>" if story.text else ""
        parts.append(f'</div></div><div class="end"><strong>{escape(what)}</strong>{text}</div>')
        parts.append("</section>")
        return "\n".join(parts)

    def _legend(self) -> str:
        minor = sum(not row.matters for row in self._story.rows)
        minor += sum(not each.matters for row in self._story.rows for each in row.seen)
        parts = [
            '<span class="star">⇢ a preemption (*)</span>',
            '<span class="wake">→ lets somebody go on</span>',
            *(
                f'<span><i style="background: var(--lock{colour})"></i>{escape(lock)}</span>'
                for lock, colour in self._colours.items()
            ),
            '<span class="keys">j, k: step</span>',
        ]
        if minor:
            parts.append(
                f'<button class="toggle keys" aria-pressed="false">v: show {minor} lines that no '
                "law, check or other actor has to do with</button>"
            )
        return f'<div class="legend">{"".join(parts)}</div>'

    def _heads(self) -> list[str]:
        heads = "".join(f"<div>{escape(lane.name)}</div>" for lane in self._lanes)
        time = "t ns" if self._has_time else ""
        row = f'<div class="heads"><div>#</div><div>{time}</div>{heads}'
        row += '<div class="what">what is seen and changed</div></div>'
        if not any(lane.place for lane in self._lanes):
            return [row]
        places = "<div></div><div></div>"
        for place, group in groupby(self._lanes, key=lambda lane: lane.place):
            kind = ' class="place"' if place else ""
            places += f'<div{kind} style="grid-column: span {len(list(group))}">{place}</div>'
        return [f'<div class="places">{places}<div class="rest"></div></div>', row]

    def _row(self, row: Row, told: Row, before: tuple[Hold, ...]) -> str:
        minor = "" if row.matters else " minor"
        star = " star" if row.is_preemption else ""
        number = f"{'*' if row.is_preemption else ''}{row.number}"
        cells = [
            f'<div class="number{star}">{number}</div>',
            f'<div class="time">{row.t_ns if self._has_time else ""}</div>',
        ]
        for lane in self._lanes:
            is_own = lane.name == row.actor
            inside = self._bars(lane.name, before, row.holds)
            if is_own:
                doing = f"<em>{escape(told.doing)}</em>" if told.doing else ""
                inside += f'<div class="step">{doing}{escape(row.label)}</div>'
            bars = self._slots.get(lane.name, {})
            style = f' style="--bars: {len(bars) * 6}px"' if bars else ' style="--bars: 0px"'
            cells.append(f'<div class="lane{star if is_own else ""}"{style}>{inside}</div>')
        seen = "".join(
            f'<li class="{"look" if each.after is None else "change"}'
            f'{"" if each.matters else " minor"}">{_seen(each.thing, each.before, each.after)}</li>'
            for each in row.seen
        )
        cells.append(f'<ul class="seen">{seen}</ul>')
        everything = escape(self._everything(row), quote=True)
        return (
            f'<div class="row{minor}" data-step="{row.number}" title="{everything}" '
            f'data-all="{everything}">{"".join(cells)}</div>'
        )

    def _everything(self, row: Row) -> str:
        lane = self._lanes[self._at[row.actor]]
        where = f" on {lane.place}" if lane.place else ""
        parts = [f"step {row.number}{where}, {row.entry!r}", *map(str, row.seen)]
        if row.wakes:
            parts.append(f"lets go on: {', '.join(row.wakes)}")
        parts += [f"{hold.actor} holds {hold.lock}" for hold in row.holds]
        return "; ".join(parts)

    def _bars(self, actor: str, before: tuple[Hold, ...], after: tuple[Hold, ...]) -> str:
        """Return the bars of one lane: of the locks that its actor holds before or after."""
        bars = []
        for lock, slot in self._slots.get(actor, {}).items():
            hold = Hold(lock=lock, actor=actor)
            had, has = hold in before, hold in after
            if had or has:
                kind = "" if had and has else " takes" if has else " gives"
                bars.append(
                    f'<div class="bar{kind}" style="--slot: {slot}; background: '
                    f'var(--lock{self._colours[lock]})" title="{escape(actor)} holds '
                    f'{escape(lock)}"></div>'
                )
        return "".join(bars)

    def _preemption(self, before: Row | None, row: Row) -> list[_Link]:
        if before is None or not row.is_preemption or before.actor == row.actor:
            return []
        says = f"{before.actor} is preempted, {row.actor} goes on"
        return [_Link(self._at[before.actor], self._at[row.actor], "star", says)]

    def _wakes(self, row: Row) -> list[_Link]:
        start = self._at[row.actor]
        return [
            _Link(start, self._at[name], "wake", f"{row.actor} lets {name} go on")
            for name in row.wakes
            if name in self._at
        ]

    def _link_rows(
        self, links: list[_Link], holds: tuple[Hold, ...], *, is_minor: bool
    ) -> list[str]:
        return [self._link(link, holds, is_minor=is_minor) for link in links]

    def _link(self, link: _Link, holds: tuple[Hold, ...], *, is_minor: bool) -> str:
        first, last = sorted((link.start, link.end))
        half = 50 / (last - first + 1)
        lanes = "".join(
            f'<div class="lane" style="grid-row: 1; grid-column: {at + 3}">'
            f"{self._bars(lane.name, holds, holds)}</div>"
            for at, lane in enumerate(self._lanes)
        )
        way = "right" if link.end > link.start else "left"
        style = f"grid-column: {first + 3} / {last + 4}; margin: 0 {half:.3f}%"
        arrow = f'<div class="arrow {link.kind} {way}" style="{style}"'
        arrow += (
            f' data-from="{link.start}" data-to="{link.end}" title="{escape(link.says)}"></div>'
        )
        return f'<div class="link{" minor" if is_minor else ""}">{lanes}{arrow}</div>'


def _by_place(lanes: Sequence[Lane]) -> list[Lane]:
    """Return the lanes: CPU by CPU, then who runs on none; services last."""
    order = list(dict.fromkeys(lane.place for lane in lanes if lane.place))
    return sorted(
        lanes,
        key=lambda lane: (lane.is_service, order.index(lane.place) if lane.place else len(order)),
    )


def _slots(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Return, by actor, where beside its lane the bar of each lock stands that it ever holds."""
    slots: dict[str, dict[str, int]] = {}
    for row in rows:
        for hold in row.holds:
            own = slots.setdefault(hold.actor, {})
            own.setdefault(hold.lock, len(own))
    return slots


def _seen(thing: str, before: str, after: str | None) -> str:
    if after is None:
        return f"<b>{escape(thing)} is</b> {escape(before)}"
    return f"<b>{escape(thing)}:</b> {escape(before)} → {escape(after)}"
