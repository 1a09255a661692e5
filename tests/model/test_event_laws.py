"""Random programs on four CPUs: their logs keep the laws of spans, causes, waits and counts."""

import re
from functools import cache

import pytest
from event_laws import (
    assert_causes_come_before,
    assert_contentions_end,
    assert_faults_are_counted,
    assert_flushes_are_counted,
    assert_interrupts_are_handled,
    assert_laws,
    assert_numbers_and_times_go_on,
    assert_spans_are_a_tree,
    assert_switches_are_a_chain,
    records_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import run, scenario_of

NR_PAGES = 24
BEGIN = (
    f"mmap A {NR_PAGES * 4}K",
    "thread T1 cpu=1",
    "thread T2 cpu=2",
    "fork C",
    "C: cpu 3",
)
"""The child's memory is a copy: what it and its parent write to is copied."""
FILES = ("open F /f create", "ftruncate F 48K", "mmap B 48K file=F flags=shared")
WHO = st.sampled_from(["", "", "T1& ", "T2& ", "C& ", "T1: ", "C: "])


@st.composite
def ranges(draw):
    """Draw a range of the shared pages."""
    first = draw(st.integers(0, NR_PAGES - 1))
    return f"A {first}..{draw(st.integers(first + 1, NR_PAGES))}"


@st.composite
def operations(draw):
    """Draw an operation that makes no page present but by a fault."""
    place = draw(ranges())
    texts = [
        f"touch {place} write",
        f"touch {place} write order=rev",
        f"touch {place} read",
        "generate uniform A count=200 write_percent=40",
        f"munmap {place}",
        f"mmap A {NR_PAGES * 4}K",
        f"mprotect {place} prot={draw(st.sampled_from(['r', 'rw', 'none']))}",
        f"madvise {place} DONTNEED",
        "churn 2 16K touch",
        "mmap Q 8K",
        "brk +8K",
        "mremap A len=128K flags=maymove",
        "sleep 1",
        "compute 20us",
        f"cpu {draw(st.integers(0, 3))}",
        "munmap @0x1001:4K",
        "fork D",
        "thread D cpu=3",
        "exit",
        "get /proc/vmstat",
    ]
    return draw(WHO) + draw(st.sampled_from(texts))


@st.composite
def operations_on_files_and_locked_pages(draw):
    """Draw an operation after which faults and their counter differ."""
    first = draw(st.integers(0, 11))
    piece = f"B {first}..{draw(st.integers(first + 1, 12))}"
    texts = [
        f"touch {piece} write",
        f"touch {piece} read",
        f"mlock {draw(ranges())}",
        f"munlock {draw(ranges())}",
        f"madvise {draw(ranges())} POPULATE_WRITE",
        f"write F {first * 4}K 4K bs=4K from=A",
        f"read F {first * 4}K 8K bs=4K",
        "fsync F",
        f"msync {piece} flags=sync",
        f"madvise {piece} REMOVE",
        "ftruncate F 16K",
    ]
    return draw(WHO) + draw(st.sampled_from(texts))


ENGINES = st.sampled_from(
    [
        {"quantum_ns": 0},
        {"policy": "seeded", "seed": 1, "quantum_ns": 0},
        {"policy": "seeded", "seed": 2},
        {"policy": "seeded", "seed": 3, "jitter_percent": 20},
    ]
)


def with_names(program):
    """Give each new thread and child a name of its own."""
    return [
        re.sub(r"(fork|thread) D", rf"\1 D{place}", operation)
        for place, operation in enumerate(program)
    ]


def end_of(program):
    """Return the operations that wait for what others do, so that nobody is killed at it."""
    return ["wait", *(["C: exit", "reap"] if len(program) % 2 else [])]


@settings(max_examples=25)
@given(st.lists(operations(), min_size=4, max_size=14), ENGINES)
def test_logs_keep_their_laws(program, engine):
    """Spans, causes, waits, interrupts, switches, faults and flushes of random programs."""
    other = ["mmap X 64K", "touch X write", "sleep 1", "churn 2 16K touch"]
    assert_laws(
        run(scenario_of([*BEGIN, *with_names(program), *end_of(program)], other, cpus=4, **engine))
    )


@settings(max_examples=15)
@given(
    st.lists(operations() | operations_on_files_and_locked_pages(), min_size=4, max_size=14),
    ENGINES,
)
def test_logs_of_programs_with_files_keep_them_too(program, engine):
    """But that a fault is counted once: the kernel faults for a program, and begins faults anew."""
    whole = [*FILES, *BEGIN, *with_names(program), *end_of(program)]
    assert_laws(run(scenario_of(whole, cpus=4, **engine)), counts_faults=False)


# Each law can be broken, and then a test fails.

PROGRAM = [
    *BEGIN,
    "T1& touch A write",
    "T2& touch A write order=rev",
    "C& touch A write",
    "touch A read order=rand:3",
    "wait",
    "munmap A 3..9",
    "T1& munmap A 10..12",
    "mmap B 16K",
    "wait",
    "T1: touch A 12..20 write",
]


@cache
def program_log():
    ran = run(scenario_of(PROGRAM, cpus=4, quantum_ns=0))
    assert_laws(ran)
    return ran


def changed(change):
    """Return the records of a log of which `change` has changed one."""
    records = records_of(program_log().log)
    change(records)
    return records


def first(records, name, **fields):
    """Return the first event of that name which has those fields."""
    return next(
        record
        for record in records
        if record["event"] == name
        and all(record.get(field) == value for field, value in fields.items())
    )


def drop(name):
    """Return what takes an event of one name out of a log."""

    def change(records):
        records.remove(first(records, name))

    return change


def put(name, field, value):
    """Return what gives a field of an event of one name another value; `value` gets the event."""

    def change(records):
        record = first(records, name)
        record[field] = value(record)

    return change


def locks():
    return program_log().machine.inspect().locks


def counter(name):
    return program_log().counters[name]


LAWS = {
    "numbers": assert_numbers_and_times_go_on,
    "spans": assert_spans_are_a_tree,
    "causes": assert_causes_come_before,
    "contentions": lambda records: assert_contentions_end(records, locks()),
    "interrupts": lambda records: assert_interrupts_are_handled(records, counter("tlb_shootdowns")),
    "faults": lambda records: assert_faults_are_counted(records, counter("pgfault")),
    "flushes": lambda records: assert_flushes_are_counted(records, counter("tlb_flushes")),
    "switches": assert_switches_are_a_chain,
}


@pytest.mark.parametrize(
    ("law", "change"),
    [
        ("numbers", drop("tlb_flush")),
        ("numbers", put("sys_exit", "t", lambda _record: 0)),
        ("spans", put("mm_page_free_batched", "span", lambda record: record["span"] - 1)),
        ("spans", put("page_fault_end", "tid", lambda record: record["tid"] + 1)),
        ("spans", put("page_fault_end", "ns", lambda record: record["ns"] + 1)),
        ("spans", drop("sys_exit")),
        ("spans", drop("page_fault_user")),
        ("spans", put("sys_exit", "call", lambda _record: "another")),
        ("causes", put("ipi_handled", "cause", lambda record: record["seq"] + 1)),
        ("causes", put("ipi_handled", "t", lambda _record: 0)),
        ("contentions", drop("contention_end")),
        ("contentions", drop("contention_begin")),
        ("contentions", put("contention_end", "wait_ns", lambda record: record["wait_ns"] - 1)),
        ("contentions", put("contention_begin", "class", lambda _record: "another")),
        ("contentions", put("contention_begin", "holder", lambda record: record["actor"])),
        ("interrupts", drop("ipi_handled")),
        ("interrupts", put("ipi_handled", "id", lambda record: record["id"] + 1)),
        ("interrupts", put("ipi_handled", "for_actor", lambda record: record["actor"])),
        ("faults", drop("page_fault_end")),
        ("faults", put("page_fault_end", "kind", lambda _record: "bad_area")),
        ("flushes", drop("tlb_flush")),
        ("switches", drop("sched_switch")),
        ("switches", put("sched_switch", "next_pid", lambda record: record["next_pid"] + 1)),
    ],
)
def test_a_log_that_breaks_a_law_is_found(law, change):
    """An event that is missing, or has another number, name, time or place than it must."""
    LAWS[law](records_of(program_log().log))

    with pytest.raises((AssertionError, KeyError)):
        LAWS[law](changed(change))
