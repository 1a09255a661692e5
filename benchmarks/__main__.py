"""`python -m benchmarks [NAME ...]`: run all benchmarks, or those named, and show them as a table.

Each benchmark is a script of its own that runs in a process of its own, so that none finds
another's memory or compiled code; it gives its figures as JSON. With `--compare BASE` this checkout
is measured beside another commit (compare.py). Everything is kept in one file of
benchmarks/results/, with the host, the versions and the commits.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen
from rich.console import Console
from rich.table import Table

from benchmarks import compare
from benchmarks.compare import number
from benchmarks.host import commit, commit_of, host

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TIMEOUT_S = 300
WIDTH = 120
"""Columns of the table if it does not go to a terminal."""
BENCHMARKS = (
    "access_path",
    "budgets",
    "cpus",
    "engine",
    "event_log",
    "explore",
    "faults",
    "fork",
    "malloc",
    "memory",
    "page_allocator",
    "percpu",
    "sampling",
    "slab",
    "slob",
    "slub",
    "startup",
    "vmalloc",
)
WRITES_FILE = ("budgets", "engine", "explore", "sampling")
"""These write JSON with --json FILE; the others print it."""


@frozen(kw_only=True)
class Line:
    """A line of the table: a figure, what it should be, and who else does the like."""

    key: str
    """Names on the way to the figure in a benchmark's JSON, joined by /."""
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    peer: str | None = None
    """The same for the figure of somebody else."""
    peer_name: str = ""
    is_stable: bool = False
    """No load on the host changes it, so that a goal which is not met is a failure."""

    def goal(self) -> str:
        if self.at_least is not None:
            return f">= {number(self.at_least)}"
        return "" if self.at_most is None else f"<= {number(self.at_most)}"

    def is_met(self, value: float) -> bool | None:
        if self.at_least is not None:
            return value >= self.at_least
        return None if self.at_most is None else value <= self.at_most


def _switches(driver: str, depth: str, goal: int | None = None) -> Line:
    peer = "results/timeouts, SimPy/value"
    key = f"results/switches, {driver}, fifo, depth {depth}/value"
    return Line(key=key, unit="1/s", at_least=goal, peer=peer, peer_name="SimPy timeouts")


def _round_trips(driver: str, peer: str) -> Line:
    return Line(
        key=f"results/round trips, {driver}/value",
        unit="1/s",
        peer=f"results/round trips, {peer}/value",
        peer_name=peer,
    )


def _against_cachegrind(program: str) -> Line:
    return Line(
        key=f"cachegrind/{program}/rate",
        unit="M refs/s",
        peer=f"cachegrind/{program}/cachegrind",
        peer_name="cachegrind",
    )


def _against_bound(toy: str, noise: int, sampler: str) -> Line:
    key = f"{toy}, noise {noise}/{sampler}"
    return Line(
        key=f"{key}/rate", unit="hits", peer=f"{key}/bound", peer_name="the published bound"
    )


def _against_pycachesim(way: str) -> Line:
    return Line(
        key="pycachesim/data_only",
        unit="M refs/s",
        peer=f"pycachesim/{way}",
        peer_name=f"pycachesim {way.replace('_', ' ')}",
    )


