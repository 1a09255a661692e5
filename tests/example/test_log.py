"""The event log: one JSON line an event, in order, filtered, read again, compared."""

import os
import time

import orjson
import pytest

from mmactors.engine.probe import NR_BATCHED
from mmactors.engine.trace.span import Span, Who
from mmactors.errors import UserError
from mmactors.events import (
    ENVELOPE,
    ON_BEHALF,
    ContentionBegin,
    IpiSend,
    MmPageAlloc,
    PageFaultUser,
    SchedSwitch,
    SysEnter,
    event_fields,
)
from mmactors.observe.log import EventLog, LineFile
from mmactors.observe.log_compare import LogComparison
from mmactors.observe.log_filter import LogFilter, Where
from mmactors.observe.log_read import read_log
from mmactors.scenario.event_names import event_classes

FAULT = PageFaultUser(address=0x7F00_0000_1000, ip=None, error_code=6)
SWITCH = SchedSwitch(
    prev_comm="a",
    prev_pid=1,
    prev_prio=120,
    prev_state=0,
    next_comm="b",
    next_pid=2,
    next_prio=120,
)
APP = Who("app.0", 1, 10, 11, None)
ALLOC = MmPageAlloc(pfn=None, order=0, gfp_flags=0x100CCA, migratetype=1)


def write_log(path, *, globs=("*",)):
    with EventLog(LineFile(path), globs) as log:
        log.take([(0, 1200, APP, None, 0, FAULT), (1, 1500, APP, None, 0, ALLOC)])
        log.take([(2, 2000, Who("cpu0", 0, None, None, None), None, 0, SWITCH)])
    return path


def names_of(path, **restrictions):
    wanted = LogFilter(**restrictions)
    return [record["event"] for _, record in read_log(path) if wanted.wants(record)]


def test_the_log_is_a_head_and_one_line_an_event(tmp_path):
    """Keys stand in their documented order, the event's own fields last."""
    lines = write_log(tmp_path / "events.jsonl").read_bytes().splitlines()

    assert b'{"schema":"mmactors.events","version":"2.1"}' == lines[0]
    assert (
        b'{"seq":0,"t":1200,"actor":"app.0","cpu":1,"pid":10,"tid":11,"event":"page_fault_user",'
        b'"address":139637976731648,"ip":null,"error_code":6}'
    ) == lines[1]
    assert b'"pfn":null' in lines[2]


def line_of(path, span, cause, event):
    with EventLog(LineFile(path)) as log:
        log.take([(7, 1200, APP, span, cause, event)])
    return orjson.loads(path.read_bytes().splitlines()[1])


@pytest.mark.parametrize(
    ("span", "cause", "expected"),
    [
        (None, 0, {}),
        (None, 5, {"cause": 5}),
        (Span(3), 0, {"span": 3}),
        (Span(3), 5, {"span": 3, "cause": 5}),
        (
            Span(0, 5, Who("t", 2, 4, 6, None)),
            0,
            {"cause": 5, "for_actor": "t", "for_cpu": 2, "for_pid": 4},
        ),
        (Span(0, 5, Who("t", None, None, None, None)), 6, {"cause": 6, "for_actor": "t"}),
    ],
)
def test_a_line_says_what_it_is_a_part_of_and_for_whom(tmp_path, span, cause, expected):
    """Only what there is; it stands between the event's name and its own fields."""
    record = line_of(tmp_path / "events.jsonl", span, cause, FAULT)

    assert [*ENVELOPE, *expected, "address", "ip", "error_code"] == list(record)
    assert expected == {name: record[name] for name in expected}


def test_every_kind_of_value_is_written_as_json(tmp_path):
    """Texts with what JSON marks, lists, None, and a name that Python wants for itself."""
    path = tmp_path / "events.jsonl"
    enter = line_of(path, None, 0, SysEnter(call='a "b" \u00e4', nr=None, args=(1, 2)))
    begin = ContentionBegin(lock="l", class_="&mm->mmap_lock", holder=None, flags=2)

    assert ('a "b" \u00e4', None, [1, 2]) == (enter["call"], enter["nr"], enter["args"])
    contention = line_of(path, None, 0, begin)
    assert ("&mm->mmap_lock", None) == (contention["class"], contention["holder"])
    assert [0, 3] == line_of(path, None, 0, IpiSend(id=1, vector="TLB", targets=(0, 3)))["targets"]


