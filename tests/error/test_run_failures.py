"""Runs that do not come to their end: what is said, what is kept, and with which exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmactors.cli.main import run_command

ROOT = Path(__file__).parents[2]
STUCK = ("thread T cpu=0", "T& barrier A 2", "barrier B 2", "T& barrier B 2", "barrier A 2")
"""Two threads come to two barriers, each to another first."""


def scenario_of(tmp_path, *operations: str, driver: str = "inline") -> str:
    path = tmp_path / "scenario.yaml"
    items = "".join(f"\n      - {operation}" for operation in operations)
    path.write_text(
        f"machine: {{memory: {{size: 128M}}}}\nengine: {{driver: {driver}}}\n"
        f"processes:\n  - name: app\n    program:{items}\n"
    )
    return str(path)


def status_of(run_dir: Path) -> str:
    return json.loads((run_dir / "meta.json").read_text())["status"]


def has_complete_lines(path: Path) -> bool:
    lines = path.read_bytes().splitlines(keepends=True)
    return all(line.endswith(b"\n") and json.loads(line) for line in lines)


@pytest.mark.parametrize("driver", ["trio", "inline"])
def test_a_deadlock_ends_with_1_and_its_report(tmp_path, capsys, driver):
    """Who waits for what goes to stderr; the directory says failed; the replay line is there."""
    out = tmp_path / "out"

    code = run_command(["run", scenario_of(tmp_path, *STUCK, driver=driver), "--out", str(out)])

    captured = capsys.readouterr()
    assert (1, "failed") == (code, status_of(out))
    assert captured.out.startswith("deadlock: ")
    assert f"replay  mmactors replay {out}" in captured.out
    assert "nobody can run" in captured.err
    assert "app" in captured.err
    assert has_complete_lines(out / "events.jsonl")


def test_too_many_switches_are_a_livelock(tmp_path, capsys):
    """The step budget ends what would never end."""
    out = tmp_path / "out"
    scenario = scenario_of(tmp_path, "mmap A 1M", "touch A write")

    code = run_command(["run", scenario, "--out", str(out), "--set", "engine.step_budget=20"])

    assert (1, "failed") == (code, status_of(out))
    assert capsys.readouterr().out.startswith("livelock: ")


def test_a_failed_run_can_be_replayed(tmp_path, capsys):
    """The replay fails in the same way, with the same log before it."""
    out = tmp_path / "out"
    run_command(["run", scenario_of(tmp_path, *STUCK), "--out", str(out), "-q"])

    code = run_command(["replay", str(out)])

    assert 0 == code
    assert "same log: " in capsys.readouterr().out


def test_a_damaged_trace_is_bad_input(tmp_path, capsys):
    """It is found when it is read: exit code 2, no traceback, nothing that looks whole."""
    whole = (ROOT / "tests/reference/traces/true.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"

    code = run_command(["run", scenario_of(tmp_path, "trace cut.npz"), "--out", str(out)])

    captured = capsys.readouterr()
    assert (2, "failed") == (code, status_of(out))
    assert "cut.npz" in captured.err
    assert "Traceback" not in captured.err
    assert not (out / "summary.json").exists()


def test_a_place_that_cannot_be_written_is_bad_input(tmp_path, capsys):
    """Before anything runs."""
    (tmp_path / "file").write_text("")

    code = run_command(["run", scenario_of(tmp_path, "nop"), "--out", str(tmp_path / "file/out")])

    assert 2 == code
    assert "expected a directory that can be written" in capsys.readouterr().err


def test_a_host_with_too_little_memory_is_named(tmp_path, capsys, monkeypatch):
    """No traceback: which part of the scenario asks for so much, and what to lower."""

    def refuse(*_arguments, **_options):
        raise MemoryError

    monkeypatch.setattr("mmactors.scenario.machine.wire", refuse)

    code = run_command(["run", scenario_of(tmp_path, "nop"), "--out", str(tmp_path / "out")])

    assert (2, "failed") == (code, status_of(tmp_path / "out"))
    assert "machine: the host refuses the memory to simulate 128M" in capsys.readouterr().err


@pytest.mark.parametrize("driver", ["trio", "inline"])
def test_an_interrupted_run_keeps_what_was_reached(tmp_path, driver):
    """Ctrl-C: exit code 130, the summary so far, and a directory that says so."""
    operations = ["mmap A 16M", *["generate uniform A count=500000000"] * 3]
    out = tmp_path / "out"
    with subprocess.Popen(
        [
            sys.executable,
            *("-m", "mmactors.cli", "run", scenario_of(tmp_path, *operations, driver=driver)),
            *("--out", str(out)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    ) as process:
        log = out / "events.jsonl"
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline and not (log.exists() and log.stat().st_size > 1000):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        text, errors = process.communicate(timeout=30)

    assert (130, "interrupted", "") == (process.returncode, status_of(out), errors)
    assert text.startswith("interrupted: ")
    assert has_complete_lines(log)
    assert (out / "summary.json").exists()
