"""Where the time of calls goes, against a model that looks at every ns; and damaged logs."""

import contextlib
import io
import itertools
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmactors.cli.main import run_command
from mmactors.observe.history.track import NONE, Kind, Track

END_NS = 40


@st.composite
def tracks(draw):
    """Return the track of an actor that goes into calls, waits in them and outside, and returns.

    Calls and waits nest; one wait may end later than the call that it was in, as the sleep of a
    thread that dies, and one may begin before the end of another.
    """
    track = Track("a")
    open_waits = []
    moves = st.sampled_from(["open", "close", "wait", "go on", "time"])
    t_ns = 0
    for move in draw(st.lists(moves, max_size=30)):
        match move:
            case "open":
                index = track.spans.begin(Kind.CALL, t_ns, 0, track.in_span())
                track.stack.append((0, index, ""))
            case "close" if track.stack:
                track.spans.end(track.stack.pop()[1], t_ns, 0)
            case "wait":
                open_waits.append(track.waits.begin(Kind.LOCK, t_ns, 0, track.in_span()))
            case "go on" if open_waits:
                which = draw(st.integers(0, len(open_waits) - 1))
                track.waits.end(open_waits.pop(which), t_ns, 0)
            case _:
                t_ns += draw(st.integers(1, 4))
    return track


def lasts(intervals, index, t_ns):
    """Return whether something lasts during the ns that begins at a time."""
    began_ns, ended_ns = intervals.began[index], intervals.ended[index]
    return began_ns <= t_ns and (t_ns < ended_ns or ended_ns == -1)


@given(tracks(), st.integers(0, END_NS))
@settings(max_examples=300)
def test_what_an_actor_is_in_is_the_last_that_began_and_lasts(track, t_ns):
    """The innermost of calls that lie one in another."""
    expected = [index for index in range(len(track.spans.began)) if lasts(track.spans, index, t_ns)]

    assert max(expected, default=NONE) == track.span_at(t_ns)


@given(tracks(), st.data())
@settings(max_examples=300)
def test_each_ns_of_a_call_is_waited_for_at_most_once(track, data):
    """And exactly when some wait of the call lasts that is over."""
    spans = [index for index, end in enumerate(track.spans.ended) if end != NONE]
    if not spans:
        return
    span = data.draw(st.sampled_from(spans))
    began_ns, ended_ns = track.spans.began[span], track.spans.ended[span]
    waits = track.waits
    root = track.span_at(began_ns)
    while root != NONE and track.spans.outer[root] != NONE:
        root = track.spans.outer[root]
    since_ns = began_ns if root == NONE else track.spans.began[root]

    parts = list(track.waits_within(began_ns, ended_ns))

    waited = list(itertools.chain.from_iterable(range(at, to) for _, at, to in parts))
    expected = {
        t_ns
        for t_ns in range(began_ns, ended_ns)
        for index, end in enumerate(waits.ended)
        if end != NONE and lasts(waits, index, t_ns) and waits.began[index] >= since_ns
    }
    assert sorted(expected) == waited
    assert all(lasts(waits, index, at) for index, at, _ in parts)


HEAD = {"schema": "mmactors.events", "version": "2.0"}
WHO = {"actor": "a", "cpu": 0, "pid": 1, "tid": 1}
SWITCH = {"prev_comm": "a", "prev_pid": 1, "prev_prio": 120, "prev_state": 2} | {
    "next_comm": "b",
    "next_pid": 2,
    "next_prio": 120,
}
STORY = (
    {"event": "sys_enter", "span": 1, "call": "munmap A", "nr": 11, "args": [1, 2]},
    {"event": "page_fault_user", "span": 2, "cause": 1, "address": 1, "ip": 1, "error_code": 6},
    {"event": "contention_begin", "span": 2, "lock": "l", "class": "c", "holder": "a", "flags": 1},
    {"event": "sched_switch", "span": 2, **SWITCH},
    {"event": "sched_waking", "comm": "a", "task_pid": 1, "prio": 120, "target_cpu": 0},
    {"event": "contention_end", "span": 2, "cause": 3, "lock": "l", "ret": 0, "wait_ns": 30},
    {"event": "ipi_send", "span": 2, "id": 1, "vector": "TLB", "targets": [0]},
    {"event": "ipi_handled", "cause": 7, "for_actor": "a", "id": 1, "vector": "TLB", "ns": 5},
    {"event": "page_fault_end", "span": 2, "address": 1, "kind": "anon", "ns": 5, "ret": 0}
    | {"sig": None, "pfn": 3},
    {"event": "mm_page_alloc", "pfn": 4, "order": 0, "gfp_flags": 1, "migratetype": 1},
    {"event": "tlb_flush", "reason": 4, "pages": -1},
    {"event": "sys_exit", "span": 1, "call": "munmap A", "nr": 11, "ret": 0},
    {"event": "sched_process_exit", "comm": "a", "task_pid": 1, "prio": 120},
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.integers(-3, 15),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "a", "sys_exit", "\x1b[2J", "swapper/0"]),
    st.lists(st.one_of(st.integers(0, 3), st.text(max_size=2)), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(0, 9), max_size=2),
)
COMMANDS = (
    ["logs"],
    ["logs", "--by", "seq", "--span", "1"],
    ["logs", "--format", "ftrace"],
    ["logs", "--where", "reason~ipi"],
    ["logs", "--where", "flags>0", "--cpu", "0"],
    ["waits"],
    ["waits", "--json"],
    ["top", "faults"],
    ["top", "calls", "--json"],
    ["top", "waits"],
)


def run_quietly(arguments):
    """Return a command's exit code and what it wrote; an exception is the test's end."""
    out, err = io.TextIOWrapper(io.BytesIO(), write_through=True), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(arguments)
    return code, out.buffer.getvalue().decode(), err.getvalue()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Where the damaged logs are."""
    return tmp_path_factory.mktemp("damaged") / "events.jsonl"


@given(st.data())
@settings(max_examples=150)
def test_a_damaged_log_is_read_or_refused_with_four_parts(path, data):
    """Lines that are missing, twice, in another order; fields that are gone, or something else."""
    story = [
        {"seq": seq, "t": 10 * seq, **WHO, **fields} for seq, fields in enumerate(STORY, start=1)
    ]
    chosen = data.draw(st.lists(st.sampled_from(range(len(story))), max_size=4, unique=True))
    for index in chosen:
        name = data.draw(st.sampled_from(sorted(story[index])))
        story[index][name] = data.draw(VALUES)
        if data.draw(st.integers(0, 3)) == 0:
            del story[index][name]
    order = data.draw(
        st.one_of(
            st.just(range(len(story))),
            st.lists(st.sampled_from(range(len(story))), max_size=16),
        )
    )
    lines = [HEAD, *(story[index] for index in order)]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    command = data.draw(st.sampled_from(COMMANDS))

    code, out, err = run_quietly([command[0], str(path), *command[1:]])

    assert code in {0, 2}
    assert (code == 2) == bool(err)
    if err:
        # Of the span that is asked for nothing may be left.
        assert err.startswith((f"{Path(path)}:", "--span: no event belongs to "))
        assert "; expected" in err
        assert err.endswith(")\n")
    assert "\x1b" not in out
