"""Bad scenarios: each problem has its place, what was found, what is legal, and advice."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from mmactors.errors import UserError
from mmactors.scenario.load import load_scenario, parse_scenario
from mmactors.scenario.run.source import load
from mmactors.scenario.schema import Scenario

CONFIGS = Path(__file__).parents[2] / "configs"


def problems_of(text: str, **options) -> list[str]:
    with pytest.raises(UserError) as caught:
        parse_scenario(text, file="bad.yaml", folder=CONFIGS, **options)
    for problem in caught.value.problems:
        assert problem.found
        assert problem.legal
        assert problem.advice
    return [str(problem) for problem in caught.value.problems]


def program_of(*operations: str) -> str:
    items = "".join(f"\n      - {operation}" for operation in operations)
    return f"processes:\n  - name: a\n    program:{items}\n"


GOOD = program_of("nop")


def test_all_problems_of_a_file_are_reported_in_its_order():
    """One look at the file is enough: unknown keys, types, units, limits, operations, meaning."""
    text = """
machine:
  cpu: 2
  cpus: "4"
  memory: {size: 64 potatoes}
  hardware: {levels: 7}
engine: {guard: yes, policy: seded, jitter_percent: 2.5}
processes:
  - {name: a, program: [munmap, touch A reed]}
record: {events: [pagefault]}
expect: [pgfault]
"""

    places = [problem.split(": ")[0] for problem in problems_of(text)]

    expected = [
        "3:3",
        "4:9",
        "5:18",
        "6:22",
        "7:17",
        "7:30",
        "7:53",
        "9:31",
        "9:41",
        "10:19",
        "11:10",
    ]
    assert [f"bad.yaml:{place}" for place in expected] == places


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "machin: {}\n" + GOOD,
            (
                "bad.yaml:1:1: unknown key machin; "
                "expected machine, kernel, engine, processes, record, sanitize, faults, race, "
                "expect (did you mean machine?)"
            ),
        ),
        (
            "machine: {memory: {size: 3 apples}}\n" + GOOD,
            (
                "bad.yaml:1:26: machine.memory.size is the text '3 apples'; expected a size: "
                "bytes, or a number with K, M, G or T, as in 64K, from 16M to 4T "
                "(write it like 64M)"
            ),
        ),
        (
            "engine: {quantum_ns: 3 weeks}\n" + GOOD,
            (
                "bad.yaml:1:22: engine.quantum_ns is the text '3 weeks'; expected a time: ns, or a "
                "number with ns, us, ms or s, as in 3us, at least 0 (write it like 250us)"
            ),
        ),
        (
            "faults: {fail_page_alloc: {probability: 101}}\n" + GOOD,
            (
                "bad.yaml:1:41: faults.fail_page_alloc.probability is 101; expected a whole "
                "number, from 0 to 100 (did you mean 100?)"
            ),
        ),
        (
            "faults: {fail_page_alloc: {min-order: 0}}\n" + GOOD,
            (
                "bad.yaml:1:28: unknown key faults.fail_page_alloc.min-order; expected "
                "probability, interval, times, space, task_filter, require, reject, "
                "ignore_gfp_wait, ignore_gfp_highmem, min_order (did you mean min_order?)"
            ),
        ),
        (
            "faults: {late_ipi: {delay: 0}}\n" + GOOD,
            (
                "bad.yaml:1:28: faults.late_ipi.delay is 0; expected a time: ns, or a number with "
                "ns, us, ms or s, as in 3us, from 1 to 1099511627776 (did you mean 1?)"
            ),
        ),
        (
            "faults: {fail_page_alloc: {probability: 100, times: -1, min_order: 0, "
            "ignore_gfp_wait: false}}\n" + GOOD,
            (
                "bad.yaml:1:27: faults.fail_page_alloc makes page faults fail for ever: Linux "
                "tries them again; expected an end: times, a probability below 100, an interval "
                "of 4 or more, or a `require` without what page faults do (write `times: 1`, or "
                "`interval: 10`)"
            ),
        ),
        (
            "faults: {fail_page_alloc: {probability: 100, times: -1, min_order: 0, "
            "ignore_gfp_wait: false, require: [alloc_slab_page]}}\n" + GOOD,
            (
                "bad.yaml:1:27: faults.fail_page_alloc makes page faults fail for ever: Linux "
                "tries them again; expected an end: times, a probability below 100, an interval "
                "of 4 or more, or a `require` without what page faults do (write `times: 1`, or "
                "`interval: 10`)"
            ),
        ),
        (
            "faults: {failslab: {probability: 100, times: -1, ignore_gfp_wait: false}}\n" + GOOD,
            (
                "bad.yaml:1:20: faults.failslab makes page faults fail for ever: Linux tries them "
                "again; expected an end: times, a probability below 100, an interval of 4 or "
                "more, or a `require` without what page faults do (write `times: 1`, or "
                "`interval: 10`)"
            ),
        ),
        (
            "faults: {failslab: {cache_filter: [kmalloc-46]}}\n" + GOOD,
            (
                "bad.yaml:1:36: faults.failslab.cache_filter[0] is 'kmalloc-46', which is no "
                "cache; expected one that a program creates, one of kmalloc such as kmalloc-64, "
                "or one of kmem_cache_node, kmem_cache, vmap_area, mm_struct, radix_tree_node, "
                "pid, anon_vma, anon_vma_chain, cred_jar, task_struct, sighand_cache, "
                "signal_cache, "
                "files_cache, vm_area_struct, dentry, inode_cache, filp, shmem_inode_cache, "
                "ext4_inode_cache (did "
                "you mean kmalloc-96?)"
            ),
        ),
        (
            "engine: {guard: yes}\n" + GOOD,
            (
                "bad.yaml:1:17: engine.guard is the text 'yes'; expected true or false "
                "(did you mean true?)"
            ),
        ),
        (
            "machine: {cpus: 2.0}\n" + GOOD,
            (
                "bad.yaml:1:17: machine.cpus is 2.0; expected a whole number, from 1 to 1024 "
                "(did you mean 2?)"
            ),
        ),
        (
            program_of("mmap A 4K", "touch A reed"),
            (
                "bad.yaml:5:17: processes[0].program[1]: touch: access is 'reed'; "
                "expected one of read, write (did you mean 'read'?)"
            ),
        ),
        (
            program_of("touch A read"),
            (
                "bad.yaml:4:9: processes[0].program[0]: A is not the name of a range here; "
                "expected a range set before (write mmap A SIZE first)"
            ),
        ),
        (
            program_of("thread T cpu=1"),
            (
                "bad.yaml:4:9: processes[0].program[0]: thread: there is no CPU 1; "
                "expected 0 to 0 on a machine of 1 CPUs (raise machine.cpus to 2)"
            ),
        ),
        (
            GOOD + "expect: [pgfault > many]\n",
            (
                "bad.yaml:5:10: expect[0]: 'pgfault > many' is not a comparison; expected COUNTER "
                "OPERATOR NUMBER, the operator one of == != >= <= > < "
                "(write it like `pgfault >= 100` or `cpu[1].pgfault >= 100`)"
            ),
        ),
        (
            "machine: {cpus: 2}\n" + GOOD + "expect: ['cpu[2].pgfault > 1']\n",
            (
                "bad.yaml:6:10: expect[0] names cpu[2], which the machine has not; "
                "expected cpu[0] to cpu[1] (raise machine.cpus to 3)"
            ),
        ),
        (
            GOOD + "expect: ['cpu[x].pgfault > 1']\n",
            (
                "bad.yaml:5:10: expect[0] names the CPU 'x', which is no number; "
                "expected cpu[0] and so on (write cpu[0])"
            ),
        ),
        (
            GOOD + "expect: ['cpu[0].read.l1_mises < 50000']\n",
            (
                "bad.yaml:5:10: expect[0] names the counter 'cpu[0].read.l1_mises', which no run "
                "has; expected a name of counters.json of any run; docs/counters.md lists them "
                "(did you mean cpu[0].read.l1_misses?)"
            ),
        ),
        (
            GOOD + "expect: ['cpu[0].memory_lines < 5']\n",
            (
                "bad.yaml:5:10: expect[0] names the counter 'cpu[0].memory_lines', which is "
                "counted for the whole machine only; expected a counter of the CPU; "
                "docs/counters.md lists them (write memory_lines)"
            ),
        ),
        (
            GOOD + "expect: ['min_flt < 5']\n",
            (
                "bad.yaml:5:10: expect[0] names the counter 'min_flt', which only processes have; "
                "expected a counter of the machine; docs/counters.md lists them "
                "(write process[a].min_flt)"
            ),
        ),
        (
            program_of("fork child") + "expect: ['process[a/chld].min_flt < 5']\n",
            (
                "bad.yaml:5:10: expect[0] names process[a/chld], which the scenario has not; "
                "expected one of a, a/child (did you mean a/child?)"
            ),
        ),
        (
            "record: {sample: 10us, counters: [pgfalt]}\n" + GOOD,
            (
                "bad.yaml:1:35: record.counters[0] names the counter 'pgfalt', which no run has; "
                "expected a name of counters.json of any run; docs/counters.md lists them "
                "(did you mean pgfault?)"
            ),
        ),
        (
            "record: {sample: 10us, counters: ['cpu[*].pf*']}\n" + GOOD,
            (
                "bad.yaml:1:35: record.counters[0] names 'cpu[*].pf*', which no counter matches; "
                "expected names or globs of counters; docs/counters.md lists them "
                "(did you mean cpu[0].pgfree?)"
            ),
        ),
        (
            "record: {sample: 10us, counters: []}\n" + GOOD,
            (
                "bad.yaml:1:34: record.counters is empty, and record.sample asks for samples; "
                "expected names or globs of counters; docs/counters.md lists them "
                "(write `counters: [pgfault]`, or leave sample out)"
            ),
        ),
        *[
            (
                f"record: {{sample: {sample}}}\n" + GOOD,
                (
                    f"bad.yaml:1:18: record.sample is {found}; expected a time: ns, or a number "
                    "with ns, us, ms or s, as in 3us, at least 1000 (did you mean 1000?)"
                ),
            )
            for sample, found in [("0", "0"), ("1ns", "the text '1ns'")]
        ],
        (
            "machine: {memory: {size: 5T}}\n" + GOOD,
            (
                "bad.yaml:1:26: machine.memory.size is the text '5T'; expected a size: "
                "bytes, or a number with K, M, G or T, as in 64K, from 16M to 4T "
                "(did you mean 4T?)"
            ),
        ),
        (
            "processes: []\n",
            (
                "bad.yaml:1:12: processes is empty; expected at least one process "
                "(configs/quickstart.yaml is an example)"
            ),
        ),
        (
            "a: 1\na: 2\n" + GOOD,
            (
                "bad.yaml:2:1: the key a a second time; expected each key once; the first is "
                "in line 1 (remove one)"
            ),
        ),
    ],
)
def test_a_problem_says_place_found_legal_and_advice(text, expected):
    """The four parts, word for word."""
    assert expected in problems_of(text)


def test_what_follows_from_another_problem_is_not_reported():
    """A machine that is no mapping has an unknown number of CPUs, not one."""
    (problem,) = problems_of("machine: 8\n" + program_of("thread T cpu=1"))

    assert problem.startswith("bad.yaml:1:10: machine is 8; expected a mapping")


def test_impossible_hardware_is_reported_where_it_is_written():
    """Geometry that no hardware has: ways that do not divide, sets that are no power of two."""
    text = (
        "machine:\n  hardware:\n    l1d: {size_bytes: 5000}\n    dtlb: {ways: 3}\n"
        "    llc: {size_bytes: 3M}\n" + GOOD
    )

    found = problems_of(text)

    assert ["bad.yaml:3:23", "bad.yaml:4:11", "bad.yaml:5:23"] == [
        problem.split(": ")[0] for problem in found
    ]


def test_memory_too_small_to_boot_is_reported():
    """The kernel does not fit into 16 MiB; the problem says how much it needs."""
    (problem,) = problems_of("machine: {memory: {size: 16M}}\n" + GOOD)

    assert problem.startswith("bad.yaml:1:26: machine.memory.size is 16M")
    assert "or more" in problem


def test_a_missing_trace_is_reported_at_its_operation():
    """The file is looked for when the scenario is read, not when the program gets there."""
    (problem,) = problems_of(program_of("trace nowhere.npz"))

    assert problem.startswith("bad.yaml:4:9: processes[0].program[0]: trace: there is no file")


def test_a_trace_of_no_known_form_is_reported_at_its_operation(tmp_path):
    """Empty and foreign files are seen by `check` already; only their first bytes are read."""
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xff" * 100)

    found = problems_of(program_of(f"trace {tmp_path}/empty.npz", f"trace {tmp_path}/cat.jpg"))

    assert ["bad.yaml:4:9", "bad.yaml:5:9"] == [problem.split(": ")[0] for problem in found]


def test_two_processes_of_one_name_are_refused():
    """Actors are told apart by name."""
    (problem,) = problems_of("processes: [{name: a, program: [nop]}, {name: a, program: [nop]}]\n")

    assert "as processes[0] is" in problem


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("machine.cpus", "'machine.cpus'; expected --set KEY=VALUE"),
        ("machine.cpu=3", "unknown key machine.cpu"),
        ("machine.cpus=[", "not YAML"),
        ("engine.seed=7x", "engine.seed is the text '7x'"),
        ("processes.3.cpu=1", "processes has no item 3"),
        ("processes.0.name.x=1", "processes.0.name is the text 'a'"),
        ("=3", "'=3'; expected --set KEY=VALUE"),
    ],
)
def test_the_place_of_a_wrong_override_is_the_option(override, found):
    """What came from the command line is blamed on the command line."""
    (problem,) = problems_of(GOOD, overrides=[override])

    assert problem.startswith(f"--set {override}: ")
    assert found in problem


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: b: c", "bad.yaml:1:5"),
        ("a: [1", "bad.yaml:1:6"),
        ("- a\nb: 1", "bad.yaml:2:1"),
        ("a: *x", "bad.yaml:1:4"),
        ("a: &x [*x]", "bad.yaml:1:4"),
        ("\n\nab\x00c", "bad.yaml:3:3"),
        ("--- a\n--- b", "bad.yaml:2:1"),
        ("a: !!python/object:os.system {}", "bad.yaml:1:4"),
        ("[" * 500, "bad.yaml"),
        ("", "bad.yaml"),
        ("{[a]: 1}", "bad.yaml:1:2"),
        ("a: {<<: {b: 1}}", "bad.yaml:1:5"),
    ],
)
def test_malformed_yaml_has_a_place(text, place):
    """Also what is no YAML at all, cyclic, or nested without end."""
    assert place in {problem.split(": ")[0] for problem in problems_of(text)}


def test_aliases_of_aliases_do_not_exhaust_the_host():
    """A billion laughs are refused when they become too many."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    (problem,) = problems_of("\n".join(lines))

    assert "more than 200000 values" in problem


