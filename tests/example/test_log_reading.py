"""Asking the event log: in which order, for whom, in which call or fault, by names of values."""

import orjson
import pytest

from mmactors.cli.main import run_command
from mmactors.errors import UserError
from mmactors.observe.log_filter import LogFilter, SpanFilter, Where
from mmactors.observe.log_read import read_in_time_order, read_log
from mmactors.observe.log_text import TABLE_HEAD, FtraceText, table_line

HEAD = {"schema": "mmactors.events", "version": "2.0"}


def record(seq, t_ns, event, *, actor="app", cpu=0, pid=1, tid=1, **fields):
    return {
        "seq": seq,
        "t": t_ns,
        "actor": actor,
        "cpu": cpu,
        "pid": pid,
        "tid": tid,
        "event": event,
        **fields,
    }


def fault(seq, t_ns, **more):
    fields = {"address": 0x7F00_0000_1000, "ip": None, "error_code": 6}
    return record(seq, t_ns, "page_fault_user", span=seq, **fields, **more)


def flush(seq, t_ns, reason, **more):
    return record(seq, t_ns, "tlb_flush", **more, reason=reason, pages=-1)


ZONE = {"actor": "zone 0 DMA32", "cpu": None, "pid": None, "tid": None}
FOR_APP = {"for_actor": "app", "for_cpu": 2, "for_pid": 7}
RECORDS = (
    record(1, 100, "sys_enter", cpu=2, pid=7, tid=9, span=1, call="munmap A", nr=11, args=[4096]),
    fault(2, 250, cpu=2, pid=7, tid=9, cause=1),
    record(3, 150, "mm_page_free", actor="other", cpu=1, pid=3, tid=3, pfn=16, order=0),
    record(4, 260, "mm_page_alloc_zone_locked", **ZONE, cause=2, **FOR_APP, pfn=17, order=0)
    | {"migratetype": 1, "percpu_refill": True},
    record(5, 300, "ipi_send", cpu=2, pid=7, tid=9, span=1, id=1, vector="TLB", targets=[1, 12]),
    flush(6, 700, 1, actor="other", cpu=1, pid=3, tid=3, cause=5, **FOR_APP),
    record(7, 300, "mm_page_alloc", actor="other", cpu=1, pid=3, tid=3, pfn=None, order=1)
    | {"gfp_flags": 0x100CCA | 0x100, "migratetype": 1},
    record(8, 900, "sys_exit", cpu=2, pid=7, tid=9, span=1, call="munmap A", nr=11, ret=-12),
)


