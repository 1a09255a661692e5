"""What the log says of calls and faults: numbers, arguments, kinds, and what belongs to what."""

import pytest
from event_laws import records_of
from machines import run, scenario_of

from mmactors.actors.program import file_calls

ANYWHERE = 0x22
"""MAP_PRIVATE | MAP_ANONYMOUS"""
NO_FD = 0xFFFFFFFF
DISK = ["open F /mnt/f create", "ftruncate F 16K", "mmap S 16K file=F flags=shared"]


def logged(*program, **options):
    return run(scenario_of(list(program), **options))


def call_named(ran, text):
    (call,) = [event for event in ran.events("sys_enter") if event["call"] == text]
    return call


@pytest.mark.parametrize(
    ("call", "nr", "args"),
    [
        ("mmap B 8K", 9, [0, 0x2000, 3, ANYWHERE, NO_FD, 0]),
        ("mprotect A 0..1 prot=r", 10, ["A", 0x1000, 1, 0, 0, 0]),
        ("munmap A", 11, ["A", 0x10000, 0, 0, 0, 0]),
        ("mremap A len=128K flags=maymove", 25, ["A", 0x10000, 0x20000, 1, 0, 0]),
        ("msync A", 26, ["A", 0x10000, 4, 0, 0, 0]),
        ("madvise A DONTNEED", 28, ["A", 0x10000, 4, 0, 0, 0]),
        ("mlock A", 149, ["A", 0x10000, 0, 0, 0, 0]),
        ("mlock2 A", 325, ["A", 0x10000, 1, 0, 0, 0]),
        ("munlock A", 150, ["A", 0x10000, 0, 0, 0, 0]),
        ("munlockall", 152, [0] * 6),
        ("fork C", 57, []),
        ("sleep 1", 230, []),
        ("cpu 0", 203, []),
        ("rlimit AS 1G", 302, []),
        ("brk +8K", None, []),
        ("mincore A", None, []),
        ("munmap Q", None, []),
    ],
)
def test_a_call_of_the_kernel_has_its_number_and_arguments(call, nr, args):
    """What is no one call of it, or none at all as that of an unknown name, has no number."""
    ran = logged("mmap A 64K", call)
    (start,) = [event["ret"] for event in ran.events("sys_exit") if event["call"] == "mmap A 64K"]
    enter = call_named(ran, call)
    (leave,) = [event for event in ran.events("sys_exit") if event["call"] == call]

    assert (nr, [start if arg == "A" else arg for arg in args]) == (enter["nr"], enter["args"])
    assert (nr, enter["seq"]) == (leave["nr"], leave["span"])


def test_calls_that_a_loop_makes_are_in_it():
    """churn maps and unmaps; each is a call of its own, which the loop is the cause of."""
    ran = logged("churn 2 16K")
    loop = call_named(ran, "churn 2 16K")
    calls = [event for event in ran.events("sys_enter") if event.get("cause") == loop["seq"]]

    assert [("mmap", 9), ("munmap", 11)] * 2 == [(call["call"], call["nr"]) for call in calls]


def test_a_call_that_death_ends_returns_before():
    """The parent kills a child that waits inside a call; a program's last call never returns."""
    ran = logged("mmap A 4K", "fork C", "C& sleep 1000", "compute 1ms", "kill C", cpus=1)
    enters, exits = ran.events("sys_enter"), ran.events("sys_exit")
    returned = {event["span"] for event in exits}

    assert ["exit_group"] == [event["call"] for event in enters if event["seq"] not in returned]


def test_who_is_told_nothing_any_more_gives_an_error_as_a_call_does():
    """The end of whom an operation was for is ESRCH, begun and ended."""
    ran = logged("mmap A 4K", "fork C", "C: exit", "C: touch A write")
    last = call_named(ran, "C: touch A write")

    assert [-3] == [
        event["ret"] for event in ran.events("sys_exit") if event["span"] == last["seq"]
    ]