def test_unreadable_files_are_the_users_problem(tmp_path):
    """Missing, a directory, not UTF-8: no traceback, but a place."""
    (tmp_path / "latin.yaml").write_bytes(b"processes:\n- name: caf\xe9\n")

    for path, expected in [
        (tmp_path / "none.yaml", "none.yaml: No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "latin.yaml", "latin.yaml:2:12: the byte 0xe9 is not UTF-8"),
        (Path("a\0b"), "null byte"),
    ]:
        with pytest.raises(UserError) as caught:
            load_scenario(path)
        assert expected in str(caught.value)


YAML_PIECES = st.sampled_from(
    [
        "machine:",
        "cpus",
        "memory",
        "size",
        "64M",
        "processes:",
        "-",
        "name",
        "a",
        "program",
        "[",
        "]",
        "{",
        "}",
        ",",
        "nop",
        "'mmap",
        "A",
        "4K'",
        "\n",
        "\n\n",
        "",
        "",
        ":",
        "#",
        "&",
        "*",
        "!",
        "|",
        ">",
        "'",
        '"',
        "%",
        "@",
        "`",
        "1",
        "0x10",
        "1e3",
        "~",
        "null",
        "true",
        "---",
        "...",
        "<<:",
        "expect",
        "record",
        "events",
        "sample: 1us",
        "counters:",
        "cpu[*].pg*",
        "process[a].min_flt > 1",
        "engine:",
        "\t",
    ]
)


def outcome_of(text: str, **options) -> Scenario | UserError:
    try:
        return parse_scenario(text, file="fuzz.yaml", folder=CONFIGS, **options)
    except UserError as error:
        return error


@given(
    st.one_of(st.text(), st.lists(YAML_PIECES).map(" ".join), st.lists(YAML_PIECES).map("".join))
)
def test_any_text_is_a_scenario_or_a_users_error(text):
    """The loader never fails in another way."""
    outcome = outcome_of(text)

    assert isinstance(outcome, Scenario) or all(map(str, outcome.problems))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "machine.cpus",
        "machine.memory",
        "machine.memory.size",
        "machine.hardware.l1d",
        "machine.hardware.l2",
        "machine.hardware.l1d.ways",
        "kernel.costs",
        "engine.seed",
        "engine.policy",
        "engine.guard",
        "processes",
        "processes[0]",
        "processes[0].program",
        "processes[0].copies",
        "record.events",
        "record.sample",
        "record.counters",
        "expect",
        "kernel",
        "race",
        "race.laws",
        "race.reaches",
        "race.scope",
    ]
)


