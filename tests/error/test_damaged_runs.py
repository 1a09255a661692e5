"""Run folders that are damaged, or not what they say: every verb ends, and says what is wrong."""

import os
import random
import shutil
from pathlib import Path

import pytest

from mmactors.cli.main import run_command

SCENARIO = """
machine: {cpus: 2}
processes: [{name: a, program: [mmap A 16K, touch A write, munmap A]}]
"""
FILES = ("meta.json", "scenario.resolved.yaml", "schedule.txt", "events.jsonl")
VERBS = (
    ["logs"],
    ["logs", "--format", "json", "--by", "seq"],
    ["top"],
    ["waits"],
    ["objects"],
    ["heap"],
    ["replay"],
    ["logs", "--follow"],
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "a.yaml").write_text(SCENARIO)
    assert run_command(["run", str(folder / "a.yaml"), "--out", str(folder / "run"), "-q"]) == 0
    return folder / "run"


@pytest.fixture
def run(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run", symlinks=True))


def as_pipe(path):
    path.unlink()
    os.mkfifo(path)


def as_folder(path):
    path.unlink()
    path.mkdir()


def as_link_to(target):
    def change(path):
        path.unlink()
        path.symlink_to(target)

    return change


KINDS = {
    "a pipe": as_pipe,
    "a folder": as_folder,
    "a link to /dev/zero": as_link_to("/dev/zero"),
    "a link to itself": lambda path: as_link_to(path.name)(path),
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
    "huge": lambda path: os.truncate(path, 1 << 40),
    "a list": lambda path: path.write_bytes(b"[]\n" * 50),
    "nested": lambda path: path.write_bytes(b"[" * 2_000),
}


def end_of(verb, run, capsys):
    """Run a verb on the folder; return its exit code."""
    code = run_command([verb[0], str(run), *verb[1:]])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert all(line.replace("\t", " ").isprintable() for line in (out + err).split("\n"))
    assert code in (0, 1, 2)
    assert code != 2 or err, "what is refused is told"
    return code


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in KINDS
        for name in FILES
        if (kind, name) != ("huge", "events.jsonl")  # A log may be of any length.
    ],
)
def test_a_file_of_another_kind_is_told_and_never_waited_for(run, kind, name, capsys):
    """In a run's folder as everywhere only regular files are read, and bounded parts of them."""
    KINDS[kind](run / name)

    ends = [end_of(verb, run, capsys) for verb in VERBS]

    assert 2 in ends or kind in ("missing", "empty", "huge")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("seed", range(3))
def test_a_file_with_bits_flipped_or_cut_ends_as_verbs_end(run, name, seed, capsys):
    """It is read as far as it goes, replayed with what differs, or refused."""
    draw = random.Random(seed)
    data = bytearray((run / name).read_bytes())
    for _ in range(draw.choice((1, 1, 3, 20))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    if draw.random() < 0.4:
        del data[draw.randrange(len(data)) :]
    (run / name).write_bytes(data)

    for verb in VERBS:
        end_of(verb, run, capsys)
