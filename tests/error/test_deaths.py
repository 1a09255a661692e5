"""What a user sees of a process that dies: who, of what, where and when, in the first line."""

import json
import re
from pathlib import Path

import pytest
from machines import run_to_nothing

import mmactors
from mmactors.cli.main import run_command
from mmactors.errors import UserError
from mmactors.scenario.load import load_scenario, parse_scenario
from mmactors.scenario.run.outcome import FAILURES

HEAD = """\
machine: {cpus: 4, pku: true, memory: {size: 24M, kernel_image: 1M, initramfs: 0}}
engine: {policy: seeded, seed: 3, quantum_ns: 0}
sanitize:
  {stale_tlb: true, revoked: true, contents: true, page_state: true, leaks: true, counters: true,
   lockdep: true}
"""
SIBLINGS = [
    "mmap A 1M",
    "mmap B 4K prot=r",
    "thread T1 cpu=1",
    "thread T2 cpu=2",
    "thread T3 cpu=3",
    "thread T4 cpu=3",
    "T1& barrier never 2",
    "T2& spin",
    "T3& sleep 1000",
    "T4& churn 100000 64K touch",
    "compute 50us",
    "touch A 0..9 write",
    "touch B write",
    "touch A read",
]
FILE = ["open f /tmp/f create", "ftruncate f 8K", "mmap A 16K flags=shared file=f"]

SCENARIOS = {
    "nothing is mapped there": (
        ["mmap A 16K", "touch A write", "munmap A 2..3", "touch A read"],
        "p (pid 1) of SIGSEGV (SEGV_MAPERR at {A+2p}) in `touch A read`",
    ),
    "a write to memory that can only be read": (
        ["mmap A 16K prot=r", "touch A read", "touch A 1..2 write"],
        "p (pid 1) of SIGSEGV (SEGV_ACCERR at {A+1p}) in `touch A 1..2 write`",
    ),
    "an instruction in memory that is no code": (
        ["mmap A 4K addr=0x400000 flags=private,anon,fixed", "touch A write", "trace code.lackey"],
        "p (pid 1) of SIGSEGV (SEGV_ACCERR at 0x400000) in `trace .*code.lackey`",
    ),
    "a store behind the end of a file": (
        [*FILE, "touch A 0..2 write", "touch A 2..3 write"],
        "p (pid 1) of SIGBUS (BUS_ADRERR at {A+2p}) in `touch A 2..3 write`",
    ),
    "memory without any right": (
        ["mmap A 8K", "touch A write", "mprotect A prot=none", "touch A read"],
        "p (pid 1) of SIGSEGV (SEGV_ACCERR at {A+0p}) in `touch A read`",
    ),
    "memory whose protection key forbids reading": (
        ["mmap A 8K prot=x", "touch A read"],
        "p (pid 1) of SIGSEGV (SEGV_PKUERR at {A+0p}) in `touch A read`",
    ),
    "a stack beyond its limit": (
        ["rlimit STACK 64K", "touch @stack-32K:4K write", "touch @stack-1M:4K write"],
        "p (pid 1) of SIGSEGV (SEGV_MAPERR at 0x[0-9a-f]+) in `touch @stack-1M:4K write`",
    ),
    "one thread of five, the others wait, spin, sleep and map": (
        SIBLINGS,
        "p (pid 1) of SIGSEGV (SEGV_ACCERR at {A-1p}) in `touch B write`",
    ),
    "a thread that was told to": (
        ["mmap A 4K prot=r", "thread T cpu=1", "T: touch A write", "touch A read"],
        "p (pid 1, thread p/T) of SIGSEGV (SEGV_ACCERR at {A+0p}) in `touch A write`",
    ),
    "a child for which its parent waits": (
        ["mmap A 8K", "fork C", "C: munmap A", "C: touch A read", "reap", "touch A write"],
        "p/C (pid 2) of SIGSEGV (SEGV_MAPERR at {A+0p}) in `touch A read`",
    ),
    "a child with whom others share pages": (
        [
            "mmap A 64K",
            "touch A write",
            "fork C",
            "fork D",
            "C: touch A 0..8 write",
            "C: mprotect A 8..9 prot=none",
            "C: touch A write",
            "D: touch A 4..12 write",
            "touch A write",
        ],
        "p/C (pid 2) of SIGSEGV (SEGV_ACCERR at {A+8p}) in `touch A write`",
    ),
    "memory has run out": (
        ["put /proc/sys/vm/overcommit_memory 1", "mmap A 1G", "touch A write"],
        "p (pid 1) of SIGKILL (out of memory at 0x[0-9a-f]+) in `touch A write`",
    ),
}


