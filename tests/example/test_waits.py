"""`mmactors waits` and `mmactors top`: from a log one finds who waited for whom, and why.

The answers about a run of configs/waits.yaml are held against the log itself, searched by other
means; a log of a few lines shows what becomes of each kind of wait.
"""

import os
import re
import shlex
from collections import Counter, defaultdict
from pathlib import Path

import orjson
import pytest

from mmactors.cli.main import run_command

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "configs" / "waits.yaml"
DOCUMENT = ROOT / "docs" / "logs.md"
RENEW = "MMACTORS_RENEW_GOLDEN"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of four CPUs with a fork, copies on write, and munmaps."""
    out = tmp_path_factory.mktemp("waits") / "run"
    assert 0 == run_command(["run", str(SCENARIO), "--out", str(out), "-q"])
    return out


@pytest.fixture(scope="module")
def records(run_dir):
    """Its log, by numbers."""
    lines = (run_dir / "events.jsonl").read_bytes().splitlines()[1:]
    return {each["seq"]: each for each in map(orjson.loads, lines)}


def answer(capsys, *arguments):
    assert 0 == run_command([*map(str, arguments), "--json"])
    return orjson.loads(capsys.readouterr().out)


def screen(capsys, *arguments):
    assert 0 == run_command(list(map(str, arguments)))
    return capsys.readouterr().out


def named(records, name):
    return [each for each in records.values() if each["event"] == name]


def call_of(records, each):
    """Return the call in which an event happened, or that it was in a fault."""
    opener = records.get(each.get("span"))
    if opener is None:
        return "no call"
    return opener.get("call", "page faults")


def test_the_ten_slowest_faults_are_found(capsys, run_dir, records):
    """A fault's end says how long it took; among equals the earliest are first."""
    ends = sorted(
        named(records, "page_fault_end"), key=lambda each: (-each["ns"], each["t"] - each["ns"])
    )
    found = answer(capsys, "top", run_dir, "faults")["faults"]

    assert [each["ns"] for each in ends[:10]] == [each["ns"] for each in found]
    assert len(ends) == len(named(records, "page_fault_user"))
    for each in found:
        end = next(end for end in ends if end["span"] == each["doing"]["seq"])
        doing = each["doing"]
        assert (end["ns"], end["kind"], end["pfn"]) == (each["ns"], doing["kind"], doing["pfn"])
        assert (end["actor"], end["address"]) == (doing["actor"], doing["address"])


def test_what_a_slow_fault_waited_for_is_what_the_log_says(capsys, run_dir, records):
    """Every wait for a lock that has the fault as its span, with who had it."""
    found = answer(capsys, "top", run_dir, "faults")["faults"]
    ends = named(records, "contention_end")
    nr_waits = 0
    for each in found:
        of_it = [end for end in ends if end.get("span") == each["doing"]["seq"]]
        expected = sorted(
            (end["cause"], end["wait_ns"], end["lock"], records[end["cause"]]["holder"])
            for end in of_it
        )
        locks = [wait for wait in each["waits"] if wait["kind"] == "lock"]
        nr_waits += len(locks)

        assert expected == [(wait["seq"], wait["ns"], wait["lock"], wait["of"]) for wait in locks]
        assert each["waited_ns"] == sum(wait["ns"] for wait in each["waits"]) <= each["ns"]
    assert nr_waits > 10


def test_who_had_a_lock_was_doing_what_the_log_says(capsys, run_dir, records):
    """The innermost call or fault of the holder that had begun and not ended."""
    openers = {"sys_enter", "page_fault_user", "page_fault_kernel"}
    ends = {
        each["span"]: each["t"]
        for name in ("sys_exit", "page_fault_end")
        for each in named(records, name)
    }
    for wait in answer(capsys, "waits", run_dir, "-n", "50")["locks"]:
        began_ns = wait["began_ns"]
        open_then = [
            each["seq"]
            for each in records.values()
            if each["event"] in openers
            and each["actor"] == wait["of"]
            and each["t"] <= began_ns < ends.get(each["seq"], 1 << 62)
        ]
        doing = wait["of_doing"]

        assert max(open_then, default=None) == (doing and doing["seq"])


