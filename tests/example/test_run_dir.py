"""The run directory: what it says while a run goes on, and after it ended, one way or the other."""

import json
import os

import pytest

from mmactors.errors import UserError
from mmactors.observe.run_dir import create_run_dir, is_running, read_meta

SUMMARY = {"verdict": "ok", "seed": 3, "now_ns": 10, "counters": {"pgfault": 2}}


def test_a_run_that_has_begun_says_so(tmp_path):
    """Status, seed, versions and host are there before anything ran."""
    run_dir = create_run_dir(out=tmp_path / "out", name="x")

    run_dir.start(scenario="machine:\n", seed=3, command=["run", "x.yaml"])

    meta = read_meta(run_dir.path)
    assert ("running", 3) == (meta["status"], meta["seed"])
    assert {"mmactors", "python", "trio"} <= meta["versions"].keys()
    assert is_running(run_dir.path)


def test_a_run_that_has_ended_has_everything(tmp_path):
    """Files first, status last; counters, proc and the schedule as they came."""
    run_dir = create_run_dir(out=tmp_path / "out", name="x")
    run_dir.start(scenario="machine:\n", seed=3, command=[])

    run_dir.finish(
        "interrupted",
        summary=SUMMARY,
        schedule="entries\n",
        proc={"vmstat": "pgfault 2\n", "1/status": "Name:\ta\n"},
        sysfs={"kernel/slab.txt": "filp/objects:16 N0=16\n"},
        heaps={"1/malloc_stats": "Arena 0:\n"},
        wall_s=0.5,
    )

    path = run_dir.path
    assert "interrupted" == read_meta(path)["status"]
    assert {"verdict": "ok", "seed": 3, "now_ns": 10} == read_meta(path)["reached"]
    assert {"pgfault": 2} == json.loads((path / "counters.json").read_text())
    assert "Name:\ta\n" == (path / "proc/1/status").read_text()
    assert "Arena 0:\n" == (path / "malloc/1/malloc_stats").read_text()
    assert "filp/objects:16 N0=16\n" == (path / "sys/kernel/slab.txt").read_text()
    assert "interrupted" == json.loads((path / "summary.json").read_text())["status"]
    assert not is_running(path)
    assert [] == list(path.rglob("*.partial"))


def test_a_dead_writer_is_not_running(tmp_path):
    """A killed run says `running` for ever; its process id tells the truth."""
    run_dir = create_run_dir(out=tmp_path, name="x")
    run_dir.start(scenario="", seed=0, command=[])
    meta = read_meta(tmp_path)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)

    (tmp_path / "meta.json").write_text(json.dumps(meta | {"pid": pid}))

    assert not is_running(tmp_path)


def test_runs_are_numbered_and_the_latest_is_linked(tmp_path):
    """runs/NAME-N never collide; runs/latest is the last one that began."""
    runs = tmp_path / "runs"

    paths = [create_run_dir(out=None, name=name, runs=runs).path for name in ("a", "a", "b")]

    assert ["a-1", "a-2", "b-1"] == [path.name for path in paths]
    assert paths[-1].resolve() == (runs / "latest").resolve()


def test_an_earlier_run_directory_is_replaced_whole(tmp_path):
    """Nothing of the run before looks as if it belonged to the new one."""
    for schedule in ("old", "new"):
        run_dir = create_run_dir(out=tmp_path / "out", name="x", force=True)
        assert not (run_dir.path / "summary.json").exists()
        run_dir.start(scenario="", seed=0, command=[])
        run_dir.finish(
            "complete",
            summary=SUMMARY,
            schedule=schedule,
            proc={"vmstat": ""},
            sysfs={},
            heaps={},
            wall_s=0,
        )

    assert "new" == (tmp_path / "out/schedule.txt").read_text()


def test_an_earlier_run_is_not_replaced_silently(tmp_path):
    """It may have taken hours; the text says what to do."""
    create_run_dir(out=tmp_path / "out", name="x").start(scenario="", seed=3, command=[])

    with pytest.raises(UserError, match=r"an earlier run is there .*seed 3.*--force"):
        create_run_dir(out=tmp_path / "out", name="x")

    assert "running" == read_meta(tmp_path / "out")["status"]


@pytest.mark.parametrize("force", [False, True])
def test_a_directory_of_something_else_is_left_alone(tmp_path, force):
    """--out never overwrites what is no run."""
    (tmp_path / "thesis.tex").write_text("precious")

    with pytest.raises(UserError, match="not empty, and no run directory"):
        create_run_dir(out=tmp_path, name="x", force=force)

    assert "precious" == (tmp_path / "thesis.tex").read_text()


def test_a_place_that_cannot_be_written_is_the_users_problem(tmp_path):
    """A file where the directory should be."""
    (tmp_path / "file").write_text("")

    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="expected a directory that can be written"):
            create_run_dir(out=out, name="x")


def test_what_is_no_run_directory_is_refused(tmp_path):
    """Missing or damaged meta.json."""
    (tmp_path / "meta.json").write_text("{")

    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="no run directory"):
            read_meta(path)