TABLE: dict[str, tuple[Line, ...]] = {
    "access_path": (
        Line(key="all", unit="M refs/s", at_least=120),
        Line(key="all_collapsed", unit="M refs/s"),
        Line(key="share_of_plain_loop", unit="times", at_least=0.19),
        _against_pycachesim("call_by_call"),
        _against_pycachesim("list"),
        _against_cachegrind("random"),
        _against_cachegrind("hot_loop"),
        Line(key="ns_per_access_by_cpus/ratio_64_to_1", unit="times", at_most=1.5),
    ),
    "budgets": (Line(key="worst", unit="times", at_most=1.1),),
    "cpus": (
        Line(key="local/1_cpus_ns", unit="ns"),
        Line(key="local/64_cpus_ns", unit="ns"),
        Line(key="local/ratio_64_to_1", unit="times", at_most=1.5),
        Line(key="random/ratio_64_to_1", unit="times", at_most=1.5),
    ),
    "engine": (
        _switches("trio", "6", 150_000),
        _switches("trio", "0"),
        _switches("inline", "6", 500_000),
        _switches("inline", "0"),
        Line(key="results/run-ahead/value", unit="ns", at_most=300),
        _round_trips("trio", "trio channels"),
        _round_trips("inline", "SimPy"),
    ),
    "event_log": (
        Line(
            key="events_per_s",
            unit="1/s",
            peer="python_logging_per_s",
            peer_name="Python's logging",
        ),
    ),
    "explore": (
        *(
            Line(key=f"rates/{toy}/all orders", unit="1/s", at_least=40_000)
            for toy in ("lost update", "order", "ABA", "stale TLB")
        ),
        *(
            Line(
                key=f"own/{program}/per_s",
                unit="1/s",
                peer=f"frontrun/{program}/per_s",
                peer_name="frontrun",
            )
            for program in ("lost update", "lock order", "3 counters, all")
        ),
        Line(
            key="own/3 counters, all/schedules",
            unit="runs",
            peer="frontrun/3 counters, all/schedules",
            peer_name="frontrun",
        ),
    ),
    "fork": (
        Line(key="forks_per_s", unit="1/s"),
        Line(key="slab_pages_per_child", unit="pages"),
    ),
    "faults": (
        Line(key="faults_per_s", unit="1/s", at_least=100_000),
        Line(key="faults_per_s_inline", unit="1/s"),
        Line(key="faults_per_s_logged", unit="1/s", at_least=30_000),
    ),
    "malloc": (
        Line(key="recorded_per_s", unit="1/s", at_least=500_000),
        Line(key="machine_per_s", unit="1/s", at_least=100_000),
        Line(key="machine_without_metadata_per_s", unit="1/s", at_least=100_000),
        Line(key="machine/real_gdb", unit="1/s", at_least=100_000),
    ),
    "memory": (
        Line(key="mb_per_gib", unit="MB", at_most=60, is_stable=True),
        Line(key="built/64_gib/mb", unit="MB"),
        Line(key="large/peak_mb", unit="MB", at_most=4295, is_stable=True),
        Line(key="large/run_s", unit="s"),
    ),
    "page_allocator": (
        Line(key="alloc_pcp_ns", unit="ns"),
        Line(key="free_pcp_ns", unit="ns"),
        Line(key="alloc_with_refills_ns", unit="ns"),
        Line(key="mixed_orders_ns", unit="ns"),
        Line(key="mod_node_page_state_ns", unit="ns"),
    ),
    "percpu": (
        Line(key="recorded_per_s", unit="1/s", at_least=60_000),
        Line(key="pairs_per_s", unit="1/s"),
    ),
    "sampling": tuple(
        _against_bound(toy, noise, sampler)
        for toy, pct in (("lost update", "PCT 2"), ("ABA", "PCT 3"), ("stale TLB", "PCT 4"))
        for noise in (0, 20)
        for sampler in ("POS", "walk", pct)
    ),
    "slab": (
        Line(key="recorded_per_s", unit="1/s", at_least=300_000),
        Line(key="kmalloc_kfree_pairs_per_s", unit="1/s"),
    ),
    "slob": (
        Line(key="recorded_per_s", unit="1/s", at_least=60_000),
        Line(key="kmalloc_kfree_pairs_per_s", unit="1/s"),
    ),
    "slub": (
        Line(key="recorded_per_s", unit="1/s", at_least=400_000),
        Line(key="kmalloc_kfree_pairs_per_s", unit="1/s"),
        Line(key="program_pairs_per_s", unit="1/s", at_least=100_000),
        Line(key="program_pairs_per_s_logged", unit="1/s"),
        Line(key="host_bytes_per_object_of_64", unit="bytes"),
    ),
    "startup": (
        Line(key="help/wall_s", unit="s", at_most=0.3),
        Line(key="check/wall_s", unit="s", at_most=0.5),
        Line(key="quickstart_first/wall_s", unit="s", at_most=10),
        Line(key="quickstart_first/cpu_s", unit="s"),
        Line(key="quickstart_later/wall_s", unit="s", at_most=3),
    ),
    "vmalloc": (
        Line(key="recorded_per_s", unit="1/s", at_least=60_000),
        Line(key="on_slub_per_s", unit="1/s"),
    ),
}


