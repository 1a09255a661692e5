"""The command line: verbs, exit codes, what goes to stdout and what to stderr."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmactors.cli.main import run_command

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "configs/quickstart.yaml"

SCENARIO = """
machine: {cpus: 2, memory: {size: 128M}}
engine: {policy: seeded, driver: inline}
processes:
  - name: app
    copies: 2
    program: [mmap A 256K, touch A write, munmap A]
expect: [pgfault >= 128]
"""


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    return path


def fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_help_names_the_verbs_and_loads_nothing_heavy():
    """`--help` is fast because no verb's module is imported for it."""
    out = fresh_python(
        "import sys; from mmactors.cli.main import run_command; run_command(['--help']);"
        "heavy = 'numba numpy trio structlog ruamel.yaml orjson'.split();"
        "print('heavy:', [name for name in heavy if name in sys.modules])"
    )

    for verb in ("run", "check", "explain", "logs", "replay", "validate"):
        assert f" {verb} " in out
    assert out.endswith("heavy: []\n")


def test_check_accepts_the_examples(capsys):
    """Exit code 0, one line a file."""
    configs = sorted((ROOT / "configs").glob("*.yaml"))

    assert 0 == run_command(["check", *map(str, configs)])

    assert "".join(f"{path}: ok\n" for path in configs) == capsys.readouterr().out


def test_check_reports_the_problems_of_all_files(tmp_path, capsys):
    """Exit code 2, problems on stderr with their places, the good files still listed."""
    (tmp_path / "bad.yaml").write_text("processes: []\nmachin: {}\n")

    code = run_command(
        ["check", str(QUICKSTART), str(tmp_path / "bad.yaml"), str(tmp_path / "none.yaml")]
    )

    captured = capsys.readouterr()
    assert 2 == code
    assert f"{QUICKSTART}: ok\n" == captured.out
    assert ["bad.yaml:1:12", "bad.yaml:2:1", "none.yaml"] == [
        line.split(": ")[0].rpartition("/")[2] for line in captured.err.splitlines()
    ]


def test_check_as_json_has_files_and_problems(tmp_path, capsys):
    """The same for programs."""
    (tmp_path / "bad.yaml").write_text("processes: []\n")

    code = run_command(["check", "--json", str(tmp_path / "bad.yaml")])

    report = json.loads(capsys.readouterr().out)
    assert 2 == code
    assert [{"path": str(tmp_path / "bad.yaml"), "ok": False}] == report["files"]
    assert {"place", "found", "legal", "advice"} == report["problems"][0].keys()


def test_set_is_part_of_the_check(capsys):
    """The command line's changes are checked with the file."""
    assert 0 == run_command(["check", str(QUICKSTART), "--set", "machine.cpus=8"])
    assert 2 == run_command(["check", str(QUICKSTART), "--set", "machine.cpus=0"])

    assert "--set machine.cpus=0: machine.cpus is 0;" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["chekc"], "mmactors: 'chekc' is not a verb; expected new, examples, run, check"),
        (["check"], "mmactors check: "),
        (["check", "--jsn", "x"], "mmactors check: "),
        (["logs", "x", "--format", "xml"], "mmactors logs: "),
        (["logs", "x", "--from", "soon"], "--from: 'soon' is not a time; expected"),
        (["logs", "x", "--where", "pfm>1"], "--where: no event has a field pfm; expected one of"),
        (["logs", "x", "--where", "pfn>many"], "--where: 'many' in 'pfn>many' is not a number;"),
        (["logs", "x", "--where", "pfn>>1"], "--where: 'pfn>>1' is not a comparison; expected"),
        (["logs", "x", "--event", "mm_pag"], "--event: 'mm_pag' matches no event; expected"),
        (["logs", "/nowhere"], "/nowhere: No such file or directory; expected"),
        (["replay", "/nowhere"], "/nowhere: no run directory"),
        (["validate", "/nowhere"], "/nowhere: no such file or folder; expected"),
        (["run", "/nowhere.yaml"], "/nowhere.yaml: No such file or directory; expected"),
        (["run", str(QUICKSTART), "--seed", "-1"], "--set engine.seed=-1: engine.seed is -1;"),
    ],
)
def test_bad_input_ends_with_2_and_no_traceback(arguments, expected, capsys):
    """The four parts on stderr, nothing on stdout."""
    code = run_command(arguments)

    captured = capsys.readouterr()
    assert (2, "") == (code, captured.out)
    assert captured.err.startswith(expected)
    assert "Traceback" not in captured.err


