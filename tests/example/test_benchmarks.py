"""The benchmarks: that all of them can be run, and how two commits are compared."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from mmactors.arch.native.store import cache_dir

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))


@pytest.fixture
def benchmark(monkeypatch):
    """Import a module of benchmarks/ as `python -m benchmarks` does."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def compare(benchmark):
    return benchmark("compare")


@pytest.fixture
def ratios(benchmark, compare):
    """Make the ratios of a figure."""
    side = benchmark("side")

    def make(base, this, *, unit="1/s", at_least=0.9):
        figure = side.Figure(name="steps", unit=unit, measure=lambda _: 0.0, at_least=at_least)
        return compare.Ratios(benchmark="walk", figure=figure, base=base, this=this)

    return make


def shown(table):
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return [line.split() for line in capture.get().splitlines()]


def test_every_benchmark_can_be_imported_and_calls_what_can_be_called():
    """In a process of its own, as scripts: they import each other and change the path."""
    called = {}
    for name in SCRIPTS:
        tree = ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text())
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        called[name] = sorted({func.id for func in calls if isinstance(func, ast.Name)})
    del called["compare"]  # Of a package; the other tests import it.
    code = f"""
import importlib, sys
sys.path[:0] = [{str(ROOT / "benchmarks")!r}, {str(ROOT)!r}]
for script, names in {called}.items():
    module = importlib.import_module(script)
    for name in names:
        if not callable(getattr(module, name, print)):
            print(script, name)
"""

    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert ("", "") == (done.stdout, done.stderr)


def test_every_benchmark_is_run_by_its_name(benchmark):
    assert {"compare", "host", "measure", "side"} == {*SCRIPTS} - {
        *benchmark("__main__").BENCHMARKS
    }


def test_a_ratio_is_of_speeds_whether_more_or_less_is_better(ratios):
    """Half the nanoseconds are twice the speed, as twice as many a second are."""
    assert (2.0, 0.5) == ratios((10.0, 10.0), (20.0, 5.0)).each()
    assert (2.0, 0.5) == ratios((10.0, 10.0), (5.0, 20.0), unit="ns").each()


def test_each_pair_has_its_ratio_and_their_median_stands_for_them(ratios):
    """The host was slow in the third pair, for both."""
    found = ratios((100.0, 100.0, 50.0), (90.0, 110.0, 50.0)).as_json()

    assert (1.0, 0.9, 1.1) == (found["median"], found["min"], found["max"])


@pytest.mark.parametrize(
    ("this", "verdict"),
    [((80.0, 95.0, 96.0), "ok"), ((80.0, 85.0, 96.0), "unsure"), ((80.0, 85.0, 89.0), "below")],
)
def test_a_loss_is_unsure_as_long_as_one_pair_denies_it(ratios, this, verdict):
    assert verdict == ratios((100.0,) * 3, this).verdict()


def test_a_ratio_below_its_limit_is_told_and_fails_nothing(compare, ratios):
    found = compare.Comparison(ratios=[ratios((100.0, 100.0), (50.0, 60.0))])

    assert found.is_good()
    assert [
        ["walk", "steps", "100", "55", "1/s", "0.550", "0.500", "0.600", "2", "0.90", "below"]
    ] == shown(compare.ratio_table(found))[1:]


def race(name, *, found, exhausted):
    return {
        "id": name,
        "path": f"configs/races/{name}.yaml",
        "broken": {"failure": {"at_schedule": found}},
        "right": {"outcome": "exhausted", "nr_schedules": exhausted},
    }


def test_more_schedules_than_the_base_takes_are_a_failure(compare):
    base = [race("A1", found=3, exhausted=40), race("A2", found=1, exhausted=9)]
    this = [race("A1", found=4, exhausted=39), race("A3", found=2, exhausted=5)]

    found = compare.Comparison(
        schedules=compare.side_by_side(compare.schedule_counts(base), compare.schedule_counts(this))
    )

    assert not found.is_good()
    assert [
        ["A1", "found", "in", "3", "4", "MORE"],
        ["A1", "exhausted", "40", "39"],
        ["A2", "found", "in", "1", "-", "GONE"],
        ["A2", "exhausted", "9", "-", "GONE"],
        ["A3", "found", "in", "-", "2"],
        ["A3", "exhausted", "-", "5"],
    ] == shown(compare.schedule_table(found))[1:]