def test_only_what_the_globs_match_is_recorded(tmp_path):
    """Events that nobody wants leave a gap in the sequence numbers."""
    path = write_log(tmp_path / "events.jsonl", globs=("mm_*", "sched_switch"))

    assert [1, 2] == [record["seq"] for _, record in read_log(path)]


def test_no_event_field_hides_a_field_of_the_envelope():
    """seq, t, actor, cpu, pid, span and the others mean the same in every line."""
    envelope = {*ENVELOPE, *ON_BEHALF}

    clashes = {
        name: envelope & event_fields(event_class).keys()
        for name, event_class in event_classes().items()
    }

    assert {name: set() for name in clashes} == clashes


@pytest.mark.parametrize(
    ("restrictions", "expected"),
    [
        ({"events": ("mm_*", "sched_*")}, ["mm_page_alloc", "sched_switch"]),
        ({"actors": ("cpu?",)}, ["sched_switch"]),
        ({"cpus": (1,)}, ["page_fault_user", "mm_page_alloc"]),
        ({"pids": (10,), "from_ns": 1300}, ["mm_page_alloc"]),
        ({"from_ns": 1200, "to_ns": 1500}, ["page_fault_user", "mm_page_alloc"]),
        ({"where": (Where.parse("address>=0x7f0000000000"),)}, ["page_fault_user"]),
        ({"where": (Where.parse("pfn=null"),)}, ["mm_page_alloc"]),
        ({"where": (Where.parse("next_comm == b"),)}, ["sched_switch"]),
        ({"where": (Where.parse("pfn>100"),)}, []),
        ({"where": (Where.parse("order<1"), Where.parse("migratetype!=1"))}, []),
    ],
)
def test_records_are_selected_by_every_restriction(tmp_path, restrictions, expected):
    """Globs, actor, cpu, pid, a closed time range, and comparisons of fields, all together."""
    path = write_log(tmp_path / "events.jsonl")

    assert expected == names_of(path, **restrictions)


def test_a_comparison_that_is_none_is_the_users_problem():
    """`--where pfn` compares nothing."""
    with pytest.raises(UserError, match="'pfn' is not a comparison"):
        Where.parse("pfn")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"schema":"mmactors.events","version":"3.0"}\n', "version 3.0 of the log"),
        (b'{"schema":"mmactors.events","version":"1.0"}\n', "resolved.yaml again, or read it with"),
        (b'{"schema":"else","version":"1.0"}\n', "no head of an event log"),
        (b"\xff\n", "no head of an event log"),
        (b'{"schema":"mmactors.events","version":"2.3"}\n[1]\n', "jsonl:2: no event"),
        (b'{"schema":"mmactors.events","version":"2.3"}\n{"seq":1\n', "jsonl:2: no event"),
    ],
)
def test_what_is_no_log_of_ours_is_refused(tmp_path, content, expected):
    """Another schema, an unknown major version, lines that are no events."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)

    with pytest.raises(UserError, match=expected):
        list(read_log(path))


def test_a_newer_minor_version_is_read(tmp_path):
    """Fields were added; readers need not know them."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(
        b'{"schema":"mmactors.events","version":"2.9"}\n'
        b'{"seq":0,"t":0,"actor":"a","cpu":0,"pid":1,"tid":1,"event":"new","what":1}\n'
    )

    assert ["new"] == names_of(path)


def test_a_line_without_its_end_waits(tmp_path):
    """A run that was killed leaves complete lines; what follows them is not read."""
    path = write_log(tmp_path / "events.jsonl")
    with path.open("ab") as file:
        file.write(b'{"seq":3,"t":')

    assert 3 == len(names_of(path))


def test_following_reads_on_while_the_run_is_alive(tmp_path):
    """Lines that are added later are shown as soon as they are complete."""
    path = write_log(tmp_path / "events.jsonl")
    later = [path.read_bytes().splitlines(keepends=True)[1]]

    def is_running() -> bool:
        if later:
            with path.open("ab") as file:
                file.write(later.pop())
            return True
        return False

    assert 4 == len(list(read_log(path, is_running=is_running)))


