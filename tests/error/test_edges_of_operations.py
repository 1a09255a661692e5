"""At every edge an operation is refused, with four parts, or it runs: soon, to a verdict.

The texts are made from the grammar, so that a new operation or argument joins. One argument at a
time has a value at an edge, the others have one of every day; most of the numbers fit no argument,
and are refused. What is asked for may be the work of years: a child does it, which is killed after
a while; nothing bounds it when nobody stops it, but it can be stopped.
"""

import random
import re
from contextlib import suppress

import pytest
from programs.judge import TooLong, limited_to

import mmactors
from mmactors.errors import UserError
from mmactors.sanitize.law import Law
from mmactors.workload.operation.all import OPERATIONS
from mmactors.workload.operation.generator import PATTERNS
from mmactors.workload.operation.grammar import arguments_of
from mmactors.workload.operation.memory import pattern_arguments

CPU_S = 2
"""Of one text; most take a hundredth."""
BATCH = 100
NR_SAMPLED = 100
NR_ALONE = 5
PATIENCE_MS = 5
"""Of virtual time, which an operation has until it is killed."""
ALONE_NS = 5_000_000
ENDINGS = {"ok", "died", "interrupted", "time is up", "deadlock"}
"""The last two are of a run that fails by what its program asks for."""
BROKEN_BY = {
    "poke": set(Law),
    **{verb: {Law.OBJECT_LEAK} for verb in ("kmalloc", "kzalloc", "kmem_cache_alloc")},
}
"""Laws that an operation may break: by a write behind an object; by a name that is bound anew."""
PROBLEM_LENGTH_MAX = 1500
SIZE = 64 << 10
SETUP = [
    *("mmap A 64K", "touch A 0..4 write", "open F /shm/f create", "write F 0 16K bs=4K"),
    *("open G /mnt/g create", "pin A 0..2 as=D", "alloc_pages B order=1", "thread U cpu=0"),
    *("kmem_cache_create K size=100", "kmem_cache_alloc O cache=K"),
    *("malloc I 100", "fork E", "E: exit", "fork C", "thread S cpu=0"),
]
NUMBERS = (
    *(0, 1, -1, SIZE - 1, SIZE, SIZE + 1, 4095, 1 << 31, 1 << 32, (1 << 47) - 1, 1 << 47),
    *((1 << 62) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 10**30),
)
NAMES = ("Q", "E", "C", "U", "S", "A", "B", "D", "F", "P0", "brk", "stack", "N", "x" * 300, "é")
USUAL = {
    "NAME": "A",
    "FILE": "F",
    "RANGE": "A",
    "ADDRESS": "A",
    "CPU": "0",
    "NODE": "0",
    "TIME": "1us",
    "PATH": "/shm/f",
    "VALUE": "1",
    "WORD": "w",
    "rev|rand:SEED": "rand:1",
    "rand:SEED": "rand:1",
    "+SIZE|-SIZE|0": "+4K",
    "SIZE": "4K",
    "N": "1",
    "MS": "1",
}
USUAL_NAMES = {
    "device": "D",
    "block": "B",
    "cache": "K",
    "object": "O",
    "child": "C",
    "group": "4",
    "fork.child": "N",
    "thread.name": "N",
    "stop.name": "S",
    "alloc_pages.name": "N",
    "kmem_cache_create.name": "N",
    "kmem_cache_alloc.name": "N",
    "kmalloc.name": "N",
    "kzalloc.name": "N",
    "barrier.name": "N",
    "barrier.count": "1",
    "alias.name": "N",
    "heap.name": "N",
    "mmap.name": "N",
    **{f"{verb}.name": "N" for verb in ("malloc", "calloc", "memalign", "aligned_alloc")},
    "pointer": "I",
    "realloc.name": "I",
    "trace.path": "tests/reference/traces/true.npz",
    "heap_trace.path": "tests/reference/malloc/real_zstd.npz",
    "pin.device": "N",
}
"""By the name of a field, of one operation or of all."""
MACHINES = {"1 CPU": (1, 1), "3 CPUs": (3, 1), "2 nodes": (2, 2)}


def usual(verb, name, argument):
    """Return what an argument has while another is tried."""
    chosen = USUAL_NAMES.get(f"{verb}.{name}") or USUAL_NAMES.get(name)
    kind = argument.kind
    return chosen or (kind.choices[0] if kind.choices else USUAL.get(kind.symbol, "1"))


def edges(kind):
    """Return what is tried for an argument of a kind."""
    numbers = [str(number) for number in NUMBERS]
    unsigned = [number for number in NUMBERS if number >= 0]
    match kind.symbol:
        case "RANGE":
            return [
                *NAMES,
                *(f"A {number}..{number + 1}" for number in NUMBERS),
                *(f"A {first}..{number}" for first in (0, 3) for number in unsigned),
                *(f"@{number:#x}:{size}" for number in unsigned for size in ("0", "1", "4K")),
                *(f"@A:{number}" for number in numbers),
                *(
                    f"@{base}{sign}{n}:4K"
                    for base in ("A", "brk")
                    for sign in "+-"
                    for n in numbers
                ),
            ]
        case "ADDRESS":
            return [
                *NAMES,
                *(f"{number:#x}" for number in unsigned),
                *(f"{base}{sign}{n}" for base in ("A", "stack") for sign in "+-" for n in numbers),
            ]
        case "TIME":
            return [f"{number}{unit}" for number in numbers for unit in ("", "ns", "s", "h")]
        case "NAME" | "FILE" | "WORD":
            return [*NAMES, *numbers]
        case "+SIZE|-SIZE|0":
            return [f"{sign}{number}" for sign in ("", "+", "-") for number in numbers]
        case "rev|rand:SEED" | "rand:SEED":
            return [f"rand:{number}" for number in numbers]
    return [*numbers, *(f"{number:#x}" for number in unsigned), "", "1e3", "٣", "0x", "1.5"]