@given(key=KEYS, value=JSON_VALUES)
def test_any_value_at_any_key_is_legal_or_a_users_error(key, value):
    """No value of any type gets through to the machine, or breaks the loader."""
    outcome = outcome_of(GOOD, overrides=[f"{key}={json.dumps(value)}"])

    assert isinstance(outcome, Scenario) or all(map(str, outcome.problems))


PLAIN_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(max_codepoint=0xD7FF), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(max_codepoint=0xD7FF), max_size=8), inner)
    ),
    max_leaves=8,
)


@given(key=KEYS, value=PLAIN_VALUES)
def test_a_value_of_a_program_is_legal_where_the_same_text_is(key, value):
    """Python's value and its YAML give the same scenario, or the same problems."""
    as_text = outcome_of(GOOD, overrides=[f"{key}={json.dumps(value)}"])
    try:
        as_value = load(load_as_dict(GOOD), overrides={key: value})
    except UserError as error:
        as_value = error

    if isinstance(as_text, Scenario):
        assert as_text == as_value
    else:
        assert [without_place(problem) for problem in as_text.problems] == [
            without_place(problem) for problem in as_value.problems
        ]


def load_as_dict(text):
    return YAML(typ="safe", pure=True).load(text)


def without_place(problem):
    return problem.found, problem.legal, problem.advice