def test_a_search_that_no_longer_ends_is_a_failure(compare):
    """The base exhausts the right kernel; here the budget ends before."""
    base, this = race("A1", found=3, exhausted=40), race("A1", found=3, exhausted=20)
    this["right"]["outcome"] = "sampled"

    schedules = compare.side_by_side(
        compare.schedule_counts([base]), compare.schedule_counts([this])
    )

    assert [None, 40] == [schedules[1].this, schedules[1].base]
    assert not compare.Comparison(schedules=schedules).is_good()


def test_a_checkout_beside_itself_gives_a_ratio_for_every_pair(compare):
    """The whole way: processes, values, JSON. Code is compiled where the session has its own."""
    here = compare.Checkout(root=ROOT, cache=cache_dir().parent)

    found = compare.compare(here, here, ["event_log"], nr_pairs=1)

    assert {} == found.problems
    (only,) = json.loads(json.dumps(found.as_json()))["ratios"]
    assert (1, "events") == (len(only["ratios"]), only["figure"])
    assert 0 < only["min"] == only["max"]


def test_what_a_commit_lacks_is_told_in_its_place(compare, tmp_path):
    """A commit without benchmarks, that is."""
    here = compare.Checkout(root=ROOT, cache=tmp_path)
    bare = compare.Checkout(root=tmp_path, cache=tmp_path)

    found = compare.compare(bare, here, ["event_log"], nr_pairs=1)

    assert not found.is_good()
    assert found.problems["event_log, events"].startswith("base: ModuleNotFoundError")


def test_a_base_that_is_no_commit_is_told():
    """A folder without a repository has none at all."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--compare", "no-such-commit"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert "--compare: no-such-commit names no commit" in done.stderr


@pytest.mark.parametrize(
    ("name", "figures", "told", "code"),
    [
        ("faults", {"faults_per_s": 1.0}, "not met", 0),
        ("memory", {"mb_per_gib": 1e6}, "MISSED", 1),
    ],
)
def test_only_a_goal_that_no_load_changes_can_fail(
    benchmark, monkeypatch, tmp_path, capsys, name, figures, told, code
):
    """A speed says as much of the host as of the simulator."""
    main = benchmark("__main__")
    monkeypatch.setattr(main, "run_benchmark", lambda _: figures)
    monkeypatch.setattr(sys, "argv", ["benchmarks", name, "--out", str(tmp_path / "out.json")])

    assert code == main.main()
    assert told in capsys.readouterr().out
    assert figures == json.loads((tmp_path / "out.json").read_text())["figures"][name]


def test_a_comparison_is_of_what_lies_in_the_checkout(compare, monkeypatch, tmp_path):
    """Changed, new and removed files as they are; nothing that is ignored."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name, text in (("changed", "old"), ("removed", "old"), (".gitignore", "ignored")):
        (checkout / name).write_text(text)
    for arguments in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *arguments], cwd=checkout, check=True)
    (checkout / "removed").unlink()
    for name in ("changed", "new", "ignored"):
        (checkout / name).write_text("now")
    monkeypatch.setattr(compare, "REPOSITORY", checkout)

    compare.copy_checkout(tmp_path / "copy")

    copied = {path.name: path.read_text() for path in (tmp_path / "copy").iterdir()}
    assert {"changed": "now", "new": "now", ".gitignore": "ignored"} == copied


@pytest.mark.slow
def test_every_figure_of_a_comparison_can_be_measured(benchmark, compare, tmp_path):
    here = compare.Checkout(root=ROOT, cache=tmp_path)

    problems = {}
    for name, compared in benchmark("side").COMPARED.items():
        with compare.Side(here, name) as side:
            for figure in compared.figures:
                try:
                    assert side.measure(figure.name) > 0
                except ValueError as error:
                    problems[name, figure.name] = str(error)

    assert {} == problems