@pytest.mark.parametrize(
    ("program", "kinds"),
    [
        (["touch A 0..1 read", "touch A 0..1 write", "touch A 1..2 write"], "zero cow anon"),
        (["touch A 0..1 write", "fork C", "C: touch A 0..1 write"], "anon cow"),
        (["touch A 0..1 write", "fork C", "C: exit", "reap", "touch A 0..1 write"], "anon reuse"),
        ([*DISK, "touch S 0..1 read", "touch S 0..1 write"], "file mkwrite"),
        ([*DISK, "touch S 0..1 write"], "shared"),
        ([*DISK, "mmap P 4K file=F flags=private", "touch P write"], "cow"),
        ([*DISK, "ftruncate F 4K", "touch S 2..3 read"], "failed"),
        (["munmap A", "touch A 0..1 read"], "bad_area"),
        ([*DISK, "write F 0 4K bs=4K from=A"], "zero"),
        ([*DISK, "write F 0 4K bs=4K from=S"], "file"),
    ],
)
def test_a_fault_says_what_it_did(program, kinds):
    """Its end has the page, the signal, and how long it took."""
    ran = logged("mmap A 64K", *program)
    ends = ran.events("page_fault_end")
    opened = {event["seq"]: event for event in records_of(ran.log)}

    assert kinds.split() == [event["kind"] for event in ends]
    for event in ends:
        opener = opened[event["span"]]
        is_served = event["kind"] not in ("failed", "bad_area")
        assert (is_served, not is_served) == (event["pfn"] is not None, event["sig"] is not None)
        assert (opener["address"], event["t"] - opener["t"]) == (event["address"], event["ns"])


def test_a_write_from_untouched_memory_faults_in_the_kernel_and_inside_the_call():
    """Not in user mode: the bit is missing, and the call is the cause."""
    ran = logged(*DISK, "mmap A 4K", "write F 0 4K bs=4K from=A")
    call = call_named(ran, "write F 0 4K bs=4K from=A")
    (trap,) = ran.events("page_fault_kernel")

    assert (call["seq"], 0) == (trap["cause"], trap["error_code"] & 4)
    assert [] == ran.events("page_fault_user")


def test_where_no_fault_is_served_the_kernel_goes_on(monkeypatch):
    """With the file's page locked it may not fault: it reads the source in, and tries again."""
    real = file_calls.fault_in_readable
    nr_asked = []

    async def too_late(thread, address):
        nr_asked.append(address)
        return len(nr_asked) == 1 or await real(thread, address)

    monkeypatch.setattr(file_calls, "fault_in_readable", too_late)
    ran = logged(*DISK, "mmap A 4K", "write F 0 4K bs=4K from=A")

    assert [("fixup", None), ("zero", 0)] == [
        (event["kind"], 0 if event["pfn"] else None) for event in ran.events("page_fault_end")
    ]
    assert 2 == len(ran.events("page_fault_kernel"))
    assert 1 == ran.counters["pgfault"]


def test_majors_say_so():
    """A page of a disk's file that had to be read, though the fault began anew meanwhile."""
    ran = logged(*DISK, "touch S 0..1 read", "put /proc/sys/vm/drop_caches 1", "touch S 0..1 read")
    majors = [event for event in ran.events("page_fault_end") if event["ret"] & 4]

    assert ran.counters["pgmajfault"] == len(majors)


def test_threads_and_processes_are_numbered_together():
    """As Linux numbers them; a line has the process and the thread."""
    ran = logged("thread T cpu=0", "fork C", "T: mmap A 4K", "C: mmap B 4K")
    forks = ran.events("sched_process_fork")
    calls = {
        event["call"]: (event["pid"], event["tid"])
        for event in ran.events("sys_exit")
        if event["call"].startswith("mmap")
    }

    assert [("p0/T", 2), ("p0/C", 3)] == [
        (event["child_comm"], event["child_pid"]) for event in forks
    ]
    assert {"mmap A 4K": (1, 2), "mmap B 4K": (3, 3)} == calls
    ended = [(event["comm"], event["task_pid"]) for event in ran.events("sched_process_exit")]
    assert {("p0", 1), ("p0/T", 2), ("p0/C", 3)} == set(ended)


def test_a_thread_that_sleeps_is_switched_away_in_its_call_and_back_by_its_timer():
    """The timer's handler works for who sleeps, and its wake-up is the cause of the switch back."""
    ran = logged("mmap A 4K", "sleep 1")
    call = call_named(ran, "sleep 1")
    (waking,) = ran.events("sched_waking")
    _, away, back, _ = ran.events("sched_switch")

    assert (call["seq"], 1, "p0") == (away["span"], away["prev_state"], away["actor"])
    assert (call["seq"], "p0", "cpu0") == (waking["cause"], waking["for_actor"], waking["actor"])
    assert (waking["seq"], "p0", "cpu0") == (back["cause"], back["next_comm"], back["actor"])
    assert 1_000_000 <= back["t"] - away["t"]
