"""Files from strangers: limits are kept, every read ends, and nothing controls the terminal."""

import gzip
import os
import struct
import sys
import zipfile
import zlib
from base64 import b85encode, urlsafe_b64encode
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table
from rich.text import Text

from mmactors import limits
from mmactors.cli.main import run_command
from mmactors.cli.terminal import screen
from mmactors.engine.schedule import Schedule
from mmactors.errors import Place, Problem, UserError
from mmactors.explore.execution.script import decode
from mmactors.explore.search.store import Store
from mmactors.scenario.document import parse_document
from mmactors.scenario.load import load_scenario, parse_scenario
from mmactors.workload.trace.file import open_trace

STRANGE = (
    "\x1b[2J", "\x1b]0;owned\x07", "\x07", "\x08", "\r", "\x7f", "\x9b31m", "\x85", "\u202e",
    "\u2066", "\u200f", "\u2028", "\udc80", "\U000e0001", "\x00",
)  # fmt: skip


def is_tame(text):
    return all(line.replace("\t", " ").isprintable() for line in text.split("\n"))


def problem_of(text):
    with pytest.raises(UserError) as caught:
        parse_scenario(text, file="strange.yaml", folder=Path())
    assert is_tame(str(caught.value))
    return str(caught.value)


@pytest.mark.parametrize("strange", STRANGE)
def test_a_problem_writes_out_what_would_control_a_terminal(strange):
    """In its place, too; one problem stays one line."""
    problem = Problem(
        place=Place(f"a{strange}\n.yaml", 1),
        found=f"key {strange}\n",
        legal=f"expected {strange}\n",
        advice=f"did you mean {strange}\n?",
    )

    assert is_tame(str(problem))
    assert "\n" not in str(problem)


@pytest.mark.parametrize("strange", STRANGE)
def test_what_verbs_say_does_not_control_the_terminal(strange, capsys):
    """Texts, JSON, tables and complaints go through one door."""
    table = Table("name")
    table.add_row(Text(f"A{strange}B"))

    screen.say(f"first {strange}\nsecond\n")
    screen.complain(f"{strange}\n")
    screen.show(f"text {strange}", table)

    out, err = capsys.readouterr()
    assert is_tame(out)
    assert is_tame(err)
    assert out.startswith("first ")


def test_json_that_is_said_means_the_same(capsys):
    """JSON may hold DEL, C1 and bidirectional overrides as they are; a terminal may not."""
    import json

    values = ["\x7f", "\x9b", "\u202e", "\U000e0001", "plain \u00e9"]

    screen.say_json(json.dumps(values, ensure_ascii=False) + "\r\n")

    out = capsys.readouterr().out
    assert is_tame(out)
    assert values == json.loads(out)


def test_verbs_have_no_other_way_to_the_terminal():
    """Who writes to a stream itself forgets to escape."""
    folder = Path(screen.__file__).parents[1]
    own = {"screen.py", "main.py", "completion.py", "schema.py", "warm_up.py"}
    others = [path for path in sorted(folder.rglob("*.py")) if path.name not in own]

    assert not [path.name for path in others if ".write(" in path.read_text().replace("file.", "")]