def test_who_waited_longest_for_which_lock_and_who_held_it(capsys, run_dir, records):
    """The waits, their sums by class and by pair, and what /proc/lock_stat has counted."""
    ends = named(records, "contention_end")
    begins = [records[end["cause"]] for end in ends]
    classes, pairs = defaultdict(Counter), defaultdict(Counter)
    for begin, end in zip(begins, ends, strict=True):
        classes[begin["class"]].update(count=1, total_ns=end["wait_ns"])
        pairs[begin["actor"], begin["holder"], begin["class"]].update(
            count=1, total_ns=end["wait_ns"]
        )
    found = answer(capsys, "waits", run_dir)

    assert len(ends) > 50
    assert {name: (each["count"], each["total_ns"]) for name, each in classes.items()} == {
        name: (each["count"], each["total_ns"]) for name, each in found["classes"].items()
    }
    assert {key: (each["count"], each["total_ns"]) for key, each in pairs.items()} == {
        (each["actor"], each["of"], each["class"]): (each["count"], each["total_ns"])
        for each in found["pairs"]
    }
    assert sorted((end["wait_ns"] for end in ends), reverse=True)[:10] == [
        wait["ns"] for wait in found["locks"]
    ]
    longest = max(ends, key=lambda end: (end["wait_ns"], -end["seq"]))
    begin = records[longest["cause"]]
    first = found["locks"][0]
    assert (begin["actor"], begin["lock"], begin["holder"], begin["t"]) == (
        *(first["actor"], first["lock"], first["of"]),
        first["began_ns"],
    )


def test_the_sums_are_those_of_lock_stat(capsys, run_dir):
    """The file counts readers and writers of a semaphore apart, and has hundredths of us."""
    counted = Counter()
    for line in (run_dir / "proc" / "lock_stat").read_text().splitlines():
        match = re.match(r" *(\S.*?)(?:-[RW])?: +\d+ +(\d+) +\S+ +\S+ +(\S+)", line)
        if match is not None and int(match[2]):
            counted[match[1], "count"] += int(match[2])
            counted[match[1], "total_us"] += float(match[3])

    found = answer(capsys, "waits", run_dir)["classes"]

    assert {name for name, _ in counted} == set(found)
    for name, total in found.items():
        assert counted[name, "count"] == total["count"]
        assert counted[name, "total_us"] == pytest.approx(total["total_ns"] / 1000, abs=0.02)


def test_which_munmap_interrupted_which_cpus(capsys, run_dir, records):
    """By who sent the interrupts, and in which call; each waited for the last answer."""
    sent = [each for each in named(records, "ipi_send") if each["targets"]]
    expected, total_ns = defaultdict(Counter), Counter()
    for each in sent:
        key = each["actor"], call_of(records, each)
        answers = [done["t"] for done in named(records, "ipi_handled") if done["id"] == each["id"]]
        assert len(each["targets"]) == len(answers)
        expected[key].update(map(str, each["targets"]))
        total_ns[key] += max(answers) - each["t"]
    found = {
        (each["actor"], each["call"]): each
        for each in answer(capsys, "waits", run_dir)["interruptions"]
    }

    assert ("server", "munmap A") in found
    assert expected == {key: each["cpus"] for key, each in found.items()}
    assert total_ns == {key: each["total_ns"] for key, each in found.items()}
    text = screen(capsys, "waits", run_dir)
    cpus = found["server", "munmap A"]["cpus"]
    shown = ", ".join(f"CPU {cpu} {nr}x" for cpu, nr in sorted(cpus.items()))
    assert re.search(rf"server +munmap A +{shown}\n", text)


def test_the_slowest_calls_are_found(capsys, run_dir, records):
    """From their beginning to their end, the faults inside of them too."""
    times = sorted(
        (records[end["span"]]["t"] - end["t"] for end in named(records, "sys_exit")),
    )
    ended = answer(capsys, "top", run_dir, "calls", "-n", "99")["calls"]
    returned = [each for each in ended if each["doing"]["ret"] is not None]

    assert times == [-each["ns"] for each in returned]
    assert ["exit_group"] == sorted(
        {each["doing"]["call"] for each in ended if each["doing"]["ret"] is None} - {"exit"}
    )