@given(st.sampled_from(["laws", "reaches"]), st.text(max_size=40), st.text(max_size=8))
def test_any_name_of_a_function_is_legal_or_a_users_error(key, module, function):
    """Also names that no file can have; no module is run to find that out."""
    for name in (f"{module}:f{function}", f"{module * 20}:f", f"this.{module}:f", module):
        outcome = outcome_of(GOOD, overrides=[f"race.{key}={json.dumps([name])}"])

        assert isinstance(outcome, Scenario) or all(map(str, outcome.problems))
    assert "this" not in sys.modules


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_override_is_legal_or_a_users_error(key, value):
    """Whatever stands behind --set."""
    outcome = outcome_of(GOOD, overrides=[f"{key}={value}"])

    assert isinstance(outcome, Scenario) or all(map(str, outcome.problems))


def test_an_expectation_names_a_counter_that_runs_have():
    """A name that no run has is found before anything runs."""
    (problem,) = problems_of(GOOD + "expect: [pgfalt >= 1]\n")

    assert "names the counter 'pgfalt', which no run has" in problem
    assert problem.endswith("(did you mean pgfault?)")


@pytest.mark.parametrize(("text", "number"), [("0o17", 15), ("0x1F", 31), ("017", 17), ("+8", 8)])
def test_whole_numbers_are_those_of_yaml(text, number):
    """Octal and hexadecimal ones too (YAML 1.2, 10.3.2); a leading zero alone means nothing."""
    scenario = parse_scenario(f"engine: {{seed: {text}}}\n{GOOD}", file="good.yaml", folder=CONFIGS)

    assert number == scenario.engine.seed


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("0b101", "did you mean 5?"),
        ("1_000", "did you mean 1000?"),
        ("0o19", "write a whole number"),
        ("0x1G", "write a whole number"),
        ("12 seeds", "did you mean 12?"),
    ],
)
def test_what_is_nearly_a_whole_number_is_not_read_as_its_first_digit(text, advice):
    """The 0 of a prefix is never what was meant."""
    (problem,) = problems_of(f"engine: {{seed: {text}}}\n{GOOD}")

    assert problem.endswith(f"({advice})")