def run_benchmark(name: str) -> dict[str, Any]:
    """Run one benchmark; return its figures, or what went wrong under `error`."""
    command = [sys.executable, str(HERE / f"{name}.py")]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        if name in WRITES_FILE:
            command += ["--json", str(file)]
        try:
            done = subprocess.run(
                command, check=False, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            return {"error": f"took more than {TIMEOUT_S} s"}
        text = file.read_text() if file.exists() else done.stdout
    try:
        figures: dict[str, Any] = json.loads(text)
    except ValueError:
        return {"error": f"gave no figures; exit code {done.returncode}"}
    if done.returncode:
        figures["error"] = f"exit code {done.returncode}"
    return {**figures, "took_s": time.perf_counter() - began}


def at(figures: dict[str, Any], key: str | None) -> float | None:
    """Return the figure of a key; None if it was not measured here."""
    found: Any = figures
    for name in key.split("/") if key else ():
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return float(found) if isinstance(found, int | float) else None


def _told(row: dict[str, Any]) -> str:
    if row["is_met"] is None:
        return ""
    if row["is_met"]:
        return "ok"
    return "[bold]MISSED[/]" if row["is_stable"] else "not met"


def judged(name: str, figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the table's lines of one benchmark, those that were measured."""
    rows = []
    for line in TABLE[name]:
        value, theirs = at(figures, line.key), at(figures, line.peer)
        if value is not None:
            rows.append(
                {
                    "benchmark": name,
                    "figure": line.key,
                    "value": value,
                    "unit": line.unit,
                    "goal": line.goal(),
                    "is_met": line.is_met(value),
                    "is_stable": line.is_stable,
                    "peer": line.peer_name if theirs else None,
                    "peer_value": theirs,
                    "ratio_to_peer": value / theirs if theirs else None,
                }
            )
    return rows


def table_of(rows: list[dict[str, Any]], problems: dict[str, str]) -> Table:
    """Return what is shown in the end."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("benchmark", "figure"):
        table.add_column(title, no_wrap=True)
    for title in ("value", "unit", "goal", ""):
        table.add_column(title, justify="right" if title == "value" else "left")
    table.add_column("times the peer", justify="right")
    table.add_column("peer")
    last = ""
    for row in rows:
        ratio = row["ratio_to_peer"]
        table.add_row(
            row["benchmark"] if row["benchmark"] != last else "",
            row["figure"].removeprefix("results/").removesuffix("/value"),
            number(row["value"]),
            row["unit"],
            row["goal"],
            _told(row),
            f"{ratio:.2f}" if ratio else "",
            row["peer"] or "",
        )
        last = row["benchmark"]
    for name, problem in problems.items():
        table.add_row(name, problem)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--out", type=Path, help="file for the results")
    parser.add_argument(
        "--compare",
        metavar="BASE",
        help="measure this checkout beside a commit; NAMEs then are of "
        f"{', '.join(compare.NAMES)} (left out: {', '.join(compare.DEFAULT)})",
    )
    parser.add_argument(
        "--pairs",
        type=_positive,
        default=compare.NR_PAIRS,
        help=f"with --compare: how often both are measured ({compare.NR_PAIRS})",
    )
    options = parser.parse_args()
    known = BENCHMARKS if options.compare is None else compare.NAMES
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    began = datetime.now(UTC)
    if options.compare is not None:
        base = commit_of(options.compare)
        if base is None:
            parser.error(
                f"--compare: {options.compare} names no commit of this repository; expected a "
                "tag, a branch or a commit; `git tag` and `git log` list them"
            )
        out = options.out or RESULTS / f"compare-{began:%Y%m%dT%H%M%SZ}.json"
        return _compare(options.compare, base, options.names or compare.DEFAULT, options.pairs, out)
    out = options.out or RESULTS / f"{began:%Y%m%dT%H%M%SZ}.json"
    return _run(options.names or BENCHMARKS, out)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    return console


def _origin() -> dict[str, Any]:
    """Return what results come from, as it is before the first of them."""
    began = datetime.now(UTC).isoformat(timespec="seconds")
    return {"began": began, "commit": commit(), "host": host()}


def _write(out: Path, origin: dict[str, Any], report: dict[str, Any]) -> None:
    """Write results, and say where they are."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(origin | report, indent=1) + "\n")
    print(f"\n{out}")


def _compare(revision: str, base: str, names: Sequence[str], nr_pairs: int, out: Path) -> int:
    """Compare this checkout with a commit; 1: something failed, or a search became longer."""
    origin = _origin()
    with compare.checkouts(base) as (old, new):
        found = compare.compare(old, new, names, nr_pairs=nr_pairs)
    console = _console()
    console.print(
        f"{origin['commit']} beside {base} ({revision}); speed: times the base's, above 1 better"
    )
    for table in (compare.ratio_table(found), compare.schedule_table(found)):
        if table.row_count:
            console.print()
            console.print(table)
    for name, problem in found.problems.items():
        console.print(f"{name}: {problem}", style="bold", markup=False)
    both = {"base": {"revision": revision, "commit": base}, "pairs": nr_pairs}
    _write(out, origin, both | found.as_json())
    return 0 if found.is_good() else 1


def _run(names: Sequence[str], out: Path) -> int:
    """Run benchmarks; 1: one failed, or a stable figure misses its goal."""
    origin = _origin()
    results: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for name in names:
        sys.stderr.write(f"{name} ...\n")
        results[name] = run_benchmark(name)
        rows += judged(name, results[name])
    problems = {name: each["error"] for name, each in results.items() if "error" in each}
    _console().print(table_of(rows, problems))
    _write(out, origin, {"rows": rows, "figures": results})
    is_missed = any(row["is_met"] is False and row["is_stable"] for row in rows)
    return 1 if problems or is_missed else 0


if __name__ == "__main__":
    sys.exit(main())