def test_explain_prints_words(capsys):
    """Exit code 0 and the text."""
    assert 0 == run_command(["explain", str(QUICKSTART)])

    assert "grep: 1 process on CPU 0" in capsys.readouterr().out


def test_explain_tells_the_boot_when_asked(capsys):
    """Exit code 0 and the kernel's lines."""
    assert 0 == run_command(["explain", str(QUICKSTART), "--boot"])

    assert "memblock_phys_free: [" in capsys.readouterr().out


def test_run_ends_with_a_few_lines_and_a_whole_directory(scenario, tmp_path, capsys):
    """Verdict, seed, figures and paths; the directory has all its files."""
    out = tmp_path / "out"

    code = run_command(["run", str(scenario), "--seed", "5", "--out", str(out)])

    lines = capsys.readouterr().out.splitlines()
    assert 0 == code
    assert lines[0].startswith("ok: seed 5, 2 CPUs, ")
    assert len(lines) <= 12
    assert f"run     {out}" in lines
    assert {
        "scenario.resolved.yaml",
        "meta.json",
        "events.jsonl",
        "counters.json",
        "summary.json",
        "schedule.txt",
        "proc",
        "sys",
    } == {path.name for path in out.iterdir()}
    assert "complete" == json.loads((out / "meta.json").read_text())["status"]


def test_equal_runs_write_equal_logs(scenario, tmp_path):
    """One scenario and one seed: the same bytes; another seed: others."""
    logs = []
    for number, seed in enumerate((5, 5, 6)):
        out = tmp_path / f"out{number}"
        assert 0 == run_command(
            ["run", str(scenario), "--seed", str(seed), "--out", str(out), "-q"]
        )
        logs.append((out / "events.jsonl").read_bytes())

    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


def test_run_as_json_is_one_object(scenario, tmp_path, capsys):
    """Figures and paths for programs; nothing else on stdout."""
    out = tmp_path / "out"

    code = run_command(["run", str(scenario), "--json", "--out", str(out), "--no-log"])

    report = json.loads(capsys.readouterr().out)
    assert 0 == code
    assert ("ok", "complete", None) == (report["verdict"], report["status"], report["log"])
    assert str(out) == report["run_dir"]
    assert not (out / "events.jsonl").exists()


def test_an_expectation_that_does_not_hold_ends_with_1(scenario, tmp_path, capsys):
    """The line says what was found, and how to run it again."""
    out = tmp_path / "out"

    code = run_command(
        ["run", str(scenario), "--set", "expect=[pgfault < 10, pgmajfault == 1]", "--out", str(out)]
    )

    text = capsys.readouterr().out
    assert 1 == code
    assert "0 of 2 expectations hold" in text
    assert "does not hold: pgfault < 10, but it is " in text
    assert f"replay  mmactors replay {out}" in text


def test_a_run_without_out_goes_to_runs(scenario, tmp_path, monkeypatch):
    """runs/NAME-N below the current directory, and runs/latest."""
    monkeypatch.chdir(tmp_path)

    assert 0 == run_command(["run", str(scenario), "-q"])

    assert (tmp_path / "runs/small-1/meta.json").is_file()
    assert (tmp_path / "runs/latest").resolve() == tmp_path / "runs/small-1"


def test_replay_of_a_run_gives_the_same_log(scenario, tmp_path, capsys):
    """The schedule decides, also when the run's own policy would have."""
    out = tmp_path / "out"
    run_command(["run", str(scenario), "--seed", "7", "--out", str(out), "-q"])

    assert 0 == run_command(["replay", str(out)])
    assert 0 == run_command(["replay", str(out), "--until", "20us"])

    assert 2 == capsys.readouterr().out.count("same log: ")


