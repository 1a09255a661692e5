"""Two commits compared: the figures of both, measured in turn, and their ratios with the spread.

The base and this checkout, uncommitted changes included, are copied into folders of their own, so
that both begin without compiled code and nobody has to keep his hands off a checkout. A pair is two
fresh processes, one a commit, that stay alive together: after a first run of each, which compiles
and warms up, every figure is measured with the one and at once with the other. So what the host
does in the meantime disturbs both alike, and what differs from process to process (hashes,
addresses) differs from pair to pair. Of each pair there is a ratio of speeds; the table has their
median, least and greatest. Ratios are told and never judged by the exit code; how many schedules
the gallery takes is the same on every host, so more of them than the base's is a failure.
"""

import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from attrs import define, field, frozen
from rich.table import Table

from benchmarks.host import REPOSITORY
from benchmarks.side import COMPARED, Figure, explored

GALLERY: Final = "gallery"
NAMES: Final = (*COMPARED, GALLERY)
DEFAULT: Final = ("faults", "access_path", "engine", "explore", "startup", GALLERY)
NR_PAIRS: Final = 5
TIMEOUT_S: Final = 300
"""For one value: a commit that hangs is an error in its line, not the end of the comparison."""


@frozen(kw_only=True)
class Ratios:
    """A figure of both commits, pair by pair."""

    benchmark: str
    figure: Figure
    base: tuple[float, ...]
    this: tuple[float, ...]

    def each(self) -> tuple[float, ...]:
        """Return the speed of this checkout as a multiple of the base's, pair by pair."""
        pairs = zip(self.base, self.this, strict=True)
        if self.figure.unit.endswith("/s"):
            return tuple(this / base for base, this in pairs)
        return tuple(base / this for base, this in pairs)

    def median(self) -> float:
        return statistics.median(self.each())

    def verdict(self) -> str:
        """Return whether the speed was kept; `unsure` where only some pairs say so."""
        limit = self.figure.at_least
        if limit is None:
            return ""
        if self.median() >= limit:
            return "ok"
        return "unsure" if max(self.each()) >= limit else "below"

    def as_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark,
            "figure": self.figure.name,
            "unit": self.figure.unit,
            "base": self.base,
            "this": self.this,
            "ratios": self.each(),
            "median": self.median(),
            "min": min(self.each()),
            "max": max(self.each()),
            "at_least": self.figure.at_least,
            "verdict": self.verdict(),
        }


@frozen(kw_only=True)
class Schedules:
    """How many schedules a kernel of the gallery takes.

    None: the commit has no such entry, or its search ended without.
    """

    race: str
    what: str
    """`found in`, of the buggy kernel, or `exhausted`, of the right one."""
    base: int | None
    this: int | None

    def verdict(self) -> str:
        """Return what became worse; nothing if all is as good as the base's, or new."""
        if self.base is None:
            return ""
        if self.this is None:
            return "GONE"
        return "MORE" if self.this > self.base else ""


@define(kw_only=True)
class Comparison:
    """What was found."""

    ratios: list[Ratios] = field(factory=list)
    schedules: list[Schedules] = field(factory=list)
    problems: dict[str, str] = field(factory=dict)
    """Why a line is missing, by the name of what should be in it."""

    def is_good(self) -> bool:
        """Return whether all was measured and no search became longer."""
        return not self.problems and not any(each.verdict() for each in self.schedules)

    def as_json(self) -> dict[str, Any]:
        return {
            "ratios": [each.as_json() for each in self.ratios],
            "schedules": [
                {
                    "race": each.race,
                    "what": each.what,
                    "base": each.base,
                    "this": each.this,
                    "verdict": each.verdict(),
                }
                for each in self.schedules
            ],
            "problems": self.problems,
        }


@frozen(kw_only=True)
class Checkout:
    """A commit's files, and where its compiled code goes."""

    root: Path
    cache: Path

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": str(self.root),
            "MMACTORS_CACHE_DIR": str(self.cache),
            "NUMBA_CACHE_DIR": str(self.cache),
        }