def texts_of(verb):
    """Return all texts of an operation that are tried."""
    if verb != "generate":
        return written(verb, verb, arguments_of(OPERATIONS[verb]))
    own = arguments_of(OPERATIONS[verb])
    return [
        text
        for kind in PATTERNS
        for text in written(verb, f"{verb} {kind}", {**own, **pattern_arguments(kind)})
    ]


def written(verb, head, arguments):
    """Return texts in which one argument after the other has each of its edges."""
    taken = {name: each for name, each in arguments.items() if not each.is_switch}

    def text(chosen, value):
        words = [head]
        for name, argument in taken.items():
            if name == chosen or argument.is_required:
                word = value if name == chosen else usual(verb, name, argument)
                words.append(word if argument.key is None else f"{argument.key}={word}")
        return " ".join(words)

    return [
        text(name, edge) for name, argument in taken.items() for edge in edges(argument.kind)
    ] or [head]


def scenario_of(operations, machine, **process):
    nr_cpus, nr_nodes = MACHINES[machine]
    memory = {"size": "32M", "kernel_image": "1M", "initramfs": 0, "nr_nodes": nr_nodes}
    return {
        "machine": {"cpus": nr_cpus, "memory": memory},
        "engine": {"driver": "inline"},
        "record": {"events": []},
        "sanitize": {"leaks": True, "counters": True},
        "processes": [{"name": "p", "program": [*SETUP, *operations], **process}],
    }


def by_children(texts):
    """Return a program in which each text is done by a child of its own, for a while."""
    return [
        step
        for text in texts
        for step in ("fork V", f"V& {text}", f"sleep {PATIENCE_MS}", "kill V")
    ]


def those_that_pass(texts, machine):
    """Return the texts that `check` has nothing against, also without the others."""
    while True:
        try:
            mmactors.load(scenario_of(by_children(texts), machine))
        except UserError as error:
            wrong = {nth for problem in error.problems for nth in refused_by(problem)}
            if not wrong:
                raise
            texts = [text for nth, text in enumerate(texts) if nth not in wrong]
        else:
            return texts


def refused_by(problem):
    """Return the number of the text that a problem is about, if it is about one."""
    must_be_whole(problem)
    place = re.search(r"program\[(\d+)\]", problem.found)
    return [] if place is None else [(int(place[1]) - len(SETUP)) // 4]


def must_be_whole(problem):
    assert all((str(problem.place), problem.found, problem.legal, problem.advice)), problem
    assert "\n" not in str(problem)
    assert len(str(problem)) < PROBLEM_LENGTH_MAX


def must_run(texts, machine):
    """Run texts of which each has a child of its own; if that does not end well, each alone."""
    verdict = None
    with suppress(TooLong), limited_to(CPU_S * len(texts)):
        verdict = mmactors.run(scenario_of(by_children(texts), machine)).verdict
    if verdict not in {"ok", "died"}:
        for text in texts:
            must_run_alone(text, machine)


def must_run_alone(text, machine, on_signal="die"):
    """Run a text that a process and its child do; fail if that does not end well.

    It may be refused, where another gave it the name that it has.
    """
    program = ["fork V", f"V: {text}", text]
    scenario = scenario_of(program, machine, on_signal=on_signal)
    try:
        with limited_to(CPU_S):
            result = mmactors.run(scenario, until_ns=ALONE_NS)
    except UserError as error:
        for problem in error.problems:
            must_be_whole(problem)
        return
    endings = ENDINGS | BROKEN_BY.get(text.split()[0], set())
    assert result.verdict in endings, f"{text}: {result.verdict}, {result.failure}"


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("verb", OPERATIONS)
def test_an_operation_at_its_edges_is_refused_or_runs(verb, machine):
    """All of the table; the next test has some of it in the ordinary suite."""
    texts = those_that_pass(texts_of(verb), machine)

    for begin in range(0, len(texts), BATCH):
        must_run(texts[begin : begin + BATCH], machine)


@pytest.mark.parametrize("machine", MACHINES)
def test_some_operations_at_their_edges_are_refused_or_run(machine):
    """Others on each machine, the same every time: together, and some of them alone."""
    chooser = random.Random(machine)
    table = [text for verb in OPERATIONS for text in texts_of(verb)]
    chosen = chooser.sample(table, NR_SAMPLED)
    texts = those_that_pass(chosen, machine)

    must_run(texts, machine)
    for text in chooser.sample(texts, NR_ALONE):
        must_run_alone(text, machine, chooser.choice(("die", "continue")))

    assert len(texts) < len(chosen)