@pytest.mark.parametrize(
    "text",
    [
        '"KEY": 1', '? "KEY"\n: 1', '"KEY": 1\n"KEY": 2', 'processes: {"KEY": 1}',
        'processes: ["KEY"]', 'processes: [{name: "KEY", program: [nop]}]',
        'processes: [{name: a, program: ["KEY"]}]',
        'processes: [{name: a, program: ["mmap KEY 4K"]}]',
        'processes: [{name: a, program: ["touch KEY read"]}]',
        'processes: [{name: a, program: ["trace KEY"]}]',
        'processes: [{name: a, program: ["KEY: touch A read"]}]',
        'machine: {cpus: "KEY"}', 'engine: {policy: "KEY"}', 'record: {events: ["KEY"]}',
        'expect: ["KEY == 1"]', 'race: {laws: ["KEY:x"]}', 'race: {laws: ["KEY"]}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("strange", [r"\e[31m", r"\u202e", r"\x9b", r"\n", r"\x7f", r"\0"])
def test_names_of_a_scenario_reach_no_terminal_as_they_are(text, strange):
    """Keys, names, operations, paths, counters: wherever a text of a scenario can stand."""
    problem_of(text.replace("KEY", f"a{strange}b"))


def test_a_problem_has_a_bounded_length_and_an_error_a_bounded_number():
    """A file of bad keys is told by its first hundred lines."""
    text = problem_of("".join(f"{'k' * 500}{number}: 1\n" for number in range(1_001)))

    assert limits.PROBLEMS_SHOWN_MAX + 1 == len(text.splitlines())
    assert text.endswith("more")
    assert len(problem_of("? " + "k" * 500_000 + "\n: 1")) < 20_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("k0: &k0 [x]\n" + "".join(f"k{n + 1}: &k{n + 1} [{f'*k{n},' * 9}]\n" for n in range(9)),
         "more than 200000 values"),
        ("[" * 20_000, "nested too deeply"),
        ("a: " + "{a: " * 100_000, "nested too deeply"),
        ("- " * 100_000, "nested too deeply"),
        ("".join(" " * n + "a:\n" for n in range(500)), "nested too deeply"),
        ("\n" * 1_000_000, "lines"),
        ("#" * 2_000_000, "characters"),
        ("machine: {cpus: " + "9" * 100_000 + "}", "machine.cpus is 999"),
        ("engine: {seed: 1e999999999}", "engine.seed is 1e999999999"),
        ("processes: [{name: a, program: [compute " + "9" * 50_000 + "]}]", "compute"),
    ],
)  # fmt: skip
def test_a_scenario_that_explodes_is_refused(text, said):
    """By counts, not by a clock."""
    assert said in problem_of(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%YAML 9.9\n---\nprocesses: [{name: a, program: [nop]}]", "not YAML: "),
        (f"processes: [{{name: a, program: [trace {'x' * 300}]}}]", "there is no file"),
        (f"processes: [{{name: a, program: [trace {'x/' * 5_000}y]}}]", "there is no file"),
        (f"race: {{laws: ['{'x' * 300}:f']}}", "there is no module"),
    ],
)
def test_texts_that_fuzzing_found_are_told(text, said):
    """The YAML reader raised KeyError; the host has no such long names."""
    assert said in problem_of(text)


def test_a_comment_is_legal_wherever_yaml_allows_one():
    """Found by fuzzing: a reader that keeps comments stumbles over this one."""
    node = parse_document("processes: # none yet\n   M\n\n", file="x.yaml")

    assert ["processes"] == list(node.entries)


def test_values_that_are_written_are_counted_while_they_are_read(monkeypatch):
    """What reads YAML takes its time for each."""
    monkeypatch.setattr("mmactors.scenario.document.SCENARIO_WRITTEN_MAX", 1_000)

    assert ":1:2007: more than 1000 values" in problem_of(f"processes: [{'1,' * 5_000}]")


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/full", "/dev/tty", "FIFO", "FOLDER", "SOCKET"])
def test_what_is_no_regular_file_is_not_read(name, tmp_path):
    """Such a read may never end; also behind a link."""
    path = tmp_path / "given"
    if name == "FIFO":
        os.mkfifo(path)
    elif name == "FOLDER":
        path.mkdir()
    elif name == "SOCKET":
        import socket

        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        path.symlink_to(name)

    for reads in (load_scenario, lambda given: list(open_trace(given)), _npz, _logs):
        with pytest.raises(UserError, match=r"only a regular file|Is a directory|No such device"):
            reads(path)


def _npz(path):
    list(open_trace(path, form="npz"))


def _logs(path):
    from mmactors.observe.log_read import read_log

    list(read_log(path))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("name", ["/proc/self/maps", "/proc/kmsg", "/proc/self/pagemap"])
