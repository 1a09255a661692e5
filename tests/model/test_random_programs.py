"""Whatever passes the check runs: random programs on random machines (tests/programs).

`python -m tests.programs` runs more of them, for hours; what it found lies in its corpus.
"""

import random
from collections import Counter, defaultdict

import attrs
import pytest
from programs.command import judge_command
from programs.documents import DRAWN_APART, FAULTS, draw, leaves, values, write
from programs.judge import CORPUS, Verdict, judge
from programs.reducer import reduce
from programs.words import VERBS, Author, arguments

from mmactors.engine.chance import FAULTS as ALL_FAULTS
from mmactors.scenario.schema import ProcessConfig, Scenario
from mmactors.scenario.structure import config_fields
from mmactors.workload.operation.all import OPERATIONS, By, parse_operation
from mmactors.workload.operation.grammar import OperationError

NR_PROGRAMS = 200
NR_PARTS = 20
FIRST_SEED = 1000
NR_DOCUMENTS = 800
"""So many have every option."""


@pytest.mark.parametrize("part", range(NR_PARTS))
def test_a_program_is_refused_or_ends_without_crash_finding_or_leak(part):
    """Both drivers agree, and sanitizers change nothing: 200 programs, a few a part."""
    for seed in range(FIRST_SEED + part, FIRST_SEED + NR_PROGRAMS, NR_PARTS):
        text = write(draw(seed))
        verdict = judge(text)

        assert not verdict.is_failure, f"seed {seed}: {verdict.group}\n{verdict.detail}\n{text}"


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_was_found_once_is_found_no_more(path):
    """Each file of the corpus is the shortest program that once went wrong in its way."""
    verdict = judge(path.read_text())

    assert not verdict.is_failure, verdict.detail


def test_every_operation_with_every_argument_is_drawn():
    """Also one that comes tomorrow: the grammar says what there is."""
    drawn = defaultdict(set)
    waited = set()
    for seed in range(900):
        author = Author(random.Random(seed), 2, is_careless=seed % 5 == 0)
        for text in author.program(60):
            operation = parsed(text)
            if isinstance(operation, By):
                waited.add(operation.waits)
                operation = operation.operation
            if operation is not None:
                pattern = getattr(operation, "pattern", None)
                verb = verb_of(text)
                values = {**(fields_of(pattern) if pattern else {}), **fields_of(operation)}
                for name, argument in arguments(verb).items():
                    value = values[name]
                    if argument.is_required or value != argument.default:
                        drawn[verb, name].add(str(value))
                drawn[verb, ""].add("")

    assert {True, False} == waited
    assert {verb.partition(" ")[0] for verb in VERBS} == set(OPERATIONS)
    for verb in VERBS:
        assert drawn[verb, ""], f"{verb} is never drawn"
        for name, argument in arguments(verb).items():
            assert drawn[verb, name], f"{name} of {verb} is never drawn"
            if argument.kind.choices and argument.kind.symbol not in ("FLAG,...", "PROT"):
                missing = set(argument.kind.choices) - drawn[verb, name] - {"rev", argument.default}
                assert not missing, f"{missing} of {name} of {verb} are never drawn"


def parsed(text):
    try:
        return parse_operation(text)
    except OperationError:
        return None


def verb_of(text):
    words = text.split()
    if words[0].endswith((":", "&")):
        words.pop(0)
    return " ".join(words[: 1 + (words[0] == "generate")])


def fields_of(instance):
    return {each.name: getattr(instance, each.name) for each in attrs.fields(type(instance))}


def test_every_option_of_a_scenario_is_drawn():
    """Every one that the schema has, but for functions of the user's; tomorrow's, too."""
    known = dict(leaves())
    drawn = set()
    for seed in range(NR_DOCUMENTS):
        document = draw(seed)
        drawn |= set(options_of(document))
        drawn |= {f"processes.{key}" for process in document["processes"] for key in process}
    of_processes = {f"processes.{name}" for name in config_fields(ProcessConfig)}

    assert DRAWN_APART <= known.keys()
    for path, each in known.items():
        assert path in DRAWN_APART or values(path, each), f"{path} has no values to be drawn"
    assert set() == {*known, *of_processes, *config_fields(Scenario)} - drawn


def options_of(document, prefix=""):
    """Yield the paths of what stands in a document."""
    for key, value in document.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from options_of(value, f"{prefix}{key}.")


def test_each_fault_is_on_in_many_documents():
    """A fault that is drawn and cannot happen would say nothing."""
    counts = Counter()
    for seed in range(300):
        faults = draw(seed).get("faults", {})
        counts.update(fault for fault in FAULTS if faults.get(fault, {}).get("probability"))

    assert {*FAULTS} == counts.keys() == {*ALL_FAULTS}
    assert min(counts.values()) > 10


def test_the_reducer_leaves_what_fails_and_nothing_else():
    """Here a failure is a document with two operations, of which one has an option."""
    document = draw(FIRST_SEED)
    document["processes"][0]["program"][:0] = ["mmap A 16K flags=private,anon,populate", "sync"]

    def still_fails(each):
        texts = [text for process in each["processes"] for text in process["program"]]
        return "sync" in texts and any("mmap A" in text and "populate" in text for text in texts)

    shortest = reduce(document, still_fails)

    assert {"processes"} == shortest.keys()
    assert ["mmap A flags=populate", "sync"] == shortest["processes"][0]["program"]


def test_the_judge_sees_what_goes_wrong(monkeypatch):
    """A crash of the machine, a problem without its parts, and a run without end."""
    text = 'processes:\n  - name: "p0"\n    program: ["nop"]\n'

    assert Verdict("ok") == judge(text)
    assert "refused" == judge("processes: []").word
    monkeypatch.setattr("programs.judge.Machine", lambda *_, **__: 1 // 0)
    verdict = judge(text)
    assert verdict.is_failure
    assert verdict.cause.startswith("ZeroDivisionError")


def test_the_end_of_virtual_time_is_a_verdict_about_the_program():
    """Who wants to go on behind it, with either driver, is told so."""
    compute = '"compute 4611686018427387903ns"'
    text = f'processes:\n  - name: "p0"\n    program: [{compute}, {compute}]\n'

    assert Verdict("time is up") == judge(text)


@pytest.mark.parametrize(
    ("program", "word"),
    [("nop", "ok"), ("touch stack..", "refused"), ("touch @0x0:1 read", "not ok")],
)
def test_the_command_line_says_the_same(tmp_path, program, word):
    """`check` and `run` as a user starts them: exit codes, no traceback."""
    text = f'processes:\n  - name: "p0"\n    program: ["{program}"]\n'

    assert Verdict(word) == judge_command(text, tmp_path)
