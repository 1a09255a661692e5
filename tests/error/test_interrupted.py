"""Runs and searches that are ended: by signals, by failing writes, by a full disk."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from interrupted import check_run, moments, read

import mmactors
from mmactors.cli.execute import execute
from mmactors.cli.main import run_command
from mmactors.engine.schedule import Schedule
from mmactors.errors import UserError
from mmactors.observe.run_dir import RunDir, create_run_dir
from mmactors.observe.run_meta import process_start, standing_of
from mmactors.scenario.run.interrupt import Interrupt

SCENARIO = """
machine: {cpus: 2, memory: {size: 128M}}
engine: {driver: %s}
processes:
  - name: app
    program: [mmap A 1M, touch A write, get /proc/self/maps, munmap A]
"""


@pytest.fixture
def scenario(tmp_path, request):
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIO % getattr(request, "param", "inline"))
    return str(path)


def test_a_killed_run_says_so_and_may_be_replaced(scenario, tmp_path, capsys):
    """Its status is `interrupted` though its file cannot say so; --force takes its place."""
    out = tmp_path / "out"
    run_command(["run", scenario, "--out", str(out), "-q"])
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    meta = json.loads((out / "meta.json").read_text()) | {"status": "running", "pid": pid}
    (out / "meta.json").write_text(json.dumps(meta))
    with (out / "events.jsonl").open("ab") as log:
        log.write(b'{"seq":12345,"t":')

    code, said = read("logs", str(out))
    assert code == 0
    assert f"the run was killed (process {pid} of " in said
    assert "the last line has no end; its 17 bytes are left out" in said
    assert "killed" == check_run(out)[0]
    assert 2 == run_command(["run", scenario, "--out", str(out)])
    assert f"status interrupted: it was killed, process {pid} of" in capsys.readouterr().err
    assert 0 == run_command(["run", scenario, "--out", str(out), "--force", "-q"])
    assert "complete" == check_run(out)[0]


ENDLESS = {
    "machine": {"memory": {"size": "128M"}},
    "processes": [
        {"name": "app", "program": ["mmap A 64K", "touch A read passes=1000000000"]},
    ],
}
"""After its first events it only hits its caches."""


def test_a_killed_run_of_python_has_all_but_the_last_second(tmp_path):
    """Also where nothing happens any more that would push the events out."""
    out = tmp_path / "out"
    pid = os.fork()
    if pid == 0:
        try:
            mmactors.run(ENDLESS, out=out)
        finally:
            os._exit(70)
    until_s = time.monotonic() + 60
    log = out / "events.jsonl"
    while time.monotonic() < until_s and not (log.exists() and log.read_bytes().count(b"\n") > 15):
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    status, nr_events = check_run(out)

    assert "killed" == status
    assert nr_events >= 15


def test_ctrl_c_stops_a_machine_in_the_middle_of_an_operation():
    """It stands still and can be moved on."""
    with mmactors.machine(ENDLESS) as machine:
        machine.run(until_ns=50_000)
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            machine.run()
        timer.join()
        now_ns = machine.now_ns
        machine.run(until_ns=now_ns + 50_000)
        assert now_ns < machine.now_ns


def test_a_number_that_was_given_again_is_another_process():
    """The process lives, but began at another time than the one that wrote."""
    meta = {"status": "running", "pid": os.getpid(), "pid_start": process_start(os.getpid())}

    assert "running" == standing_of(meta).status
    assert "interrupted" == standing_of(meta | {"pid_start": "before"}).status


def test_who_has_ended_and_is_not_asked_is_dead():
    """A zombie still has its number."""
    with subprocess.Popen([sys.executable, "-I", "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        meta = {"status": "running", "pid": process.pid, "pid_start": None}
        assert standing_of(meta).killed


@pytest.mark.parametrize("force", [False, True])
def test_two_runs_never_share_a_folder(tmp_path, force):
    """Also not with --force, while the first one writes; afterwards they may."""
    first = create_run_dir(out=tmp_path / "out", name="x")
    if force:
        first.start(scenario="", seed=0, command=[])

    with pytest.raises(UserError, match="another run writes there now"):
        create_run_dir(out=tmp_path / "out", name="x", force=force)

    first.close()
    create_run_dir(out=tmp_path / "out", name="x", force=force)


def test_a_run_that_ended_as_it_began_is_replaced_with_force(tmp_path, scenario):
    """A log and no status: nothing ran."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "events.jsonl").write_text("")
    (out / "meta.json.0a1b2c3d.partial").write_text("{")

    with pytest.raises(UserError, match=r"ended as it began.*--force"):
        create_run_dir(out=out, name="x")

    assert 0 == run_command(["run", scenario, "--out", str(out), "--force", "-q"])
    assert [] == list(out.rglob("*.partial"))