def test_files_of_proc_are_as_empty_as_they_say(name):
    """Some of them wait for more, some never end."""
    if os.access(name, os.R_OK):
        with pytest.raises(UserError, match="empty"):
            load_scenario(Path(name))


def test_a_text_that_is_too_long_is_not_read(tmp_path):
    """A sparse file costs its maker nothing."""
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(limits.TEXT_BYTES_MAX + 1)

    with pytest.raises(UserError, match="it has more than"):
        load_scenario(path)


def test_a_trace_that_was_packed_too_well_is_refused(tmp_path, monkeypatch):
    """Its lines are right, but there is no end of them."""
    monkeypatch.setattr("mmactors.workload.trace.input.UNPACKED_FREE_BYTES", 1 << 20)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b" L 1fff000778,8\n" * 1_000_000))

    with pytest.raises(UserError, match=r"unpack to .* and more"):
        list(open_trace(path))


def test_an_archive_may_say_no_more_than_it_can_hold(tmp_path, monkeypatch):
    """The sizes in its directory are looked at before anything is unpacked."""
    monkeypatch.setattr("mmactors.workload.trace.input.UNPACKED_FREE_BYTES", 1 << 10)
    monkeypatch.setattr("mmactors.workload.trace.archive.ARRAYS_RATIO_MAX", 10)
    path = tmp_path / "bomb.npz"
    zeros = np.zeros(100_000, np.int64)
    np.savez_compressed(
        path, kind=np.zeros(1, np.uint8), size=np.ones(1, np.uint16), di=zeros, dd=zeros
    )

    with pytest.raises(UserError, match=r"unpack to .* and more"):
        list(open_trace(path))


def test_an_archive_with_a_long_directory_is_refused(tmp_path):
    """Each entry costs more memory than bytes."""
    path = tmp_path / "many.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3_000):
            archive.writestr(f"{number}.npy", b"")

    with pytest.raises(UserError, match="directory has more than"):
        list(open_trace(path, form="npz"))


@pytest.mark.parametrize(
    "kind",
    [
        np.array([{}], object), np.array([1.0]), np.array([1 + 1j]), np.array(["a"]),
        np.zeros(1, [("a", "u1")]), np.zeros((1, 1), np.uint8), np.uint8(0), np.zeros(1, ">u2"),
        np.array(["2020"], "M8[D]"),
    ],
)  # fmt: skip
def test_arrays_of_other_types_and_shapes_are_refused(kind, tmp_path):
    """Objects would be unpickled: no reader of this project unpickles."""
    path = tmp_path / "odd.npz"
    np.savez(
        path,
        kind=kind,
        size=np.ones(1, np.uint16),
        di=np.zeros(1, np.int64),
        dd=np.zeros(0, np.int64),
    )

    with pytest.raises(UserError, match=r"array kind"):
        list(open_trace(path))


def test_a_bomb_in_a_schedule_is_refused(monkeypatch):
    """A kilobyte of a text can be a gigabyte of entries."""
    monkeypatch.setattr("mmactors.engine.schedule.SCHEDULE_ENTRIES_MAX", 1_000)
    packed = b85encode(zlib.compress(bytes(1 << 20))).decode()
    text = f"mmactors schedule 1\n0\ncomplete\n1\na: b\n{packed}\n"

    with pytest.raises(ValueError, match="more than 1,000 entries"):
        Schedule.parse(text)


@pytest.mark.parametrize("number", ["-1", "9" * 30, "1e3", "\u0661", "", "1\x1b"])
def test_a_schedule_says_how_many_names_it_has(number):
    """As the number of lines that follow."""
    with pytest.raises(ValueError, match="number of names"):
        Schedule.parse(f"mmactors schedule 1\n0\ncomplete\n{number}\na: b\n")


def test_a_schedule_without_its_end_is_refused():
    """zlib alone would give what there is."""
    packed = b85encode(zlib.compress(struct.pack("<4I", *[0] * 4))[:-4]).decode()

    with pytest.raises(ValueError, match="damaged"):
        Schedule.parse(f"mmactors schedule 1\n0\ncomplete\n1\na: b\n{packed}\n")