def test_the_file_has_complete_lines_at_every_moment(tmp_path):
    """What is written out early ends with a line."""
    path = tmp_path / "events.jsonl"
    file = LineFile(path)
    with EventLog(file, ("*",)) as log:
        for seq in range(10):
            log.take([(seq, seq, APP, None, 0, FAULT)])
            if seq == 4:
                before = path.read_bytes()
                file.write_out()
                waiting = path.read_bytes()

    assert b"" == before
    assert waiting.endswith(b"}\n")
    assert 6 == waiting.count(b"\n")
    assert 11 == path.read_bytes().count(b"\n")


def test_lines_do_not_wait_long_for_more(tmp_path, monkeypatch):
    """Few events in half a second are written with the first that comes after it."""
    path = tmp_path / "events.jsonl"
    now_s = 100.0
    monkeypatch.setattr("mmactors.observe.log.monotonic", lambda: now_s)
    file = LineFile(path)
    file.write(b"1\n")
    early = path.read_bytes()

    now_s += 0.6
    file.write(b"2\n")

    assert (b"", b"1\n2\n") == (early, path.read_bytes())
    file.close()


def test_a_full_disk_leaves_complete_lines(tmp_path, monkeypatch):
    """A write that fails half way is cut back to the last line that was whole; nothing follows."""
    path = tmp_path / "events.jsonl"
    file = LineFile(path)
    file.write(b"first\n")
    file.write_out()
    real = os.write

    def full(fd, data):
        if len(data) > 4:
            return real(fd, bytes(data[:3]))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("os.write", full)
        file.write(b"second\n")
        with pytest.raises(OSError, match="No space"):
            file.write_out()
    file.write(b"third\n")
    file.close()

    assert b"first\n" == path.read_bytes()


def test_what_explains_lines_is_written_before_them(tmp_path):
    """If that fails, the lines are not written either."""
    path = tmp_path / "events.jsonl"
    file = LineFile(path)
    seen = []
    file.before = lambda: seen.append(path.read_bytes())
    file.write(b"first\n")
    file.write_out()

    def fail():
        raise OSError(28, "No space left on device")

    file.before = fail
    file.write(b"second\n")
    with pytest.raises(OSError, match="No space"):
        file.write_out()
    file.close()

    assert ([b""], b"first\n") == (seen, path.read_bytes())


def comparison_of(path, *events):
    comparison = LogComparison(line for line, _ in read_log(path))
    with EventLog(comparison, ("*",)) as log:
        for seq, event in enumerate(events):
            log.take([(seq, 1200 + 300 * seq, APP, None, 0, event)])
    comparison.finish()
    return comparison


def test_an_equal_run_gives_the_same_log(tmp_path):
    """The bytes that would be written are compared, none is written."""
    path = tmp_path / "events.jsonl"
    with EventLog(LineFile(path), ("*",)) as log:
        for seq in range(3):
            log.take([(seq, 1200 + 300 * seq, APP, None, 0, FAULT)])

    comparison = comparison_of(path, FAULT, FAULT, FAULT)

    assert (None, 3, []) == (comparison.difference, comparison.nr_equal, comparison.report())


def test_the_first_difference_is_shown_with_what_came_before(tmp_path):
    """Two equal events, then another one, and a log that ends early."""
    path = write_log(tmp_path / "events.jsonl")

    other = comparison_of(path, FAULT, FAULT).report()
    shorter = comparison_of(path, FAULT, ALLOC).report()

    assert ["both", "recorded", "now"] == [line.split()[0] for line in other]
    assert "mm_page_alloc" in other[1]
    assert "page_fault_user" in other[2]
    assert shorter[-1].endswith("(the log ends)")


def test_an_event_costs_a_few_microseconds(tmp_path):
    """Logging 30,000 faults a second must be possible beside everything else."""
    nr_events = 20_000
    with EventLog(LineFile(tmp_path / "events.jsonl"), ("*",)) as log:
        started = time.process_time()
        for first in range(0, nr_events, NR_BATCHED):
            batch = range(first, first + NR_BATCHED)
            log.take([(seq, seq * 100, APP, None, 0, ALLOC) for seq in batch])
        spent_s = time.process_time() - started

    assert spent_s / nr_events < 15e-6, f"{spent_s / nr_events * 1e6:.1f} us an event"


def test_every_line_is_json(tmp_path):
    """Any JSON reader can read the log."""
    lines = write_log(tmp_path / "events.jsonl").read_bytes().splitlines()

    assert 4 == len([orjson.loads(line) for line in lines])