def test_screens_hold_what_the_answers_hold(capsys, run_dir):
    """The same waits, in words; folded to the width of the terminal."""
    found = answer(capsys, "top", run_dir, "faults", "-n", "3")["faults"]
    text = screen(capsys, "top", run_dir, "faults", "-n", "3")

    for each in found:
        assert f"[span {each['doing']['seq']}]" in text
    assert text.startswith("the slowest 3 of ")


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("arguments", [["waits"], ["top", "faults"], ["top", "waits"]])
def test_no_line_is_wider_than_the_terminal(capsys, monkeypatch, run_dir, columns, arguments):
    """Long lines go on below, as deep as they began."""
    monkeypatch.setenv("COLUMNS", str(columns))

    text = screen(capsys, arguments[0], run_dir, *arguments[1:])

    assert max(map(len, text.splitlines())) <= columns


def blocks(text):
    """Yield the commands that a document shows, each with its output."""
    for match in re.finditer(r"```\n\$ (mmactors .*)\n((?:.*\n)*?)```\n", text):
        yield match[1], match[2]


def test_the_document_shows_what_the_commands_print(capsys, monkeypatch, run_dir):
    """On a terminal of 120 columns; MMACTORS_RENEW_GOLDEN=1 writes it anew."""
    monkeypatch.setenv("COLUMNS", "120")
    text = DOCUMENT.read_text()
    for command, shown in blocks(text):
        command_line, _, head = command.partition(" | head -")
        words = shlex.split(command_line.replace("runs/latest", str(run_dir)))
        lines = screen(capsys, *words[1:]).splitlines()[: int(head) if head else None]
        output = "".join(f"{line}\n" for line in lines)
        if os.environ.get(RENEW) == "1":
            text = text.replace(f"$ {command}\n{shown}```", f"$ {command}\n{output}```")
            DOCUMENT.write_text(text)
        else:
            assert output == shown, f"{command}: {RENEW}=1 renews docs/logs.md"

    assert 6 == len(list(blocks(text)))


# -- a log of a few lines --------------------------------------------------------------------------

WHO = {"a": (0, 1, 1), "b": (1, 1, 2), "c": (2, 3, 3), "cpu3": (3, None, None)}
"""Actors: their CPU, process and thread."""


def line(seq, t_ns, actor, event, **fields):
    cpu, pid, tid = WHO[actor]
    who = {"actor": actor, "cpu": cpu, "pid": pid, "tid": tid}
    names = {"klass": "class"}
    fields = {names.get(name, name): value for name, value in fields.items()}
    return {"seq": seq, "t": t_ns, **who, "event": event, **fields}


def enter(seq, t_ns, actor, call):
    return line(seq, t_ns, actor, "sys_enter", span=seq, call=call, nr=11, args=[])


def leave(seq, t_ns, actor, span, call):
    return line(seq, t_ns, actor, "sys_exit", span=span, call=call, nr=11, ret=0)


def switch(seq, t_ns, actor, state, prev, then, **more):
    fields = {"prev_comm": prev[0], "prev_pid": prev[1], "prev_prio": 120, "prev_state": state}
    fields |= {"next_comm": then[0], "next_pid": then[1], "next_prio": 120}
    return line(seq, t_ns, actor, "sched_switch", **more, **fields)


def begin(seq, t_ns, actor, holder, **more):
    fields = {"lock": "L", "klass": "cls", "holder": holder, "flags": 4}
    return line(seq, t_ns, actor, "contention_begin", **more, **fields)


def end(seq, t_ns, actor, cause, wait_ns):
    fields = {"cause": cause, "lock": "L", "ret": 0, "wait_ns": wait_ns}
    return line(seq, t_ns, actor, "contention_end", **fields)


IDLE = ("swapper/0", 0)
STORY = (
    enter(1, 0, "b", "mprotect B"),
    enter(2, 10, "a", "munmap A"),
    # a waits for b, asleep; b itself waits for an answer of CPUs 2 and 3.
    begin(3, 20, "a", "b", span=2),
    switch(4, 20, "a", 2, ("a", 1), IDLE, span=2),
    line(5, 30, "b", "ipi_send", span=1, id=1, vector="TLB", targets=[2, 3]),
    line(6, 40, "c", "ipi_handled", cause=5, for_actor="b", id=1, vector="TLB", ns=5),
    line(7, 70, "cpu3", "ipi_handled", cause=5, for_actor="b", id=1, vector="TLB", ns=6),
    line(8, 80, "b", "sched_waking", span=1, comm="a", task_pid=1, prio=120, target_cpu=0),
    leave(9, 90, "b", 1, "mprotect B"),
    # a has the lock at 80, and goes on at 100, when it gets its CPU.
    switch(10, 100, "cpu3", 0, IDLE, ("a", 1), cause=8),
    end(11, 100, "a", 3, 60),
    # Then it is preempted by c, and interrupted.
    switch(12, 110, "a", 0, ("a", 1), ("c", 3), span=2),
    switch(13, 150, "c", 1, ("c", 3), ("a", 1)),
    line(14, 160, "a", "ipi_handled", cause=99, for_actor="c", id=7, vector="TLB", ns=4),
    leave(15, 200, "a", 2, "munmap A"),
)