def test_a_bomb_in_a_text_of_explore_is_refused():
    """As it is pasted from anywhere."""
    packed = urlsafe_b64encode(zlib.compress(bytes(limits.SCRIPT_BYTES_MAX + 1), 9)).decode()

    with pytest.raises(UserError, match="they have more than"):
        decode(f"mm1.0.{packed}")


def test_kept_schedules_that_are_no_files_are_passed_over(tmp_path):
    """A pipe in `.mmactors/` stops no search."""
    store = Store(tmp_path, "strange")
    folder = tmp_path / store._directory.name
    folder.mkdir()
    os.mkfifo(folder / "a.txt")
    (folder / "b.txt").symlink_to("/dev/zero")
    (folder / "c.txt").write_text("mm1.0." + "A" * 99 + "\n" + "[" * 100_000)

    assert [] == store.load()


def test_check_names_a_file_without_its_controls(tmp_path, capsys):
    """A file's name is a text from a stranger, too."""
    path = tmp_path / "a\x1b[2J\n.yaml"
    path.write_text("processes: [{name: a, program: [nop]}]\n")

    assert 0 == run_command(["check", str(path)])
    assert is_tame(capsys.readouterr().out.removesuffix("\n"))
    assert 2 == run_command(["check", str(path) + "\x1b"])
    assert is_tame(capsys.readouterr().err.removesuffix("\n"))


@pytest.fixture
def log(tmp_path):
    """A whole log, as `run` writes it."""
    path = tmp_path / "run.yaml"
    path.write_text(
        "machine: {cpus: 2}\nprocesses:\n  - name: a\n    program: [mmap A 64K, touch A write, "
        "'thread T cpu=1', 'T: touch A read', 'munmap A']\n"
    )
    assert 0 == run_command(["run", str(path), "--out", str(tmp_path / "r"), "-q"])
    return tmp_path / "r" / "events.jsonl"


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe\n", b"\x00" * 100 + b"\n", b"{}\n", b"[]\n", b"[" * 5_000 + b"\n", b"1e999\n",
        b'{"seq":true,"t":1,"actor":"a","cpu":0,"pid":1,"tid":1,"event":"x"}\n',
        b'{"seq":1,"t":-1,"actor":"a","cpu":0,"pid":1,"tid":1,"event":"x"}\n',
        b'{"seq":1,"t":99999999999999999999,"actor":"a","cpu":0,"pid":1,"tid":1,"event":"x"}\n',
        b'{"seq":1,"t":1,"actor":"a","cpu":0,"pid":1,"tid":1,"event":"sys_exit"}\n',
        b"x" * (limits.LOG_LINE_BYTES_MAX + 10) + b"\n", b"\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "verb", [["logs"], ["top"], ["waits"], ["objects"], ["logs", "--by", "seq"]]
)
def test_what_of_a_damaged_log_can_be_read_is_shown(damage, verb, log, capsys):
    """Then it is said what could not, with its line, and the exit code is that of bad input."""
    verb = [verb[0], str(log), *verb[1:]]
    assert 0 == run_command(verb)
    whole = capsys.readouterr().out
    lines = log.read_bytes().splitlines(keepends=True)

    log.write_bytes(b"".join([*lines[:5], damage, *lines[5:]]))

    assert 2 == run_command(verb)
    shown = capsys.readouterr()
    assert whole == shown.out
    assert ":6: no event" in shown.err or ":6: sys_exit has no" in shown.err


def test_a_torn_last_line_is_named_and_passed_over(log, capsys):
    """Whoever is killed while it writes leaves one; that is no damage."""
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])

    assert 0 == run_command(["logs", str(log)])
    shown = capsys.readouterr()
    assert len(lines) - 1 == len(shown.out.splitlines())
    assert "the last line has no end; its 20 bytes are left out" in shown.err
