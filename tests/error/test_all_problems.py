"""One file with a problem of each phase: all of them are reported at once, in the file's order."""

from pathlib import Path

import pytest

from mmactors.cli.main import run_command
from mmactors.errors import UserError
from mmactors.scenario.load import parse_scenario

ROOT = Path(__file__).parents[2]

TEXT = """\
machine:
  cpus: 2
  cpus: 3
  memory: {size: 20M}
  hardware: {l2: {size_bytes: 1M, ways: 3}}
kernel: {ksm: true, rules: {no_such_rule: true}}
engine: {seed: 1.5, policy: fif}
processes:
  - name: p
    program:
      - mmap A 4K
      - tuoch A read
      - munmap A 5..2
      - cpu 7
      - trace damaged.npz
      - trace none.npz
      - madvise A MERGEABLE
      - cgcreate g
  - name: q
    cpu: 9
    program: [touch B read, barrier b 0]
  - name: q
    copies: 0
    program: [touch C read]
record: {events: [no_such_event]}
expect: [no_such_counter > 1, pgfault >]
race: {broken: [no_such_rule]}
"""
EXPECTED = """\
3:3 the key cpus a second time
4:18 machine.memory.size is 20M: the kernel finds
5:31 machine.hardware.l2.size_bytes is 1048576
6:10 kernel.ksm: KSM is left out for good
6:29 unknown key kernel.rules.no_such_rule
7:16 engine.seed is 1.5
7:29 engine.policy is the text 'fif'
12:9 processes[0].program[1]: 'tuoch' is not an operation
13:9 processes[0].program[2]: the range A 5..2 has no page
14:9 processes[0].program[3]: cpu: there is no CPU 7
15:9 processes[0].program[4]: trace:
16:9 processes[0].program[5]: trace: there is no file
17:9 processes[0].program[6]: madvise: KSM is left out for good
18:9 processes[0].program[7]: cgcreate: memory cgroups are left out for now
20:10 processes[1].cpu is 9
21:39 processes[1].program[1]: barrier: count is '0'
22:11 processes[2].name is 'q', as processes[1] is
23:13 processes[2].copies is 0
24:15 processes[2].program[0]: C is not the name of a range here
25:19 record.events[0] is 'no_such_event'
26:10 expect[0] names the counter 'no_such_counter'
26:31 expect[1]: 'pgfault >' is not a comparison
27:7 the program of q has no operation `race`
27:17 race.broken[0] is 'no_such_rule'
"""


def test_a_problem_of_each_phase_is_reported(tmp_path, capsys):
    """The document, structure, limits, meaning, boot, hardware, programs, traces, and races."""
    whole = (ROOT / "tests/reference/traces/true.npz").read_bytes()
    (tmp_path / "damaged.npz").write_bytes(whole[:900])
    (tmp_path / "bad.yaml").write_text(TEXT)

    code = run_command(["check", str(tmp_path / "bad.yaml")])

    found = [
        line.removeprefix(f"{tmp_path}/bad.yaml:").replace(": ", " ", 1)
        for line in capsys.readouterr().err.splitlines()
    ]
    assert 2 == code
    for line in EXPECTED.splitlines():
        assert any(text.startswith(line) for text in found), (line, found)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("engine: {seed: 1e3}", "did you mean 1000?"),
        ("engine: {seed: 1.5e1}", "did you mean 15?"),
        ("engine: {seed: 2.5}", "write a whole number"),
        ("engine: {seed: 1_000}", "did you mean 1000?"),
        ("engine: {seed: 0o18}", "write a whole number"),
        ("engine: {seed: 0x1G}", "write a whole number"),
        ("engine: {seed: 0b101}", "did you mean 5?"),
        ("engine: {seed: 1.000.000}", "write a whole number"),
        ("engine: {seed: 12K}", "write a whole number"),
        ("machine: {memory: {size: 1.5G}}", "did you mean 1536M?"),
        ("machine: {memory: {size: 64mb}}", "did you mean 64M?"),
        ("machine: {memory: {size: 1_024K}}", "did you mean 1M?"),
        ("machine: {memory: {size: 0x1Q}}", "write it like 64M"),
        ("machine: {memory: {size: 0.3K}}", "write it like 64M"),
        ("engine: {quantum_ns: 2.5us}", "did you mean 2500?"),
        ("engine: {quantum_ns: 10US}", "did you mean 10000?"),
        ("engine: {quantum_ns: 3 min}", "write it like 250us"),
    ],
)
def test_a_hint_is_the_number_that_was_meant_or_none(text, hint):
    """What means the same in another notation is proposed; nothing else is."""
    with pytest.raises(UserError) as caught:
        parse_scenario(
            f"{text}\nprocesses: [{{name: p, program: [nop]}}]\n", file="f", folder=Path()
        )

    (problem,) = caught.value.problems
    assert hint == problem.advice