def test_links_are_never_followed(tmp_path, scenario):
    """Whatever name of ours a link has, what it leads to stays as it is."""
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    assert 0 == run_command(["run", scenario, "--out", str(out), "-q"])
    for name in (
        "events.jsonl",
        "schedule.txt",
        "summary.json",
        "findings.txt",
        "meta.json.partial",
    ):
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(outside / "file")
    for name in ("proc", "texts"):
        (out / name).rename(tmp_path / name)
        (out / name).symlink_to(outside)

    assert 0 == run_command(["run", scenario, "--out", str(out), "--force", "-q"])

    assert ["file"] == [path.name for path in outside.iterdir()]
    assert "precious" == (outside / "file").read_text()
    assert "complete" == check_run(out)[0]
    assert (out / "proc").is_dir()
    assert not (out / "proc").is_symlink()


def test_a_folder_that_becomes_a_link_meanwhile_is_refused(tmp_path):
    """Nothing is written where it leads to."""
    (tmp_path / "outside").mkdir()
    run_dir = create_run_dir(out=tmp_path / "out", name="x")
    (tmp_path / "out/proc").symlink_to(tmp_path / "outside")

    with pytest.raises(OSError, match=r"."):
        run_dir.write("proc/vmstat", "")

    assert [] == list((tmp_path / "outside").iterdir())


def test_a_folder_named_latest_stays(tmp_path):
    """And nothing is left beside it."""
    (tmp_path / "runs/latest").mkdir(parents=True)

    create_run_dir(out=None, name="x", runs=tmp_path / "runs")

    assert ["latest", "x-1"] == sorted(path.name for path in (tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        (("a-999999",), "a-1"),
        (("a-4", "a-1000000"), "a-5"),
        (("a-999998",), "a-1"),
        (("a-x",), "a-1"),
    ],
)
def test_a_great_number_does_not_block_later_runs(tmp_path, taken, free):
    """The next free one is taken."""
    for name in taken:
        (tmp_path / name).mkdir()

    assert free == create_run_dir(out=None, name="a", runs=tmp_path).path.name


def test_an_interrupted_run_with_samples_is_replayed(tmp_path):
    """The replay ends where the schedule does, give or take how far an actor ran ahead."""
    scenario = mmactors.load(
        {
            "machine": {"memory": {"size": "128M"}},
            "record": {"sample": "1us", "counters": ["pgfault"]},
            "processes": [{"name": "app", "program": ["mmap A 1M", "touch A write"]}],
        }
    )
    out = tmp_path / "out"
    result = mmactors.run(scenario, out=out, until_ns=40_500)
    again = mmactors.Machine(scenario, schedule=Schedule.parse(result.schedule))

    again.run_inline()
    again.close()

    assert ("interrupted", 41) == (result.status, len(result.series))
    assert 40 <= len(again.series()) <= 42
    assert "interrupted" == check_run(out)[0]


def test_a_signal_before_the_machine_is_there_ends_the_run_as_it_begins():
    """It is not forgotten while the machine is made."""
    outcome = execute(mmactors.load(ENDLESS), sink=None, interrupt=Interrupt(has_come=True))

    assert ("interrupted", 0, False) == (
        outcome.status,
        outcome.summary.now_ns,
        outcome.schedule.is_complete,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_folder_is_written_leaves_it_whole(
    scenario, tmp_path, monkeypatch, number
):
    """The run has ended by then."""
    finish = RunDir.finish

    def signalled(*arguments, **options):
        os.kill(os.getpid(), number)
        finish(*arguments, **options)

    monkeypatch.setattr(RunDir, "finish", signalled)

    assert 0 == run_command(["run", scenario, "--out", str(tmp_path / "out"), "-q"])
    assert "complete" == check_run(tmp_path / "out")[0]


def test_a_run_without_a_log_is_replayed(scenario, tmp_path):
    """There is nothing to compare, and its end is told."""
    out = str(tmp_path / "out")
    run_command(["run", scenario, "--out", out, "-q", "--no-log"])

    code, said = read("replay", out)

    assert 0 == code
    assert said.startswith("no log to compare: ok at ")


@pytest.mark.slow
def test_of_two_runs_at_once_one_gets_the_folder(scenario, tmp_path):
    """Two processes that begin together; the other one is told."""
    command = [sys.executable, "-P", "-m", "mmactors", "run", scenario, "--out", "out", "-q"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in "ab"
    ]
    said = [run.communicate()[1] for run in both]

    assert [0, 2] == sorted(run.returncode for run in both)
    assert "another run writes there now" in "".join(said) or "an earlier run" in "".join(said)
    assert "complete" == check_run(tmp_path / "out")[0]


@pytest.mark.slow
def test_runs_and_searches_that_are_ended_leave_what_can_be_read():
    """Twelve moments; `python tests/interrupted.py` takes as many as one likes."""
    assert 12 == moments(12, seed=7).found.total()