def test_replay_shows_the_first_event_that_differs(scenario, tmp_path, capsys):
    """Five events before it, the recorded one and the one of now."""
    out = tmp_path / "out"
    run_command(["run", str(scenario), "--out", str(out), "-q"])
    lines = (out / "events.jsonl").read_bytes().splitlines(keepends=True)
    at = next(at for at in range(20, len(lines)) if b'"cpu":null' not in lines[at])
    lines[at] = lines[at].replace(b'"cpu":', b'"cpu":9')
    (out / "events.jsonl").write_bytes(b"".join(lines))

    code = run_command(["replay", str(out)])

    text = capsys.readouterr().out.splitlines()
    assert 1 == code
    assert text[0].startswith(f"another log after {at - 1} equal events")
    assert ["both"] * 5 + ["recorded", "now"] == [line.split()[0] for line in text[1:8]]


def test_replay_of_another_scenario_is_refused(scenario, tmp_path, capsys):
    """A schedule belongs to its scenario."""
    out = tmp_path / "out"
    run_command(["run", str(scenario), "--out", str(out), "-q"])
    resolved = out / "scenario.resolved.yaml"
    resolved.write_text(resolved.read_text().replace("cpus: 2", "cpus: 1"))

    assert 1 == run_command(["replay", str(out)])

    assert "schedule" in capsys.readouterr().err


def test_logs_shows_what_was_asked_for(scenario, tmp_path, capsys):
    """A table with a head, JSON lines as they are in the file, ftrace's form."""
    out = tmp_path / "out"
    run_command(["run", str(scenario), "--out", str(out), "-q"])
    recorded = (out / "events.jsonl").read_text().splitlines()[1:]
    faults = [line for line in recorded if '"page_fault_user"' in line and '"cpu":1' in line]

    run_command(["logs", str(out), "--event", "page_fault_u*", "--cpu", "1", "--format", "json"])
    as_json = capsys.readouterr().out.splitlines()
    run_command(["logs", str(out), "--event", "page_fault_u*", "--cpu", "1"])
    as_table = capsys.readouterr().out.splitlines()
    run_command(["logs", str(out), "--format", "ftrace", "--where", "error_code=6"])
    as_ftrace = capsys.readouterr().out.splitlines()

    assert faults == as_json
    assert len(faults) + 1 == len(as_table)
    assert "# tracer: nop" == as_ftrace[0]
    assert all("page_fault_user: address=0x" in line for line in as_ftrace[10:])


def test_validate_lists_what_it_cannot_validate(tmp_path, capsys):
    """A topic without a model never counts as passed, and never fails either."""
    (tmp_path / "a.json").write_text('{"topic":"reclaim","scenario":"x"}')
    (tmp_path / "b.json").write_text('{"case":"y","topic":"thp"}')
    (tmp_path / "README.md").write_text("no recording")

    assert 0 == run_command(["validate", str(tmp_path)])

    out = capsys.readouterr().out
    assert "not validated  reclaim/a: the topic reclaim is not modelled yet" in out
    assert "userland/thp: 1 not validated" in out


def test_validate_reports_a_damaged_recording(tmp_path, capsys):
    """The others are still run; the exit code is 2."""
    (tmp_path / "a.json").write_text('{"topic":"reclaim","scenario":"x"}')
    (tmp_path / "b.json.gz").write_bytes(b"\x1f\x8b\x08garbage")

    assert 2 == run_command(["validate", str(tmp_path)])

    captured = capsys.readouterr()
    assert "reclaim/a" in captured.out
    assert "b.json.gz: " in captured.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("> /dev/full", (2, "stdout: No space left on device; expected")),
        (">&-", (0, "")),
    ],
)
def test_a_full_or_closed_stdout_is_no_crash(output, expected):
    """No traceback: what cannot be written is said in the four parts, where that is possible."""
    command = f'"{sys.executable}" -m mmactors.cli check "{QUICKSTART}" {output}'

    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)

    code, start = expected
    assert code == done.returncode
    assert done.stderr.startswith(start)
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(scenario, tmp_path):
    """`mmactors logs ... | head -1` ends quietly."""
    log = tmp_path / "events.jsonl"
    line = '{"seq":0,"t":0,"actor":"a","cpu":0,"pid":1,"tid":1,"event":"e"}\n'
    log.write_text('{"schema":"mmactors.events","version":"2.0"}\n' + line * 20_000)

    with subprocess.Popen(
        [sys.executable, "-m", "mmactors.cli", "logs", str(log)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()

    assert (b"", 0) == (errors, process.returncode)
