"""Each call that writes into a run's folder is made to fail in turn; then the folder is read."""

import errno
import os
import sys

import pytest
from attrs import evolve
from machines import scenario_of

from mmactors.engine.schedule import Schedule
from mmactors.errors import UserError
from mmactors.observe.log_read import read_log, torn_bytes
from mmactors.observe.proc.link import Link
from mmactors.observe.run_dir import create_run_dir
from mmactors.observe.run_meta import read_meta, standing_of
from mmactors.scenario.machine import Machine
from mmactors.scenario.run.outcome import outcome_of
from mmactors.scenario.run.recording import Recording

SCENARIO = scenario_of(["mmap A 64K", "touch A write", "get /proc/self/maps", "munmap A"])
CALLS = ("open", "write", "replace", "mkdir", "symlink", "unlink", "close")


class Faults:
    """Lets calls of those that write into a folder fail, and counts them."""

    def __init__(self, monkeypatch, *, at=None, number=errno.ENOSPC, lasts=False):
        self.nr_calls = 0
        self.names = []
        self.at, self.number, self.lasts = at, number, lasts
        for name in CALLS:
            monkeypatch.setattr(os, name, self.wrapped(name, getattr(os, name)))

    def wrapped(self, name, real):
        def call(*arguments, **options):
            if sys._getframe(1).f_globals["__name__"] != "mmactors.own_files":
                return real(*arguments, **options)
            here = self.nr_calls
            self.nr_calls += 1
            self.names.append(name)
            if self.at is None or not (here == self.at or (self.lasts and here > self.at)):
                return real(*arguments, **options)
            if name == "close":
                real(*arguments)
            elif name == "write" and here % 2:
                real(arguments[0], bytes(arguments[1][: len(arguments[1]) // 2]))
            raise OSError(self.number, os.strerror(self.number))

        return call


class Batches:
    """A sink that keeps what it is given."""

    def __init__(self):
        self.batches = []

    def take(self, taken):
        self.batches.append(list(taken))


@pytest.fixture(scope="module")
def ran():
    """A machine that has come to its end, what came of it, and its events."""
    sink = Batches()
    machine = Machine(SCENARIO, sink=sink)
    machine.run_inline()
    machine.flush()
    outcome = outcome_of(machine, failure=None, is_interrupted=False, wall_s=0)
    machine.close()
    links = [name for name, text in outcome.proc.items() if isinstance(text, Link)]
    names = ["meminfo", "1/maps", *links[:1]]  # All others are written as these are.
    return machine, evolve(outcome, proc={name: outcome.proc[name] for name in names}), sink.batches


def record(ran, out):
    """Write the folder of a run as it is written while it goes on."""
    machine, outcome, batches = ran
    with Recording(SCENARIO, create_run_dir(out=out, name="x"), command=["x"]) as recording:
        recording.follow(machine)
        for batch in batches:
            half = len(batch) // 2
            recording.log.take(batch[:half])
            recording.write_out(machine)
            recording.log.take(batch[half:])
        recording.finish(outcome)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("lasts", [False, True])
def test_each_call_may_fail(ran, tmp_path, monkeypatch, number, lasts):
    """Once, or from then on: the user is told, and what is there is the beginning of all."""
    whole = tmp_path / "whole"
    with monkeypatch.context() as patched:
        faults = Faults(patched)
        record(ran, whole)
    assert {*CALLS} <= {*faults.names}
    events = (whole / "events.jsonl").read_bytes()
    entries = Schedule.parse((whole / "schedule.txt").read_text()).entries

    for at in range(faults.nr_calls):
        out = tmp_path / str(at)
        told = None
        with monkeypatch.context() as patched:
            Faults(patched, at=at, number=number, lasts=lasts)
            try:
                record(ran, out)
            except UserError as error:
                told = str(error)

        is_told = told is not None
        assert not is_told or os.strerror(number) in told, told
        if not (out / "meta.json").exists():
            assert is_told, at
            assert not (out / "summary.json").exists(), at
            continue
        status = standing_of(read_meta(out)).status
        # Who may not say that it failed lets its death say so.
        assert status in (("failed", "running") if lasts else ("failed",)) or not is_told, at
        assert is_told or status == "complete", at
        torn = torn_bytes(out / "events.jsonl")
        assert lasts or torn == 0, at
        list(read_log(out / "events.jsonl"))
        left = (out / "events.jsonl").read_bytes()
        assert events.startswith(left), at
        assert (status != "complete") or left == events, at
        schedule = Schedule.parse((out / "schedule.txt").read_text())
        assert entries[: len(schedule.entries)] == schedule.entries, at
        assert not list(out.rglob("*.partial")) or lasts, at