def write(path, story=STORY):
    head = {"schema": "mmactors.events", "version": "2.0"}
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in (head, *story)))
    return path


def test_the_time_of_a_call_goes_to_what_it_waited_for_each_ns_once(capsys, tmp_path):
    """A sleep for a lock is the lock's, and what is left of it until the thread has its CPU."""
    log = write(tmp_path / "events.jsonl")

    slowest = answer(capsys, "top", log, "calls")["calls"][0]

    assert ("munmap A", 190) == (slowest["doing"]["call"], slowest["ns"])
    assert [
        ("lock", 20, 60, "b"),
        ("asleep", 80, 20, "b"),
        ("cpu", 110, 40, "c"),
        ("interrupt", 156, 4, "c"),
    ] == [(wait["kind"], wait["began_ns"], wait["ns"], wait["of"]) for wait in slowest["waits"]]
    assert 124 == slowest["waited_ns"]


def test_the_chain_leads_to_what_the_holder_waited_for(capsys, tmp_path):
    """b had the lock in mprotect, and waited for the answer of the idle CPU 3."""
    log = write(tmp_path / "events.jsonl")

    first, second = answer(capsys, "top", log, "waits")["waits"]

    assert ("lock", 60, "b", "mprotect B") == (
        *(first["kind"], first["ns"], first["of"]),
        first["of_doing"]["call"],
    )
    (inside,) = first["inside"]
    assert ("answers", 30, 40, [2, 3], 3, None) == (
        *(inside["kind"], inside["began_ns"], inside["ns"], inside["cpus"]),
        *(inside["last_cpu"], inside["of"]),
    )
    assert ("answers", 40) == (second["kind"], second["ns"])


def test_the_chain_is_followed_for_the_longest_waits(capsys, tmp_path):
    """A call may wait a million times; whose waits are short is still told of each."""
    story = [enter(1, 0, "a", "munmap A")]
    seq, t_ns = 2, 0
    for ns in range(10, 40):
        story += [
            begin(seq, t_ns, "a", "b", span=1),
            begin(seq + 1, t_ns + 1, "b", "c"),
            end(seq + 2, t_ns + ns - 1, "b", seq + 1, ns - 2),
            end(seq + 3, t_ns + ns, "a", seq, ns),
        ]
        seq, t_ns = seq + 4, t_ns + ns
    story.append(leave(seq, t_ns, "a", 1, "munmap A"))
    log = write(tmp_path / "events.jsonl", story)

    (call,) = answer(capsys, "top", log, "calls")["calls"]

    assert [(ns, "b") for ns in range(10, 40)] == [
        (wait["ns"], wait["of"]) for wait in call["waits"]
    ]
    assert list(range(20, 40)) == [wait["ns"] for wait in call["waits"] if wait["inside"]]