class Side:
    """A process that measures figures of a benchmark for one commit."""

    def __init__(self, checkout: Checkout, benchmark: str) -> None:
        script = str(REPOSITORY / "benchmarks" / "side.py")
        self._process = subprocess.Popen(
            [sys.executable, script, str(checkout.root), benchmark],
            cwd=checkout.root,
            env=checkout.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def measure(self, figure: str) -> float:
        """Return a value; raises ValueError with what the commit says instead."""
        assert self._process.stdin is not None, "the process was started without a pipe"
        assert self._process.stdout is not None, "the process was started without a pipe"
        watchdog = threading.Timer(TIMEOUT_S, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(f"{figure}\n")
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            raise ValueError(f"ended, or took more than {TIMEOUT_S} s")
        reply = json.loads(line)
        if "error" in reply:
            raise ValueError(reply["error"])
        return float(reply["value"])


@contextmanager
def checkouts(base: str) -> Iterator[tuple[Checkout, Checkout]]:
    """Yield copies of a commit and of this checkout, each without compiled code."""
    with tempfile.TemporaryDirectory(prefix="compare-") as name:
        folder = Path(name)
        archive = subprocess.run(
            ["git", "archive", "--format=tar", base],
            cwd=REPOSITORY,
            check=True,
            stdout=subprocess.PIPE,
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder / "base", filter="data")
        copy_checkout(folder / "this")
        yield (
            Checkout(root=folder / "base", cache=folder / "base-cache"),
            Checkout(root=folder / "this", cache=folder / "this-cache"),
        )


def copy_checkout(folder: Path) -> None:
    """Copy what is a part of this checkout, committed or not, and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    for name in listed.stdout.split("\0"):
        source, copy = REPOSITORY / name, folder / name
        if name and source.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)


def compare(
    base: Checkout, this: Checkout, names: Sequence[str], *, nr_pairs: int = NR_PAIRS
) -> Comparison:
    """Measure both commits; tell on stderr what is being measured."""
    found = Comparison()
    for name in names:
        if name != GALLERY:
            _compare_figures(found, name, base, this, nr_pairs)
    if GALLERY in names:
        _compare_galleries(found, base, this)
    return found


def _compare_figures(
    found: Comparison, name: str, base: Checkout, this: Checkout, nr_pairs: int
) -> None:
    compared = COMPARED[name]
    nr_pairs = min(nr_pairs, compared.pairs_max or nr_pairs)
    values: dict[str, list[tuple[float, float]]] = {each.name: [] for each in compared.figures}
    for pair in range(nr_pairs):
        sys.stderr.write(f"{name}, pair {pair + 1} of {nr_pairs} ...\n")
        with Side(base, name) as old, Side(this, name) as new:
            for figure in compared.figures:
                key = f"{name}, {figure.name}"
                if key not in found.problems:
                    try:
                        values[figure.name].append(_pair(old, new, figure, nth=pair))
                    except ValueError as error:
                        found.problems[key] = str(error)
    for figure in compared.figures:
        pairs = values[figure.name]
        if pairs and f"{name}, {figure.name}" not in found.problems:
            olds, news = zip(*pairs, strict=True)
            found.ratios.append(Ratios(benchmark=name, figure=figure, base=olds, this=news))


def _pair(old: Side, new: Side, figure: Figure, *, nth: int) -> tuple[float, float]:
    """Return a value of each, measured one at once after the other."""
    if figure.warm_ups is None or nth < figure.warm_ups:
        _value("base", old, figure)
        _value("this", new, figure)
    return _value("base", old, figure), _value("this", new, figure)


def _value(who: str, side: Side, figure: Figure) -> float:
    try:
        return side.measure(figure.name)
    except ValueError as error:
        raise ValueError(f"{who}: {error}") from None


def _compare_galleries(found: Comparison, base: Checkout, this: Checkout) -> None:
    """Explore both galleries; counts do not depend on the host, so both run at once."""
    sys.stderr.write(f"{GALLERY} ...\n")
    counts: list[dict[tuple[str, str], int]] = []
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(explored, each.root, (), each.environment()) for each in (base, this)]
        for who, each in zip(("base", "this"), asked, strict=True):
            try:
                counts.append(schedule_counts(each.result()))
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                found.problems[f"{GALLERY}, {who}"] = str(error)
    if len(counts) == 2:
        found.schedules += side_by_side(*counts)


def schedule_counts(races: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    """Return the schedules of searches that came to an end, of `mmactors explore --json`."""
    counts = {}
    for race in races:
        name = race["id"] or Path(race["path"]).stem
        broken = race["broken"]
        if broken is not None and broken.get("failure") is not None:
            counts[name, "found in"] = broken["failure"]["at_schedule"]
        if race["right"]["outcome"] == "exhausted":
            counts[name, "exhausted"] = race["right"]["nr_schedules"]
    return counts


def side_by_side(
    base: dict[tuple[str, str], int], this: dict[tuple[str, str], int]
) -> list[Schedules]:
    """Return the counts of two commits, one line for each race and kernel."""
    keys = dict.fromkeys((*base, *this))
    return [
        Schedules(race=race, what=what, base=base.get((race, what)), this=this.get((race, what)))
        for race, what in keys
    ]


def ratio_table(found: Comparison) -> Table:
    """Return the figures and the problems."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("benchmark", "figure"):
        table.add_column(title, no_wrap=True)
    for title in ("base", "this"):
        table.add_column(title, justify="right")
    table.add_column("unit")
    for title in ("speed", "least", "greatest", "pairs", "at least"):
        table.add_column(title, justify="right")
    table.add_column("")
    last = ""
    for each in found.ratios:
        limit = each.figure.at_least
        table.add_row(
            each.benchmark if each.benchmark != last else "",
            each.figure.name,
            number(statistics.median(each.base)),
            number(statistics.median(each.this)),
            each.figure.unit,
            f"{each.median():.3f}",
            f"{min(each.each()):.3f}",
            f"{max(each.each()):.3f}",
            str(len(each.base)),
            "" if limit is None else f"{limit:.2f}",
            each.verdict(),
        )
        last = each.benchmark
    return table


def schedule_table(found: Comparison) -> Table:
    """Return the counts of schedules, those that became worse marked."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("race", no_wrap=True)
    table.add_column("kernel", no_wrap=True)
    table.add_column("base", justify="right")
    table.add_column("this", justify="right")
    table.add_column("")
    for each in found.schedules:
        counts = ("-" if count is None else str(count) for count in (each.base, each.this))
        table.add_row(each.race, each.what, *counts, f"[bold]{each.verdict()}[/]")
    return table


def number(value: float) -> str:
    """Return a value with four digits, or all those before the point."""
    if value >= 10_000:
        return f"{value:,.0f}".replace(",", "_")
    return f"{value:.4g}"