@pytest.fixture
def log(tmp_path):
    """A log of eight events; those of another CPU come before their time and after it."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in (HEAD, *RECORDS)))
    return path


def shown(capsys, *arguments):
    """Return what a command prints; it must succeed."""
    code = run_command(list(map(str, arguments)))
    captured = capsys.readouterr()

    assert (0, "") == (code, captured.err)
    return captured.out.splitlines()


def numbers(capsys, log, *arguments):
    lines = shown(capsys, "logs", log, "--format", "json", *arguments)
    return [orjson.loads(line)["seq"] for line in lines]


def test_events_are_shown_in_the_order_of_time(capsys, log):
    """Those of one time stay as they are numbered; `--by seq` is the order of the file."""
    assert [1, 3, 2, 4, 5, 7, 6, 8] == numbers(capsys, log)
    assert [1, 2, 3, 4, 5, 6, 7, 8] == numbers(capsys, log, "--by", "seq")


def test_only_times_and_places_are_kept_for_the_order(log):
    """Each line that is wanted is read again in its turn."""
    lines = list(read_in_time_order(log, lambda each: each["seq"] != 4))

    assert [1, 3, 2, 5, 7, 6, 8] == [each["seq"] for _, each in lines]
    assert all(orjson.loads(line) == each for line, each in lines)


def test_following_is_by_number(capsys, log):
    """What is yet to come may be earlier; who wants both is told."""
    assert [1, 2, 3, 4, 5, 6, 7, 8] == numbers(capsys, log, "--follow")

    assert 2 == run_command(["logs", str(log), "--follow", "--by", "time"])
    error = capsys.readouterr().err
    assert error.startswith("--by: time with --follow; expected seq")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--cpu", "2"], [1, 2, 4, 5, 6, 8]),
        (["--pid", "7"], [1, 2, 4, 5, 6, 8]),
        (["--pid", "3"], [3, 7, 6]),
        (["--tid", "9"], [1, 2, 5, 8]),
        (["--span", "1"], [1, 2, 4, 5, 6, 8]),
        (["--span", "2"], [2, 4]),
        (["--span", "5"], [5, 6]),
        (["--span", "1", "--event", "tlb_flush"], [6]),
        (["--span", "3"], [3]),
        (["--where", "reason=remote shootdown"], [6]),
        (["--where", "reason~shoot"], [6]),
        (["--where", "reason!=remote shootdown"], []),
        (["--where", "gfp_flags~__GFP_ZERO"], [7]),
        (["--where", "gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_ZERO"], [7]),
        (["--where", "call~unmap"], [1, 8]),
        (["--where", "call~'munmap A'"], [1, 8]),
        (["--where", "ret=-ENOMEM"], [8]),
        (["--where", "ret<0"], [8]),
        (["--where", "address~7f0000"], [2]),
        (["--where", "targets=12"], [5]),
        (["--where", "targets~2"], [5]),
        (["--where", "targets!=2"], [5]),
        (["--where", "targets=2"], []),
        (["--where", "for_actor=app", "--where", "cause=2"], [4]),
        (["--where", "pfn~1"], [3, 4]),
        (["--where", "call=7"], []),
        (["--where", "call!=7"], [1, 8]),
        (["--where", "pfn>=16"], [3, 4]),
    ],
)
def test_one_command_finds(capsys, log, arguments, expected):
    """What was done for a CPU or a process, all of a call, values by the names that are shown."""
    assert expected == numbers(capsys, log, *arguments)


def test_a_span_that_is_none_is_told(capsys, log):
    """Nothing is shown, and not silently; what other filters leave out is another thing."""
    assert 2 == run_command(["logs", str(log), "--span", "99"])
    captured = capsys.readouterr()
    assert captured.err.startswith("--span: no event belongs to 99; expected the number of an")
    assert "" == captured.out
    assert [] == numbers(capsys, log, "--span", "3", "--cpu", "2")


def test_a_span_takes_what_it_led_to_and_nothing_else():
    """The filter sees records in the order of their numbers."""
    of_fault = SpanFilter(2)

    assert [2, 4] == [each["seq"] for each in RECORDS if of_fault.wants(each)]


@pytest.mark.parametrize("text", ["pfn~", "~7", "call>munmap"])
def test_a_comparison_that_says_nothing_is_told(text):
    """Texts compare with equal, unequal and contains."""
    with pytest.raises(UserError, match=r"expected (FIELD|a number after)"):
        Where.parse(text)


def test_a_table_shows_names_addresses_and_why(capsys, log):
    """One line an event, below one head."""
    lines = shown(capsys, "logs", log, "--span", "2")

    assert TABLE_HEAD == lines[0]
    assert (
        "       2            250 app                2     7     9        2  page_fault_user "
        "address=0x7f0000001000 ip=- error_code=0x6  (because of 1)"
    ) == lines[1]
    assert lines[2].endswith(
        "mm_page_alloc_zone_locked pfn=0x11 order=0 migratetype=1 percpu_refill=1"
        "  (because of 2, for app)"
    )


def test_ftrace_shows_who_asked_where_an_actor_has_no_cpu():
    """The kernel does under zone->lock what our zones do, on the CPU of who asked."""
    text = FtraceText()
    lines = [text.line(each) for each in RECORDS]

    assert lines[0].startswith("             app-9       [002] .....     0.000000100: sys_enter: ")
    assert lines[3].startswith("             app-9       [002] .....     0.000000260: mm_page_allo")
    assert lines[5].startswith("           other-3       [001] .....     0.000000700: tlb_flush: p")
    assert lines[4].endswith("ipi_send: id=1 vector=TLB targets=1,12")


def test_who_asked_is_known_by_what_it_did_before(capsys, log):
    """Also if that is not shown."""
    lines = shown(capsys, "logs", log, "--format", "ftrace", "--event", "mm_page_alloc_z*")

    assert 1 == len([line for line in lines if not line.startswith("#")])
    assert "             app-9       [002] " in lines[-1]


def test_an_idle_cpu_is_idle():
    """As the kernel names it."""
    idle = record(1, 0, "tlb_flush", actor="cpu3", cpu=3, pid=None, tid=None, reason=0, pages=0)

    assert FtraceText().line(idle).startswith("          <idle>-0       [003] ")


def test_names_cannot_control_the_terminal(capsys, tmp_path):
    """Whatever a log holds as a name is written out."""
    bad = "a\x1b[31m\n\u202eb"
    path = tmp_path / "events.jsonl"
    records = [
        record(1, 0, "sys_enter", actor=bad, span=1, call=bad, nr=None, args=[]),
        record(2, 1, "contention_begin", actor=bad, span=1, lock=bad, holder=bad, flags=1)
        | {"class": bad},
        record(3, 5, "contention_end", actor=bad, span=1, cause=2, lock=bad, ret=0, wait_ns=4),
        record(4, 9, "sys_exit", actor=bad, span=1, call=bad, nr=None, ret=0),
        record(5, 9, bad, what=bad),
    ]
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in (HEAD, *records)))

    texts = [
        *shown(capsys, "logs", path),
        *shown(capsys, "logs", path, "--format", "ftrace"),
        *shown(capsys, "waits", path),
        *shown(capsys, "top", path, "calls"),
        *shown(capsys, "top", path, "waits"),
    ]

    assert len(texts) > 20
    assert [] == [line for line in texts if not line.isprintable()]
    assert any(r"a\x1b[31m\n\u202eb" in line for line in texts)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"seq":1}', "2: no event; expected a JSON object with seq, t"),
        (b"garbage", "2: no event; expected"),
        (orjson.dumps(record(1, "x", "new")), "2: no event; expected"),
        (orjson.dumps(record(1, 0, "tlb_flush", pages=1)), "2: tlb_flush has no reason that is"),
        (orjson.dumps(flush(1, 0, "four")), "2: tlb_flush has no reason that is one; expected"),
        (orjson.dumps(flush(1, 0, 4, span="x")), "2: tlb_flush has no span that is one"),
    ],
)
@pytest.mark.parametrize("verb", [["logs"], ["waits"], ["top"], ["top", "calls"]])
def test_a_damaged_line_is_told_with_its_number(capsys, tmp_path, line, expected, verb):
    """Missing fields, and fields of another type; never a traceback."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(orjson.dumps(HEAD) + b"\n" + line + b"\n")

    code = run_command([verb[0], str(path), *verb[1:]])

    assert 2 == code
    error = capsys.readouterr().err
    assert error.startswith(f"{path}:{expected}")
    assert error.endswith("(the log was changed or damaged; run the scenario again)\n")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "an empty file; expected"),
        (b'{"schema":"mmactors.events","version":"1.0"}\n', ":1: version 1.0 of the log; expected"),
    ],
)
@pytest.mark.parametrize("verb", ["logs", "waits", "top"])
def test_what_is_no_log_is_told(capsys, tmp_path, content, expected, verb):
    """An empty file, as a run leaves it that was killed at once; logs of an older schema."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)

    assert 2 == run_command([verb, str(path)])
    assert expected in capsys.readouterr().err


def test_filters_know_what_was_done_for_others():
    """By CPU and process, not by thread: an event does not say which thread it was for."""
    for_app = [each["seq"] for each in RECORDS if LogFilter(cpus=(2,)).wants(each)]
    of_thread = [each["seq"] for each in RECORDS if LogFilter(tids=(9,)).wants(each)]

    assert [1, 2, 4, 5, 6, 8] == for_app
    assert [1, 2, 5, 8] == of_thread


def test_an_event_of_a_newer_version_is_shown(tmp_path):
    """Its fields as they are."""
    path = tmp_path / "events.jsonl"
    new = record(1, 0, "new", what=[1, {"a": 2}], big=1 << 70 >> 10)
    path.write_bytes(orjson.dumps(HEAD | {"version": "2.7"}) + b"\n" + orjson.dumps(new) + b"\n")

    (line, found), *_ = read_log(path)

    assert new == found
    assert line.endswith(b"}\n")
    assert table_line(found).endswith("new what=1,{'a': 2} big=1152921504606846976")
