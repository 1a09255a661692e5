"""`import mmactors`: run, machine and load, from a path, a dict or a Scenario, in any loop."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import attrs
import pytest
import trio
from machines import scenario_of
from ruamel.yaml import YAML

import mmactors
from mmactors.cli.main import run_command
from mmactors.engine.report import Deadlock
from mmactors.observe.run_dir import read_meta

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
SCENARIO = {
    "machine": {"cpus": 2, "memory": {"size": "128M"}},
    "engine": {"policy": "seeded", "quantum_ns": 0},
    "processes": [
        {"name": "p", "copies": 2, "program": ["mmap A 64K", "touch A write", "munmap A"]}
    ],
    "expect": ["pgfault == 32", "pgmajfault > 0"],
}
TEXT = """
machine: {cpus: 2, memory: {size: 128M}}
engine: {policy: seeded, quantum_ns: 0}
processes:
  - name: p
    copies: 2
    program: [mmap A 64K, touch A write, munmap A]
expect: [pgfault == 32, pgmajfault > 0]
"""
CROSSED = ["thread T cpu=0", "T& barrier A 2", "barrier B 2", "T& barrier B 2", "barrier A 2"]
STUCK = {"processes": [{"name": "p", "program": CROSSED}]}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(TEXT)
    return path


def test_a_dict_says_what_a_file_says(path):
    """The same scenario, also from a path as text, and from a scenario."""
    loaded = mmactors.load(SCENARIO)

    assert loaded == mmactors.load(path) == mmactors.load(str(path)) == mmactors.load(loaded)
    assert isinstance(loaded, mmactors.Scenario)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_scenario_of_the_gallery_can_be_said_as_a_dict(path, monkeypatch):
    """What YAML reads of the file gives the scenario that the file gives; traces lie beside it."""
    monkeypatch.chdir(path.parent)
    said = YAML(typ="safe", pure=True).load(path)

    assert mmactors.load(path) == mmactors.load(said)


@pytest.mark.parametrize("overrides", [{"machine.cpus": 4}, ["machine.cpus=4"], "machine.cpus=4"])
def test_options_are_overridden_as_on_the_command_line(path, overrides):
    """By values or by texts; every kind of source takes them."""
    changed = mmactors.load(path, seed=7, overrides=overrides)

    assert (4, 7) == (changed.machine.cpus, changed.engine.seed)
    assert changed == mmactors.load(SCENARIO, seed=7, overrides=overrides)
    assert changed == mmactors.load(mmactors.load(path), seed=7, overrides=overrides)


def test_a_run_says_what_came_of_it():
    """Verdict, counters, /proc, and each expectation with its value."""
    result = mmactors.run(SCENARIO, seed=3)

    assert ("expectation failed", "complete", 3) == (result.verdict, result.status, result.seed)
    assert not result.is_ok
    assert [("pgfault == 32", 32, True), ("pgmajfault > 0", 0, False)] == [
        attrs.astuple(each) for each in result.expectations
    ]
    assert 32 == result.counters["pgfault"] == result.faults
    assert "Name:\tp.1\n" in result.proc["2/status"]
    assert result.run_dir is result.events_path is result.failure is None
    assert mmactors.run(SCENARIO, overrides={"expect": []}).is_ok


def test_a_result_cannot_be_changed():
    """Neither its fields nor its mappings."""
    result = mmactors.run(SCENARIO)

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        result.verdict = "ok"
    with pytest.raises(TypeError):
        result.counters["pgfault"] = 0
    with pytest.raises(TypeError):
        result.proc["1/status"] = ""


def test_it_runs_inside_an_event_loop_that_runs():
    """That of asyncio, that of trio, and in a thread beside one."""
    expected = mmactors.run(SCENARIO, seed=5)

    async def run():
        return mmactors.run(SCENARIO, seed=5)

    async def run_beside():
        return await asyncio.to_thread(mmactors.run, SCENARIO, seed=5)

    results = [asyncio.run(run()), trio.run(run), asyncio.run(run_beside())]

    assert [expected.schedule] * 3 == [result.schedule for result in results]
    assert [dict(expected.counters)] * 3 == [dict(result.counters) for result in results]


def test_a_run_directory_is_that_of_the_command(path, tmp_path, capsys):
    """The same log and the same counters, byte for byte, whichever driver moved the machine."""
    run_command(["run", str(path), "--seed", "3", "--out", str(tmp_path / "command")])
    result = mmactors.run(path, seed=3, out=tmp_path / "program")
    capsys.readouterr()

    assert (tmp_path / "program", "expectation failed") == (result.run_dir, result.verdict)
    assert result.events_path == tmp_path / "program" / "events.jsonl"
    for name in ("events.jsonl", "counters.json", "schedule.txt", "scenario.resolved.yaml"):
        of_command = (tmp_path / "command" / name).read_bytes()
        assert of_command == (tmp_path / "program" / name).read_bytes(), name
    assert "complete" == read_meta(result.run_dir)["status"]


def test_what_stops_a_machine_is_in_the_result(tmp_path):
    """A deadlock names who waits; the run directory says it, too."""
    result = mmactors.run(STUCK, out=tmp_path / "stuck")

    assert ("deadlock", "failed") == (result.verdict, result.status)
    assert isinstance(result.failure, Deadlock)
    assert "failed" == read_meta(result.run_dir)["status"]
    with mmactors.machine(STUCK) as machine, pytest.raises(Deadlock):
        machine.run()


def test_a_machine_is_stepped_and_looked_at():
    """It moves when it is told to, and can be asked in between and after it was closed."""
    with mmactors.machine(SCENARIO) as machine:
        machine.run(until_ns=3_000)
        areas = machine.inspect().process(1).areas
        halfway = machine.progress().faults
        assert not machine.is_complete
        assert "interrupted" == machine.result().verdict
        machine.run()
        assert machine.is_complete

    assert 64 << 10 in [area.end - area.start for area in areas]
    assert 0 < halfway < 32 == machine.counters()["pgfault"]
    assert "buddyinfo" in machine.proc()
    assert mmactors.run(SCENARIO).schedule == machine.result().schedule


def test_a_stepped_machine_writes_its_run_directory_when_it_is_closed(tmp_path):
    """How far it came is its status."""
    machine = mmactors.machine(SCENARIO, out=tmp_path / "run")
    machine.run(until_ns=3_000)
    assert "running" == read_meta(tmp_path / "run")["status"]
    machine.close()
    machine.close()

    assert "interrupted" == read_meta(tmp_path / "run")["status"]
    assert (tmp_path / "run" / "events.jsonl").read_bytes()


def test_a_machine_that_is_forgotten_leaves_nothing_behind():
    """A notebook's cell makes the next one: no coroutine is collected unawaited."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        machine = mmactors.machine(SCENARIO)
        del machine
        gc.collect()