def written(tmp_path, program, *, more=""):
    """Return the path of a scenario in which `p` runs a program."""
    (tmp_path / "code.lackey").write_text("I  00400000,4\n S 00600000,8\n")
    lines = "".join(f"      - {json.dumps(operation)}\n" for operation in program)
    path = tmp_path / "dies.yaml"
    path.write_text(f"{HEAD}processes:\n  - name: p\n    program:\n{lines}{more}")
    return path


def run(path, tmp_path, capsys, *options):
    """Run a scenario; return the exit code, the lines of its summary, summary.json and stderr."""
    out = tmp_path / "run"
    code = run_command(["run", str(path), "--out", str(out), *options])
    captured = capsys.readouterr()
    summary = json.loads((out / "summary.json").read_text())
    return code, captured.out.splitlines(), summary, captured.err


def address_of(path, name):
    """Return where the program has mapped a name, the first call that did so counts."""
    result = mmactors.run(path, out=path.parent / "looked-at")
    events = map(json.loads, result.events_path.read_text().splitlines())
    calls = {event["call"]: event["ret"] for event in events if event.get("event") == "sys_exit"}
    return next(ret for call, ret in calls.items() if call.startswith(f"mmap {name} "))


def pattern_of(found, path):
    """Return the regular expression for what is found, `{A+2p}` being a page of A."""

    def address(match):
        return hex(address_of(path, match[1]) + 4096 * int(match[2]))

    text = re.sub(r"\{(\w)([+-]\d)p\}", address, found)
    for letter in "()":
        text = text.replace(letter, f"\\{letter}")
    return text


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_first_line_says_who_died_of_what_and_where(name, tmp_path, capsys):
    """And the exit code is 1. Of the operation, file and line; of the time, the virtual one."""
    program, found = SCENARIOS[name]
    path = written(tmp_path, program)
    code, lines, summary, _ = run(path, tmp_path, capsys)

    place = rf"\({re.escape(str(path))}:(\d+)\) at t=[\d.]+[mun]?s"
    match = re.fullmatch(f"died: {pattern_of(found, path)} {place}", lines[0])
    assert match, lines[0]
    written_there = path.read_text().splitlines()[int(match[1]) - 1]
    (death,) = summary["deaths"]
    assert death["operation"].split("/")[-1] in written_there
    assert (1, "died", "complete") == (code, summary["verdict"], summary["status"])
    assert f"replay  mmactors replay {tmp_path / 'run'}" == lines[-1]


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_left_of_who_died(name, tmp_path):
    """Pages, tables and counters are back, no sanitizer finds anything, and the others have ended.

    /proc/PID/stat has the signal as the exit code.
    """
    program, found = SCENARIOS[name]
    before = ["unlink /tmp/f"] if "f create" in program[0] else []
    path = written(tmp_path, [*program[:1], *before, *program[1:]] if before else program)

    ran = run_to_nothing(load_scenario(path))

    (death,) = ran.machine.deaths()
    number = {"SIGSEGV": 11, "SIGBUS": 7, "SIGKILL": 9}[death.signal]
    assert death.signal in found
    assert () == ran.machine.findings()
    assert str(number) == ran.machine.proc()[f"{death.pid}/stat"].split()[51]
    assert 1 == ran.counters["processes_killed"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_expected_death_is_no_failure(name, tmp_path, capsys):
    """Exit code 0, and the first line still says who died."""
    program, found = SCENARIOS[name]
    signal = re.search(r"SIG\w+", found)[0]
    code = re.search(r"SEGV_\w+|BUS_\w+", found)
    process = found.split()[0]
    more = f"expect: [{process} dies of {signal if code is None else code[0]}, pgfault < 1000000]\n"

    exit_code, lines, summary, _ = run(written(tmp_path, program, more=more), tmp_path, capsys)

    assert lines[0].startswith(f"ok: {process} (pid "), lines[0]
    assert lines[0].endswith(", as expected")
    assert "  2 of 2 expectations hold" in lines
    assert (0, "ok", True) == (exit_code, summary["verdict"], summary["deaths"][0]["is_expected"])


@pytest.mark.parametrize(
    ("expected", "lack"),
    [
        ("p dies of SIGBUS", "p (pid 1) died of SIGSEGV (SEGV_MAPERR"),
        ("p dies of SEGV_ACCERR", "p (pid 1) died of SIGSEGV (SEGV_MAPERR"),
        ("p may die of SIGBUS", None),
    ],
)
def test_another_death_than_the_expected_one_fails(expected, lack, tmp_path, capsys):
    """The verdict is that of the death; what was expected is told, too."""
    path = written(
        tmp_path, ["mmap A 4K", "munmap A", "touch A write"], more=f"expect: [{expected}]\n"
    )
    code, lines, _, _ = run(path, tmp_path, capsys)

    assert (1, "died:") == (code, lines[0].split()[0])
    told = [line for line in lines if line.startswith(f"  does not hold: {expected}, but {lack}")]
    assert (0 if lack is None else 1) == len(told)


def test_an_expected_death_that_does_not_come_fails(tmp_path, capsys):
    """Who may die need not."""
    path = written(
        tmp_path,
        ["mmap A 4K", "touch A write", "fork C"],
        more="expect: [p dies of SIGSEGV, p/C may die, p* dies]\n",
    )
    code, lines, summary, _ = run(path, tmp_path, capsys)

    assert 1 == code
    assert lines[0].startswith("expectation failed: seed 3, ")
    assert [
        "p dies of SIGSEGV, but p did not die",
        "p* dies, but p did not die",
    ] == summary["failed_expectations"]


def test_a_handler_lets_a_program_go_on(tmp_path, capsys):
    """on_signal: continue. Nobody dies, children neither."""
    program = ["mmap A 4K", "fork C", "munmap A", "touch A write", "C: munmap A", "C: touch A read"]
    path = written(tmp_path, [*program, "mmap B 4K", "touch B write"])
    path.write_text(path.read_text().replace("name: p", "name: p\n    on_signal: continue"))
    code, lines, summary, _ = run(path, tmp_path, capsys)

    assert (0, []) == (code, summary["deaths"])
    assert lines[0].startswith("ok: seed 3, ")
    assert 1 == summary["counters"]["pgfault"]


def test_a_process_that_is_killed_on_purpose_does_not_fail_the_run(tmp_path, capsys):
    """The scenario said so; who did it is in summary.json."""
    path = written(tmp_path, ["mmap A 4K", "fork C", "C: touch A write", "kill C"])
    code, lines, summary, _ = run(path, tmp_path, capsys)

    assert 0 == code
    assert lines[0].startswith("ok: seed 3, ")
    (death,) = summary["deaths"]
    assert ("p/C", "SIGKILL", "p", "kill C") == tuple(
        death[key] for key in ("process", "signal", "killer", "operation")
    )


WAITS_FOR_THE_DEAD = """\
  - name: q
    program: [mmap A 4K, barrier both 2, touch A write]
"""


def test_who_waits_at_a_barrier_for_the_dead_is_a_deadlock_with_its_cause(tmp_path, capsys):
    """As in a barrier of shared memory, nobody comes; the report begins with the death."""
    program = ["mmap A 4K", "munmap A", "touch A write", "barrier both 2"]
    path = written(tmp_path, program, more=WAITS_FOR_THE_DEAD)
    code, lines, summary, errors = run(path, tmp_path, capsys)

    assert (1, "failed", "deadlock") == (code, summary["status"], summary["verdict"])
    assert lines[0].startswith("deadlock: p (pid 1) died of SIGSEGV (SEGV_MAPERR at ")
    assert errors.startswith("p (pid 1) died of SIGSEGV (SEGV_MAPERR at ")
    assert "waits for barrier both of 2 threads" in errors


def test_several_deaths_are_told_the_unexpected_ones_first(tmp_path, capsys):
    """The first line has one and the number of the others, at most two lines the next ones."""
    program = ["mmap A 4K", "touch A write", "munmap A", "touch A read"]
    path = written(tmp_path, program, more="expect: ['p.0 dies', p.1 may die]\n")
    path.write_text(path.read_text().replace("name: p", "name: p\n    copies: 6"))
    code, lines, summary, _ = run(path, tmp_path, capsys)

    assert (1, 6) == (code, len(summary["deaths"]))
    assert lines[0].startswith("died: p.")
    assert lines[0].endswith("; 5 more died")
    assert not lines[0].startswith(("died: p.0", "died: p.1"))
    assert all(re.match(r"  p\.[2-5] \(pid \d\) died of SIGSEGV", line) for line in lines[1:3])
    assert "  and 3 more, see summary.json" == lines[3]


def test_the_facade_has_the_deaths(tmp_path):
    """Of a dict, places are paths."""
    result = mmactors.run(
        {
            "processes": [{"name": "a", "program": ["mmap A 4K prot=r", "touch A write"]}],
            "expect": ["a may die of SIGBUS"],
        }
    )

    (death,) = result.deaths
    assert ("died", "complete", False) == (result.verdict, result.status, result.is_ok)
    assert ("a", 1, "touch A write") == (death.process, death.pid, death.operation)
    assert ("SIGSEGV", "SEGV_ACCERR") == (death.signal, death.code)
    assert "<dict>: processes[0].program[1]" == death.place
    assert [True] == [each.holds for each in result.expectations]
    assert "SEGV_ACCERR" in result._repr_html_()


def test_json_has_the_deaths(tmp_path, capsys):
    """With everything that is known of them."""
    path = written(tmp_path, ["mmap A 4K prot=r", "touch A write"])
    code, lines, _, _ = run(path, tmp_path, capsys, "--json")

    report = json.loads("\n".join(lines))
    assert (1, 1, "died") == (code, report["exit_code"], report["verdict"])
    assert f"{path}:10" == report["deaths"][0]["place"]
    assert report["deaths"][0]["t_ns"] > 0


def test_a_replay_tells_of_deaths(tmp_path, capsys):
    """The same process dies at the same time."""
    path = written(tmp_path, SIBLINGS)
    run(path, tmp_path, capsys)
    code = run_command(["replay", str(tmp_path / "run")])

    lines = capsys.readouterr().out.splitlines()
    assert 0 == code
    assert re.match(r"same log: \d+ events, died at ", lines[0])
    assert lines[1].startswith("  p (pid 1) died of SIGSEGV (SEGV_ACCERR at ")


def problems_of(*expectations, program="fork C"):
    text = "processes:\n  - {name: app, copies: 2, program: [" + program + "]}\nexpect:\n"
    text += "".join(f"  - {line}\n" for line in expectations)
    with pytest.raises(UserError) as raised:
        parse_scenario(text, file="s.yaml", folder=Path())
    return list(map(str, raised.value.problems))


def test_a_process_that_never_is_cannot_be_expected_to_die():
    """All four parts; a name that is nearly one is a question."""
    found = problems_of("app.O dies", "app.0/X may die of SIGBUS", "'*/C may die'", "app.? dies")
    legal = "expected one of app.0, app.0/C, app.1, app.1/C; * and ? match any"

    assert [
        f"s.yaml:{line}:5: expect[{line - 4}] names the process {name!r}, which never is; {legal} "
        f"(did you mean {meant}?)"
        for line, name, meant in [(4, "app.O", "app.1"), (5, "app.0/X", "app.0/C")]
    ] == found


def test_what_nobody_dies_of_is_refused():
    """The place is that of the word."""
    (cause, other) = problems_of("app.0 dies of SIGSEGF", "app.0 died of SIGSEGV")

    assert cause.startswith("s.yaml:4:19: expect[0]: nobody dies of 'SIGSEGF'; expected `PROCESS")
    assert cause.endswith("(did you mean SIGSEGV?)")
    assert other.startswith("s.yaml:5:5: expect[1]: 'app.0 died of SIGSEGV' does not say who dies;")
    assert other.endswith("(write it like `a dies of SIGSEGV`)")


def test_on_signal_is_die_or_continue():
    """The nearest word is a question."""
    text = "processes: [{name: a, on_signal: contine, program: []}]\n"
    with pytest.raises(UserError) as raised:
        parse_scenario(text, file="s.yaml", folder=Path())

    (problem,) = raised.value.problems
    assert "s.yaml:1:34" == str(problem.place)
    assert "did you mean continue?" == problem.advice


def test_a_machine_moved_by_hand_tells_of_deaths_when_it_is_stuck():
    """The error that `run` raises is the report of the deadlock, the death before it."""
    scenario = {
        "processes": [
            {"name": "a", "program": ["mmap A 4K prot=r", "touch A write", "barrier b 2"]},
            {"name": "b", "program": ["barrier b 2"]},
        ]
    }
    with mmactors.machine(scenario) as machine:
        with pytest.raises(FAILURES) as raised:
            machine.run()
        result = machine.result()

    assert str(raised.value).startswith("a (pid 1) died of SIGSEGV (SEGV_ACCERR at ")
    assert ("deadlock", ["a"]) == (result.verdict, [death.process for death in result.deaths])
