"""`mmactors heap-compare`: traces and scenarios on several libraries, side by side."""

import json
from pathlib import Path

import numpy as np
import orjson
import pytest
from made_traces import MADE, write_made_trace

import mmactors
from mmactors.cli.heap.library_choice import library_choices
from mmactors.cli.heap.rss_chart import Curve, chart_lines, columns
from mmactors.cli.main import run_command
from mmactors.errors import UserError
from mmactors.units import PAGE_SIZE
from mmactors.workload.heap_trace.file import open_heap_trace

ROOT = Path(__file__).parents[2]
TRACES = ROOT / "tests" / "reference" / "malloc"
SORT, GITGC = TRACES / "real_sort.npz", TRACES / "real_gitgc.npz"
ARENAS = ROOT / "configs" / "malloc_arenas.yaml"
ONE_ARENA = "ptmalloc:GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0"
FEW = ["--limit", 1500]
MAPS = "ptmalloc:MALLOC_MMAP_THRESHOLD_=4096"


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """Tables and paths of temporary folders stand in one line."""
    monkeypatch.setenv("COLUMNS", "250")


def compare(capsys, *arguments, code=0):
    """Run the verb; return what it says on stdout."""
    assert code == run_command(["heap-compare", *map(str, arguments), "-q"])
    return capsys.readouterr().out


def as_json(capsys, *arguments, code=0):
    return orjson.loads(compare(capsys, *arguments, "--json", code=code))["compared"]


def libraries(*texts):
    return [word for text in texts for word in ("--library", text)]


def samples_of(run_dir, name):
    head, *rows = map(json.loads, (run_dir / "series.jsonl").read_text().splitlines())
    at = head["names"].index(name)
    return np.array([row["values"][at] for row in rows])


def test_figures_are_those_of_the_runs_that_are_kept(tmp_path, capsys):
    """Each library has a run directory; its counters, samples and locks say the same."""
    (gitgc,) = as_json(capsys, GITGC, *FEW, *libraries("ptmalloc", ONE_ARENA), "--out", tmp_path)

    assert ["ptmalloc", "ptmalloc-2"] == sorted(path.name for path in tmp_path.iterdir())
    for told in gitgc["libraries"]:
        run_dir = Path(told["run_dir"])
        counters = json.loads((run_dir / "counters.json").read_text())
        own = {name: counters[f"process[real_gitgc].{name}"] for name in ("min_flt", "maxrss")}
        live, usable, system, rss = (
            samples_of(run_dir, f"process[real_gitgc].{name}")
            for name in (
                *("malloc_live_bytes", "malloc_usable_bytes", "malloc_system_bytes"),
                "anon_pages",
            )
        )

        assert own["min_flt"] == told["minor_faults"]
        assert max(own["maxrss"], rss.max()) * PAGE_SIZE == told["peak_rss_bytes"]
        assert rss.mean() * PAGE_SIZE == pytest.approx(told["mean_rss_bytes"])
        assert live.max() == told["peak_live_bytes"]
        assert 1 - live.sum() / usable.sum() == pytest.approx(told["fragmentation_inside"])
        assert 1 - usable.sum() / system.sum() == pytest.approx(told["fragmentation_outside"])
        assert told["llc_misses"] == sum(
            counters[f"{kind}.llc_misses"] for kind in ("fetch", "read", "write", "walk", "kernel")
        )
        waits = {each: its["contentions"] for each, its in told["lock_classes"].items()}
        assert told["lock_waits"] + told["kernel_lock_waits"] == sum(waits.values())
        assert [row[2] for row in told["samples"]] == (rss * PAGE_SIZE).tolist()


def test_an_environment_makes_a_library_another_one(tmp_path, capsys):
    """What is mapped on its own is given back, and faults again; the program asks for the same."""
    (sort,) = as_json(capsys, SORT, *libraries("ptmalloc", MAPS), "--out", tmp_path)
    usual, maps = sort["libraries"]

    assert usual["munmap"] < maps["munmap"]
    assert usual["minor_faults"] < maps["minor_faults"]
    assert (372, 372) == (usual["calls"], maps["calls"])
    assert {"MALLOC_MMAP_THRESHOLD_": "4096"} == maps["environment"]


def test_what_is_kept_can_be_looked_at_and_run_again(tmp_path, capsys):
    """`heap` shows the heap of each; the scenario that lies there gives the same counters."""
    compare(capsys, SORT, *libraries("ptmalloc", MAPS), "--out", tmp_path)

    for label in ("ptmalloc", "ptmalloc-2"):
        assert 0 == run_command(["heap", str(tmp_path / label)])
        assert "heap of real_sort" in capsys.readouterr().out
        again = mmactors.run(tmp_path / label / "scenario.resolved.yaml")
        assert again.counters == json.loads((tmp_path / label / "counters.json").read_text())


