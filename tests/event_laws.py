"""Laws that every log of a machine which has run to its end keeps; docs/events.md states them."""

from collections import Counter, defaultdict

import orjson

from mmactors.observe.history.read import LogHistory
from mmactors.observe.history.track import OPEN, Kind

OPENING = {"sys_enter", "page_fault_user", "page_fault_kernel"}
CLOSING = {"sys_exit": "sys_enter", "page_fault_end": "page_fault_"}
NEVER_RETURN = ("exit", "exit_group")
REMOTE_SEND_IPI = 4


def records_of(log):
    """Return the events of an events.jsonl, in order."""
    return [orjson.loads(line) for line in log.splitlines()[1:]]


def assert_numbers_and_times_go_on(records):
    """Events are numbered without gaps, and nobody's time goes back."""
    assert list(range(1, len(records) + 1)) == [record["seq"] for record in records]
    last = {}
    for record in records:
        assert last.get(record["actor"], 0) <= record["t"], record
        last[record["actor"]] = record["t"]


def assert_spans_are_a_tree(records):
    """What an actor does itself belongs to what it began last and has not ended.

    Only the end of a thread by itself is never over, and nothing is left open but that.
    """
    opened = defaultdict(list)
    for record in records:
        stack, name, span = opened[record["actor"]], record["event"], record.get("span")
        if "for_actor" in record:
            assert span is None, record
            continue
        if name in OPENING:
            outer = stack[-1]["seq"] if stack else None
            assert (record["seq"], outer) == (span, record.get("cause")), record
            stack.append(record)
            continue
        assert span == (stack[-1]["seq"] if stack else None), record
        if name in CLOSING:
            opener = stack.pop()
            assert opener["event"].startswith(CLOSING[name]), record
            assert opener["tid"] == record["tid"], record
            assert opener["t"] <= record["t"], record
            if name == "page_fault_end":
                expected = opener["address"], record["t"] - opener["t"]
                assert expected == (record["address"], record["ns"])
            else:
                assert (opener["call"], opener["nr"]) == (record["call"], record["nr"])
    left = [record for stack in opened.values() for record in stack]
    assert all(record["call"] in NEVER_RETURN for record in left), left


def assert_causes_come_before(records):
    """Also in time, and each is there."""
    for record in records:
        cause = record.get("cause")
        if cause is not None:
            assert cause < record["seq"], record
            assert records[cause - 1]["t"] <= record["t"], (records[cause - 1], record)


def assert_contentions_end(records, locks):
    """Each wait is begun and ended by the same actor; they add up to what /proc/lock_stat says.

    Each was for a lock that another has, or that nobody knows the holder of.
    """
    begun = {}
    waits = defaultdict(list)
    for record in records:
        if record["event"] == "contention_begin":
            begun[record["seq"]] = record
            assert record["holder"] not in (None, record["actor"]), record
        elif record["event"] == "contention_end":
            begin = begun.pop(record["cause"])
            assert begin["lock"] == record["lock"], (begin, record)
            assert begin["actor"] == record["actor"], (begin, record)
            # Who slept runs again when its CPU is free.
            assert begin["t"] + record["wait_ns"] <= record["t"], (begin, record)
            if not record["ret"]:
                waits[begin["class"], begin["flags"] == 2].append(record["wait_ns"])
    assert {} == begun
    for name, one in locks.items():
        for is_read, side in ((False, one.write), (True, one.read)):
            found = waits.pop((name, is_read), [])
            assert (len(found), sum(found)) == (side.contentions, side.waittime_total_ns), name
    assert {} == waits


def assert_interrupts_are_handled(records, nr_shootdowns):
    """Each CPU that was interrupted handles it once; what a handler does names who sent it."""
    waiting = {}
    for record in records:
        if record["event"] == "ipi_send":
            waiting[record["id"]] = record, set(record["targets"])
            assert record["cpu"] not in record["targets"], record
        elif record["event"] == "ipi_handled":
            sent, cpus = waiting[record["id"]]
            cpus.remove(record["cpu"])
            assert (sent["seq"], sent["actor"]) == (record["cause"], record["for_actor"]), record
            assert sent["vector"] == record["vector"], record
    assert all(not cpus for _, cpus in waiting.values()), waiting
    handled = Counter(record["vector"] for record in records if record["event"] == "ipi_handled")
    assert nr_shootdowns == handled["TLB"]


def assert_faults_are_counted(records, pgfault):
    """Each fault ends, and counts unless nothing backs its address.

    Only in programs without pages that the kernel makes present for them (mlock, populate), and
    without files, for which a fault may begin anew: those count without a trap.
    """
    ends = [record for record in records if record["event"] == "page_fault_end"]
    nr_traps = sum(record["event"] in OPENING - {"sys_enter"} for record in records)
    assert nr_traps == len(ends)
    assert pgfault == sum(record["kind"] not in ("bad_area", "fixup") for record in ends)


def assert_flushes_are_counted(records, nr_flushes):
    """What CPUs forget, page by page or all at once; sending an interrupt forgets nothing."""
    flushes = [record for record in records if record["event"] == "tlb_flush"]
    pages = [record["pages"] for record in flushes if record["reason"] != REMOTE_SEND_IPI]
    assert nr_flushes == sum(1 if count == -1 else count for count in pages)


def assert_switches_are_a_chain(records):
    """A CPU leaves what it came to, idle first; who was woken runs then, and was woken before."""
    current = {}
    for record in records:
        if record["event"] == "sched_switch":
            cpu = record["cpu"]
            before = current.get(cpu, (f"swapper/{cpu}", 0))
            assert before == (record["prev_comm"], record["prev_pid"]), record
            current[cpu] = record["next_comm"], record["next_pid"]
            assert record["tid"] == (record["prev_pid"] or None), record
    assert all(comm.startswith("swapper/") for comm, _ in current.values()), current


def assert_answers_add_up(log):
    """What `mmactors waits` and `top` say of a log: every wait ends, and lies in its call."""
    history = LogHistory()
    faults, offset = {}, 0
    for line in log.splitlines(keepends=True):
        record = orjson.loads(line)
        if "seq" in record:
            history.take(record, offset)
        if record.get("event") == "page_fault_end":
            faults[offset] = record["ns"]
        offset += len(line)
    history.finish()
    assert 0 == history.totals.unended
    for track in history.tracks.values():
        spans = track.spans
        for index, ended_ns in enumerate(spans.ended):
            assert ended_ns != OPEN, f"{track.actor} does not return"
            waits = track.waits_within(spans.began[index], ended_ns)
            assert sum(to_ns - from_ns for _, from_ns, to_ns in waits) <= spans.spent_ns(index)
            if spans.kind[index] == Kind.FAULT:
                assert faults.pop(spans.last[index]) == spans.spent_ns(index)
    assert {} == faults


def assert_laws(ran, *, counts_faults=True):
    """All of them, of a machine that has run to its end."""
    assert ran.machine.is_complete
    records = records_of(ran.log)
    counters = ran.counters
    assert_numbers_and_times_go_on(records)
    assert_spans_are_a_tree(records)
    assert_causes_come_before(records)
    assert_answers_add_up(ran.log)
    assert_contentions_end(records, ran.machine.inspect().locks)
    assert_interrupts_are_handled(records, counters["tlb_shootdowns"])
    assert_switches_are_a_chain(records)
    assert_flushes_are_counted(records, counters["tlb_flushes"])
    if counts_faults:
        assert_faults_are_counted(records, counters["pgfault"])