GOLDEN_CALLS = """\
the slowest 2 of 2 calls, which took 280ns in all

 time  waited  began (ns)  who  cpu  what, and what it waited for
190ns   124ns          10  a      0  munmap A [span 2]
                                       60ns: L [WRITE], held by b (mprotect B)
                                         40ns: CPUs 2, 3 to answer an interrupt, last CPU 3, which
                                         was idle
                                       40ns: the CPU, which c had
                                       20ns: asleep, until b (mprotect B) woke it
                                       4ns: interrupted by c
 90ns    40ns           0  b      1  mprotect B [span 1]
                                       40ns: CPUs 2, 3 to answer an interrupt, last CPU 3, which was
                                       idle
"""
GOLDEN_WAITS = """\
waits for locks: 1, 60ns in all

times  total  longest  class of lock
    1   60ns     60ns  cls

who waited for whom
times  total  longest  who  waited for  class of lock
    1   60ns     60ns  a    b           cls

the longest
time  began (ns)  who  cpu  in, and what it waited for
60ns          20  a      0  munmap A [span 2]
                              L [WRITE], held by b (mprotect B)
                                40ns: CPUs 2, 3 to answer an interrupt, last CPU 3, which was idle

waits for CPUs that were interrupted: 1, 40ns in all

who interrupted which CPUs
times  total  longest  who  in          interrupted
    1   40ns     40ns  b    mprotect B  CPU 2 1x, CPU 3 1x

the longest
time  began (ns)  who  cpu  in, and what it waited for
40ns          30  b      1  mprotect B [span 1]
                              CPUs 2, 3 to answer an interrupt, last CPU 3, which was idle
"""


def test_the_screens_are_these(capsys, monkeypatch, tmp_path):
    """Word for word, on a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    log = write(tmp_path / "events.jsonl")

    assert GOLDEN_CALLS == screen(capsys, "top", log, "calls")
    assert GOLDEN_WAITS == screen(capsys, "waits", log)


def test_what_waits_still_is_counted(capsys, tmp_path):
    """A run that was ended, or a deadlock."""
    log = write(tmp_path / "events.jsonl", STORY[:6])

    assert ["2 waits were not over when the log ends"] == answer(capsys, "waits", log)["notes"]
    assert "no calls" == screen(capsys, "top", log, "calls").splitlines()[0]


def test_an_empty_log_has_no_waits(capsys, tmp_path):
    """Its head is there, and nothing has happened."""
    log = write(tmp_path / "events.jsonl", ())

    assert screen(capsys, "waits", log).startswith("waits for locks: 0, 0ns in all\nwaits for CPUs")
    assert "no faults\n" == screen(capsys, "top", log)
    assert "no waits\n" == screen(capsys, "top", log, "waits")


@pytest.mark.parametrize(
    ("arguments", "left_out", "expected"),
    [
        (["waits"], ("contention", "ipi"), "no contention_begin, contention_end, ipi_send"),
        (["top", "calls"], ("sys",), "has no sys_enter, sys_exit; expected a log of calls (run it"),
        (["top", "faults"], ("sys",), "has no page_fault_user, page_fault_kernel, page_fault_end"),
    ],
)
def test_a_log_that_leaves_out_what_is_asked_for_is_told(
    capsys, tmp_path, arguments, left_out, expected
):
    """Numbers are missing, so it cannot be said that nothing of the kind happened."""
    story = [each for each in STORY if not each["event"].startswith(left_out)]
    log = write(tmp_path / "events.jsonl", story)

    assert 2 == run_command([arguments[0], str(log), *arguments[1:]])
    error = capsys.readouterr().err
    assert expected in error
    assert "{events: ['contention_*', 'ipi_*', 'page_fault_*', 'sys_*', 'sched_*']}" in error


def test_what_an_answer_lacks_is_said_below_it(capsys, tmp_path):
    """Waits are there; what those were doing that waited is not."""
    story = [each for each in STORY if not each["event"].startswith("sys")]
    log = write(tmp_path / "events.jsonl", story)

    text = screen(capsys, "waits", log)

    assert "no call or fault that is recorded" in text
    assert "note: calls are not recorded: add 'sys_*' to record: events" in text
    assert "note: page faults are not recorded: add 'page_fault_*' to record: events" in text


def test_half_of_a_call_is_no_call(capsys, tmp_path):
    """A call whose beginning is left out, and one that encloses it."""
    story = (
        enter(5, 0, "a", "outer"),
        leave(7, 50, "a", 6, "inner"),
        leave(9, 70, "a", 5, "outer"),
    )
    log = write(tmp_path / "events.jsonl", story)

    (call,) = answer(capsys, "top", log, "calls")["calls"]

    assert ("outer", 70) == (call["doing"]["call"], call["ns"])


@pytest.mark.parametrize("number", ["0", "-3"])
def test_no_rows_are_no_answer(capsys, tmp_path, number):
    """At least one."""
    assert 2 == run_command(["waits", str(write(tmp_path / "events.jsonl")), "-n", number])
    assert capsys.readouterr().err.startswith(f"-n: {number} rows; expected at least 1")