def test_two_comparisons_say_the_same(tmp_path, capsys):
    """Nothing of the host is in what is printed, but for where runs lie."""
    arguments = [GITGC, *FEW, *libraries("ptmalloc", ONE_ARENA), "--out", tmp_path, "--force"]

    assert compare(capsys, *arguments) == compare(capsys, *arguments)


def test_one_trace_has_a_column_for_each_library_and_a_chart(tmp_path, capsys):
    out = compare(capsys, SORT, *libraries("ptmalloc", MAPS), "--out", tmp_path)
    lines = out.splitlines()

    assert ["real_sort", "ptmalloc", "ptmalloc-2"] == lines[0].split()
    assert "ptmalloc-2: MALLOC_MMAP_THRESHOLD_=4096" in lines
    assert f"run     {tmp_path / 'ptmalloc-2'}" in lines
    assert "RSS over virtual time, " in out
    assert 10 == sum(" |" in line for line in lines)
    over_calls = compare(capsys, SORT, "--over", "calls", "--out", tmp_path / "calls")
    assert "RSS over calls, 372 from left to right" in over_calls


def test_several_traces_have_a_line_for_each_library(tmp_path, capsys):
    """In the terminal and in Markdown; runs lie in folders of traces."""
    arguments = [SORT, GITGC, *libraries("ptmalloc", MAPS), "--limit", 300]
    shown = compare(capsys, *arguments, "--out", tmp_path / "a").splitlines()
    written = compare(capsys, *arguments, "--out", tmp_path / "b", "--markdown").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in written]

    assert ["real_sort", "", "real_gitgc", ""] == [row[0] for row in rows[2:]]
    assert ["ptmalloc", "ptmalloc-2"] * 2 == [row[1] for row in rows[2:]]
    assert [line.split() for line in shown[1:5]] == [
        [cell for cell in row if cell] for row in rows[2:]
    ]
    assert (tmp_path / "a" / "real_gitgc" / "ptmalloc-2" / "malloc").is_dir()


def test_a_library_that_aborts_has_its_column_with_what_happened(tmp_path, capsys):
    """A program that frees twice; without a cache of its own, another check of glibc's sees it."""
    no_cache = "ptmalloc:GLIBC_TUNABLES=glibc.malloc.tcache_count=0"
    trace = TRACES / "text" / "double_free.ltrace"
    arguments = [trace, *libraries("ptmalloc", no_cache), "--out", tmp_path, "--force"]
    (told,) = as_json(capsys, *arguments, code=1)
    first, second = told["libraries"]

    assert "died of SIGABRT (free(): double free detected in tcache 2" in first["came_to"]
    assert "died of SIGABRT (double free or corruption (fasttop)" in second["came_to"]
    assert 2 == first["calls"]
    assert "ptmalloc-2: double_free died of SIGABRT" in compare(capsys, *arguments, code=1)


def test_a_scenario_runs_with_each_library_in_place_of_its_own(tmp_path, capsys):
    """What it expects of counters is of its own library, and is not asked; deaths are."""
    arguments = [ARENAS, *libraries("ptmalloc", ONE_ARENA), "--out", tmp_path]
    (told,) = as_json(capsys, *arguments)
    own, other = told["libraries"]

    assert "ok" == own["came_to"] == other["came_to"]
    assert own["lock_waits"] < other["lock_waits"]
    resolved = [
        mmactors.load(tmp_path / label / "scenario.resolved.yaml").processes
        for label in ("ptmalloc", "ptmalloc-2")
    ]
    first = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}
    assert [first, {}] == [process.environment for process in resolved[0]]
    assert [other["environment"]] * 2 == [process.environment for process in resolved[1]]