OF_ANOTHER_ALLOCATOR = {
    "kernel: {slab: slabb}\n": (
        "kernel.slab is the text 'slabb'; expected slub or slab or slob (did you mean slab?)"
    ),
    "kernel: {slab: slab}\nmachine: {memory: {cmdline: slub_debug=FZ}}\n": (
        "'slub_debug=FZ', which a kernel with SLAB does not know"
    ),
    "kernel: {slab: slob}\nmachine: {memory: {cmdline: slub-max-order=1}}\n": (
        "'slub-max-order=1', which a kernel with SLOB does not know"
    ),
    "machine: {memory: {cmdline: noaliencache}}\n": (
        "'noaliencache', which a kernel with SLUB does not know"
    ),
    "kernel: {slab: slob}\nfaults: {failslab: {times: 1, probability: 100}}\n": (
        "kernel.slab is slob, which asks nobody"
    ),
    "kernel: {slab: slab}\nfaults: {failslab: {times: 1, cache_filter: [filp]}}\n": (
        "kernel.slab is slab, whose caches have no such file"
    ),
}


@pytest.mark.parametrize("text", OF_ANOTHER_ALLOCATOR)
def test_what_only_another_allocator_has_is_told(text):
    """Its name, its words on the command line, and how its allocations are made to fail."""
    (problem,) = problems_of(text + GOOD)

    assert OF_ANOTHER_ALLOCATOR[text] in problem


@pytest.mark.parametrize(
    "text",
    [
        "kernel: {slab: slab}\nmachine: {memory: {cmdline: slab_nomerge slab_max_order=3}}\n",
        "kernel: {slab: slob}\nmachine: {memory: {cmdline: slab_merge}}\n",
        "kernel: {slab: slab}\nfaults: {failslab: {times: 1, probability: 100}}\n",
    ],
)
def test_what_it_has_itself_is_no_problem(text):
    """slab_merge and slab_nomerge are those of all three (mm/slab_common.c)."""
    assert parse_scenario(text + GOOD, file="good.yaml", folder=CONFIGS).processes