def test_ctrl_c_lets_the_machine_stand_still_and_it_can_be_moved_on():
    """No actor is torn apart; Python's own handler is back afterwards."""
    program = ["mmap A 64K", "touch A write passes=1000000000"]
    before = signal.getsignal(signal.SIGINT)
    with mmactors.machine({"processes": [{"name": "p", "program": program}]}) as machine:
        machine.run(until_ns=1_000_000)
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            machine.run()
        stopped_ns = machine.now_ns
        machine.run(until_ns=stopped_ns + 1_000_000)

        assert stopped_ns < machine.now_ns
    assert before is signal.getsignal(signal.SIGINT)


def test_a_notebook_shows_the_verdict_and_what_was_expected():
    """One table."""
    shown = mmactors.run(SCENARIO)._repr_html_()

    assert "<th>expectation failed</th>" in shown
    assert "<td>pgfault == 32</td><td>holds</td>" in shown
    assert "<td>pgmajfault &gt; 0</td><td>no: 0</td>" in shown


def test_every_public_name_is_there_and_says_what_it_is():
    """__all__ is what a star import gives, and what a notebook completes."""
    assert sorted(mmactors.__all__) == mmactors.__all__
    for name in mmactors.__all__:
        assert getattr(mmactors, name).__doc__, name
    assert set(mmactors.__all__) <= set(dir(mmactors))
    with pytest.raises(AttributeError, match="has no attribute 'runs'"):
        _ = mmactors.runs


def test_importing_mmactors_imports_nothing_of_it():
    """`mmactors --help` stays fast: names are imported when they are used.

    But where to import from is settled first of all (mmactors/import_path.py).
    """
    code = "import sys, mmactors; print([n for n in sys.modules if n.startswith('mmactors')])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert "['mmactors.import_path', 'mmactors']" == found.stdout.strip()


def test_loading_needs_neither_compiler_nor_event_loop():
    """A scenario is checked before anything heavy is imported."""
    code = "import sys, mmactors; mmactors.load; print({'numba', 'trio'} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert "set()" == found.stdout.strip()


def programs_of_the_readme():
    """Return the programs of "In your own program"."""
    text = (ROOT / "README.md").read_text().split("## In your own program")[1].split("\n## ")[0]
    return [part.removeprefix("python\n") for part in text.split("```")[1::2]]


@pytest.mark.parametrize("number", [0, 1], ids=["plain calls", "trio"])
def test_the_programs_of_the_readme_run_as_they_stand_there(number, monkeypatch, capsys):
    """From the top of the repository, and every line prints something to see."""
    monkeypatch.chdir(ROOT)
    exec(compile(programs_of_the_readme()[number], "README.md", "exec"), {})  # noqa: S102
    shown = capsys.readouterr().out

    wanted = ["ok 1024 Node 0, zone", "permissions='rw-p'", "level='PTE'", "mapcount=1", "tlb='"]
    for text in wanted if number == 0 else ["Progress(now_ns=", "FreeList(order="]:
        assert text in shown, shown
    assert 2 == len(programs_of_the_readme())


def test_a_scenario_of_ones_own_making_is_run_as_it_is():
    """Nothing is loaded again if nothing is changed."""
    scenario = scenario_of(["mmap A 64K", "touch A write"])

    assert mmactors.load(scenario) is scenario
    assert 16 == mmactors.run(scenario).faults