def test_a_trace_runs_on_the_machine_of_a_scenario(tmp_path, capsys):
    arguments = [SORT, "--scenario", ARENAS, "--set", "machine.cpus=2", "--out", tmp_path]
    compare(capsys, *arguments)
    scenario = mmactors.load(tmp_path / "ptmalloc" / "scenario.resolved.yaml")

    assert (2, 256 << 20) == (scenario.machine.cpus, scenario.machine.memory.size)
    assert ["real_sort"] == [process.name for process in scenario.processes]
    assert () == scenario.expect


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "mmactors heap-compare: no file; expected heap traces or scenarios ("),
        (["none.npz"], "none.npz: the trace cannot be read: No such file"),
        ([ROOT / "README.md"], "the heap trace is of no known form; expected one of npz"),
        ([SORT, "--library", "foo"], "--library foo: processes[0].malloc is the text 'foo'; exp"),
        ([SORT, "--library", "ptmalloc:X=1"], "--library ptmalloc:X=1: unknown key processes[0]."),
        ([SORT, "--library", "ptmalloc:x"], "'x' is no variable; expected NAME, or NAME:VARIABLE"),
        ([SORT, "--library", ""], "--library : no library is named; expected NAME"),
        ([SORT, "--library", "ptmalloc:A=1:A=2"], "A twice; expected each variable once ("),
        ([SORT, "--limit", "0"], "--limit: 0 operations; expected at least 1 ("),
        ([SORT, "--format", "csv"], "real_sort.npz:1:1: the first line, "),
        ([ARENAS, "--order", "free"], "malloc_arenas.yaml is a scenario; expected heap traces wi"),
        ([ROOT / "configs" / "quickstart.yaml"], "no program calls its C library's allocator; ex"),
        ([SORT, "--scenario", "none.yaml"], "none.yaml: No such file or directory; expected a re"),
        ([SORT, "--out", "/proc/none"], "expected a directory that can be written (name another"),
    ],
)
def test_mistakes_are_told(arguments, said, tmp_path, capsys, monkeypatch):
    """Before anything runs: where, what was found, what is legal, what to try."""
    monkeypatch.chdir(tmp_path)

    assert 2 == run_command(["heap-compare", *map(str, arguments), "-q"])
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_mistakes_of_all_libraries_are_told_at_once(capsys):
    wrong = libraries("ptmalloc:GLIBC_TUNABLES=glibc.malloc.none=1", "foo")

    assert 2 == run_command(["heap-compare", str(SORT), *wrong, "--set", "machine.cpus=0", "-q"])
    lines = capsys.readouterr().err.splitlines()
    assert ["--library ptmalloc", "--library foo", "--set machine.cpus=0"] == [
        next(start for start in ("--library ptmalloc", "--library foo", "--set machine.cpus=0")
             if line.startswith(start))
        for line in sorted(lines, key=lambda line: (line.startswith("--set"), "foo" in line))
    ]  # fmt: skip
    assert 3 == len(lines)


def test_values_of_variables_have_colons_of_their_own():
    """A variable begins behind a colon, in capitals, before an equals sign."""
    one, two = library_choices(
        ["jemalloc:MALLOC_CONF=narenas:1,dirty_decay_ms:-1", f"{ONE_ARENA}:MALLOC_TOP_PAD_=0"]
    )

    assert {"MALLOC_CONF": "narenas:1,dirty_decay_ms:-1"} == one.environment
    assert (
        "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0"
        == (two.environment["GLIBC_TUNABLES"])
    )
    assert "0" == two.environment["MALLOC_TOP_PAD_"]
    assert f"--library {ONE_ARENA}:MALLOC_TOP_PAD_=0" == two.option
    with pytest.raises(UserError, match="no variable"):
        library_choices(["jemalloc:narenas:1"])


def test_a_column_of_the_chart_shows_the_most_of_its_part():
    """What was before, where nothing was sampled; nothing behind the end."""
    short = Curve(label="a", at=np.array([0, 10, 11, 12, 50]), rss=np.array([1, 2, 9, 2, 4]))

    assert [1, 9, 2, 2, 2, 4, None, None, None, None] == columns(short, 100, count=10)


def test_charts_have_one_scale():
    """Half as much is half as high; what is there at all is seen."""
    at = np.array([0, 100])
    curves = [
        Curve(label="all", at=at, rss=np.array([800, 800])),
        Curve(label="half", at=at, rss=np.array([400, 400])),
        Curve(label="some", at=at, rss=np.array([1, 1])),
    ]
    head, *lines = chart_lines(curves, "calls")
    filled = [sum(char not in " ▄▁" for char in line.partition("|")[2][:1]) for line in lines]

    assert "RSS over calls, 100 from left to right" in head
    assert [5, 2, 0] == [sum(filled[start : start + 5]) for start in (1, 7, 13)]
    assert ["▄", "▁"] == [lines[9].partition("|")[2][0], lines[17].partition("|")[2][0]]


@pytest.mark.parametrize(("name", "threads"), [("server", 16), ("phases", 1)])
def test_traces_that_are_made_are_those_that_lie_there(tmp_path, name, threads):
    """In configs/traces, byte by byte what tests/made_traces.py writes."""
    path = tmp_path / f"{name}.npz"
    write_made_trace(name, path)

    assert (ROOT / "configs" / "traces" / f"{name}.npz").read_bytes() == path.read_bytes()
    assert threads == open_heap_trace(path).meta["threads"]
    assert {"server", "phases"} == set(MADE)
