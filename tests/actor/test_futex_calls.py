"""Words of programs: atomic operations, futex(2), and glibc's low-level locks."""

import errno

import pytest
from attrs import define, evolve, field
from machines import EXACT, drive, run, scenario_of

from mmactors.actors.program.futex import futex_calls
from mmactors.actors.program.futex.lowlevellock import LowLevelLock
from mmactors.engine.report import Deadlock
from mmactors.sanitize.config import SanitizeConfig

MAX = (1 << 32) - 1
LOCK_CLASS = "&futex_queues[i].lock"


@define
class Results:
    """Takes the result of each operation."""

    seen: list = field(factory=list)

    def before(self, nth, operation):
        return operation

    def after(self, nth, result):
        self.seen.append(result)


def results(*program, **options):
    """Return the results of a program's operations, in its order."""
    watcher = Results()
    drive(scenario_of(list(program), **options), watch=lambda _kernel: watcher)
    return watcher.seen


def last(*program, **options):
    return results(*program, **options)[-1]


def ran(*program, **options):
    return run(scenario_of(list(program), **{**EXACT, **options}))


def locks(machine):
    return {name: each.write for name, each in machine.machine.inspect().locks.items()}


# Words.


def test_atomic_operations_tell_what_the_word_was():
    program = ["mmap A 4K", "atomic_load A+8", "atomic_store A+8 5", "atomic_exchange A+8 7"]
    program += ["atomic_compare_exchange A+8 expected=5 desired=1"]
    program += ["atomic_compare_exchange A+8 expected=7 desired=9", f"atomic_fetch_add A+8 {MAX}"]
    program += ["atomic_load A+8", "atomic_load A+4", "atomic_load A+12"]

    assert [0, 0, 5, 7, 7, 9, 8, 0, 0] == results(*program)[1:]


def test_words_are_bytes_the_lowest_first_also_over_the_end_of_a_page():
    store = [f"atomic_store A+4094 {0x44332211}", f"atomic_store A+1 {0xDDCCBBAA}"]
    program = ["mmap A 8K", *store, "atomic_load A+4092", "atomic_load A+4K", "atomic_load A"]

    assert [0x22110000, 0x4433, 0xCCBBAA00] == results(*program)[3:]


@pytest.mark.parametrize(
    ("operation", "kind"), [("atomic_load A", "zero"), ("atomic_store A 1", "anon")]
)
def test_a_word_is_reached_by_a_page_fault_like_any_memory(operation, kind):
    """A load maps the page of zeros."""
    machine = ran("mmap A 4K", operation)

    assert [kind] == [event["kind"] for event in machine.events("page_fault_end")]


@pytest.mark.parametrize("address", ["0x1000", "0x800000000000", "0xffffffffffffffff", "X"])
def test_a_word_that_cannot_be_reached_is_a_signal(address):
    """What a process that goes on gets is -EFAULT."""
    program = ["mmap X 4K prot=r", f"atomic_exchange {address} 1", "atomic_load X"]

    assert [-errno.EFAULT, 0] == results(*program, on_signal="continue")[1:]


def test_a_child_has_words_of_its_own_where_memory_is_private():
    """Its page is copied with what it holds; of shared memory there is one page."""
    program = ["mmap P 4K", "mmap S 4K flags=shared,anon", "atomic_store P 1", "atomic_store S 1"]
    program += ["fork C", "C: atomic_fetch_add P 10", "C: atomic_fetch_add S 10"]
    program += ["C: atomic_load P", "atomic_load P", "atomic_load S"]

    assert [1, 1, 11, 1, 11] == results(*program)[5:]


@pytest.mark.parametrize(
    "give_up", ["madvise A DONTNEED", "mmap A 4K addr=A flags=private,anon,fixed"]
)
def test_a_page_that_is_given_back_takes_its_words_along(give_up):
    assert 0 == last("mmap A 4K", "atomic_store A 3", give_up, "atomic_load A")


def test_words_move_with_their_page():
    program = ["mmap A 4K", "atomic_store A+64 3", "mremap A len=8K flags=maymove as=B"]

    assert 3 == last(*program, "atomic_load B+64")


def test_what_is_written_to_a_disk_is_read_again():
    """The page leaves the page cache; a truncated part of the file holds zeros."""
    file = ["open F /mnt/f create", "ftruncate F 8K", "mmap A 8K file=F flags=shared"]
    file += ["atomic_store A+4 3", "atomic_store A+4K 4", "fsync F", "munmap A"]
    again = ["put /proc/sys/vm/drop_caches 1", "mmap B 8K file=F flags=private"]
    cut = ["ftruncate F 4K", "ftruncate F 8K"]
    loads = ["atomic_load B+4", "atomic_load B+4K"]

    assert [3, 4] == results(*file, *again, *loads)[-2:]
    assert [3, 0] == results(*file, *cut, *again, *loads)[-2:]


# futex(2).


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("futex_wait A 1", -errno.EAGAIN),
        ("futex_wait A 0 timeout=3us", -errno.ETIMEDOUT),
        ("futex_wait A 0 timeout=0ns", -errno.ETIMEDOUT),
        ("futex_wait A+2 0", -errno.EINVAL),
        ("futex_wait A 0 bitset=0", -errno.EINVAL),
        ("futex_wait 0x1000 0", -errno.EFAULT),
        ("futex_wait 0x1000 0 shared", -errno.EFAULT),
        ("futex_wait 0x7ffffffff000 0", -errno.EFAULT),
        ("futex_wait X 0", -errno.EFAULT),
        ("futex_wait R 1", -errno.EAGAIN),
        ("futex_wait R 1 shared", -errno.EFAULT),
        ("futex_wake A 1", 0),
        ("futex_wake A+1 1", -errno.EINVAL),
        ("futex_wake A 1 bitset=0", -errno.EINVAL),
        ("futex_wake 0x7ffffffff000 1", -errno.EFAULT),
        ("futex_wake 0x1000 1", 0),
        ("futex_wake 0x1000 1 shared", -errno.EFAULT),
    ],
)
def test_a_call_that_cannot_wait_or_wake_says_why(call, result):
    """A private key is only an address: who wakes nobody there needs no memory."""
    program = ["mmap A 4K", "mmap X 4K prot=none", "mmap R 4K prot=r", "touch R read", call]

    assert result == last(*program)


def test_a_time_out_ends_the_sleep_when_it_is_over():
    machine = ran("mmap A 4K", "touch A write", "futex_wait A 0 timeout=1ms")
    (begin,) = [event["t"] for event in machine.events("sys_enter") if event["nr"] == 202]
    (end,) = [event["t"] for event in machine.events("sys_exit") if event["nr"] == 202]

    assert 1_000_000 <= end - begin <= 1_010_000
    assert 1 == sum(cpu.interrupts["LOC"] for cpu in machine.machine.inspect().cpus)


def test_a_sleeper_is_woken_by_who_has_changed_the_word():
    """Its time-out is no more: the run ends before."""
    program = ["mmap A 4K", "thread T cpu=1", "T& futex_wait A 0 timeout=1s", "sleep 1"]
    program += ["atomic_store A 1", "futex_wake A 1", "wait"]
    machine = ran(*program, cpus=2)

    assert 0 == machine.results()["futex_wait A 0 timeout=1000000000ns"]
    assert 1 == machine.results()["futex_wake A 1"]
    assert machine.machine.now_ns < 3_000_000


SLEEPERS = [f"thread T{n} cpu={n}" for n in (1, 2, 3)]


def woken(*wakes, waits=("", "", "")):
    """Return how many each wake found of three who wait at A, and who came back after each."""
    program = ["mmap A 4K", "touch A write", *SLEEPERS]
    for number, how in enumerate(waits, 1):
        program += [f"T{number}& futex_wait A 0 {how}".strip(), "sleep 1"]
    for wake in wakes:
        program += [f"futex_wake {wake}", "sleep 1"]
    machine = ran(*program, "futex_wake A 9", "wait", cpus=4)
    exits = [event for event in machine.events("sys_exit") if event["nr"] == 202]
    wake_exits = [event for event in exits if event["call"].startswith("futex_wake")][:-1]
    order = [
        event["actor"][-2:] for event in exits if event["t"] <= wake_exits[-1]["t"] + 1_000_000
    ]
    return [event["ret"] for event in wake_exits], [who for who in order if who[0] == "T"]


def test_sleepers_are_woken_in_the_order_in_which_they_came():
    assert ([1, 2], ["T1", "T2", "T3"]) == woken("A 1", "A 2")


@pytest.mark.parametrize("count", [0, -1, 1])
def test_who_wakes_wakes_one_at_least(count):
    assert ([1], ["T1"]) == woken(f"A {count}")


def test_only_those_are_woken_that_have_a_bit_in_common():
    waits = ("bitset=1", "bitset=6", "bitset=8")

    assert ([1], ["T2"]) == woken("A 3 bitset=2", waits=waits)
    assert ([2], ["T2", "T3"]) == woken("A 3 bitset=12", waits=waits)


def test_another_word_of_the_page_wakes_nobody():
    assert ([0], []) == woken("A+4 3")


@pytest.mark.parametrize(
    ("memory", "how", "found"),
    [
        ("mmap A 4K flags=shared,anon", " shared", 1),
        ("mmap A 4K flags=shared,anon", "", 0),
        ("mmap A 4K", " shared", 0),
    ],
)
def test_processes_find_each_other_in_shared_memory_if_they_say_so(memory, how, found):
    """A private futex is one of its address space; so is a shared one in private memory."""
    program = [memory, "atomic_store A 5", "fork C", f"C& futex_wait A 5 timeout=9ms{how}"]

    assert found == results(*program, "sleep 1", f"futex_wake A 1{how}", "wait")[-2]


def test_a_file_that_two_mappings_show_has_one_futex():
    """The key is the page of the file, wherever it is mapped."""
    program = ["open F /shm/f create", "ftruncate F 8K", "mmap A 8K file=F flags=shared"]
    program += ["mmap B 4K file=F off=4K flags=shared", "thread T cpu=1"]
    program += ["T& futex_wait A+4K 0 timeout=9ms shared", "sleep 1", "futex_wake B 1 shared"]

    assert 1 == last(*program, cpus=2)


def test_a_sleeper_that_is_killed_leaves_the_queue():
    """Nobody is found there any more, and the process ends at once."""
    program = ["mmap A 4K flags=shared,anon", "fork C", "C& futex_wait A 0 shared", "sleep 1"]
    machine = ran(*program, "kill C", "futex_wake A 1 shared")

    assert 0 == machine.results()["futex_wake A 1 shared"]
    assert -512 == machine.results()["futex_wait A 0 shared"]


def test_a_page_that_is_not_there_is_read_again_without_the_lock():
    """The trap under the bucket's lock is given up at once; then the page is faulted in."""
    machine = ran("mmap A 4K", "futex_wait A 1")

    assert ["fixup", "zero"] == [event["kind"] for event in machine.events("page_fault_end")]
    assert 2 == locks(machine)[LOCK_CLASS].acquisitions


def test_who_wakes_where_nobody_is_counted_takes_no_lock():
    assert LOCK_CLASS not in locks(ran("mmap A 4K"))
    assert 0 == locks(ran("mmap A 4K", "futex_wake A 1"))[LOCK_CLASS].acquisitions


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("futex_wait A+8 1", [8, 128, 1, 0, 0, 0]),
        ("futex_wait A+8 1 shared", [8, 0, 1, 0, 0, 0]),
        ("futex_wait A 1 bitset=6", [0, 137, 1, 0, 0, 6]),
        ("futex_wait A 1 timeout=1ms", []),
        ("futex_wake A -1", [0, 129, (1 << 64) - 1, 0, 0, 0]),
        ("futex_wake A 1 bitset=6 shared", [0, 10, 1, 0, 0, 6]),
    ],
)
def test_the_log_has_the_call_with_its_number_and_arguments(call, args):
    """A time-out lies in memory, which the simulator has not."""
    machine = ran("mmap A 4K", call)
    (start,) = [event["ret"] for event in machine.events("sys_exit") if event["nr"] == 9]
    (enter,) = [event for event in machine.events("sys_enter") if event["nr"] == 202]

    assert [start + args[0], *args[1:]] if args else [] == enter["args"]


def test_nobody_who_waits_for_ever_is_passed_over():
    """The run ends with the word of who could have woken it."""
    with pytest.raises(Deadlock, match=r"p0 at .*: waits for futex_wake\[1\]"):
        ran("mmap A 4K", "futex_wait A 0")


# Low-level locks: in memory, as programs have them, and as a field of the host's.


@pytest.fixture(params=[True, False], ids=["in memory", "a field"])
def kind(request, monkeypatch):
    def make(futexes, name, word):
        return LowLevelLock(futexes, name, evolve(word, in_memory=request.param))

    monkeypatch.setattr(futex_calls, "LowLevelLock", make)


def test_a_free_lock_is_taken_without_the_kernel(kind):
    machine = ran("mmap A 4K", *["lll_lock A", "lll_unlock A"] * 3)

    assert [] == [event for event in machine.events("sys_enter") if event["nr"] == 202]
    assert (3, 0) == (locks(machine)["p0.A"].acquisitions, locks(machine)["p0.A"].contentions)


CONTENDED = ["mmap A 4K", "thread T cpu=1", "lll_lock A", "T& lll_lock A", "T& lll_unlock A"]


def test_who_finds_a_lock_taken_sleeps_until_it_is_given_back(kind):
    """The waiter leaves a 2 behind, so that its own unlock wakes somebody, too: nobody is there."""
    machine = ran(*CONTENDED, "sleep 1", "lll_unlock A", "wait", "lll_lock A", cpus=2)
    exits = [event for event in machine.events("sys_exit") if event["nr"] == 202]
    futex = [(event["actor"], event["ret"]) for event in exits]
    side = locks(machine)["p0.A"]

    assert [("p0", 1), ("p0/T", 0), ("p0/T", 0)] == futex
    assert (1, 1, 2) == (side.contentions, side.con_bounces, side.acquisitions)
    assert 1_000_000 <= side.waittime_max_ns <= 1_100_000
    assert 1_000_000 <= side.holdtime_max_ns <= 1_100_000


def test_a_lock_that_is_tried_is_taken_only_if_it_is_free(kind):
    program = ["mmap A 4K", "thread T cpu=1", "lll_trylock A", "T: lll_trylock A", "lll_unlock A"]

    assert [1, 0, 0, 1] == results(*program, "T: lll_trylock A", cpus=2)[2:]


def test_who_dies_while_it_waits_does_not_get_the_lock(kind):
    program = ["mmap A 4K", "thread T cpu=1", "lll_lock A", "T& lll_lock A", "sleep 1", "exit"]

    assert -512 in ran(*program, cpus=2).results().values()


def test_a_word_that_others_have_written_is_a_lock_that_is_taken():
    """Only 0 is free, and only what is above 1 wakes anybody."""
    program = ["mmap A 4K", "atomic_store A 7", "lll_trylock A", "lll_unlock A", "lll_trylock A"]

    assert [0, 0, 1] == results(*program)[2:]


@pytest.mark.parametrize("quantum_ns", [0, 100_000])
def test_sections_never_overlap_also_where_a_cpu_runs_ahead(kind, quantum_ns):
    """Who comes to a lock that was held at its own time waits until it was given back."""
    work = [f"{who}lll_{what} A" for who in ("", "T& ") for what in ("lock", "unlock")]
    program = ["mmap A 4K", "touch A write", "thread T cpu=1"]
    for _ in range(5):
        program += [work[2], "T& compute 2us", work[3], work[0], "compute 3us", work[1]]
    machine = ran(*program, "wait", cpus=2, quantum_ns=quantum_ns)
    side = locks(machine)["p0.A"]

    assert 10 == side.acquisitions
    assert 25_000 <= side.holdtime_total_ns


def test_lockdep_sees_orders_of_low_level_locks(kind):
    """A then B, and B then A; and mmap_lock inside of one, which is an order only."""
    program = ["mmap A 4K", "lll_lock A", "mmap C 4K", "lll_lock A+4", "lll_unlock A+4"]
    program += ["lll_unlock A", "lll_lock A+4", "lll_lock A", "lll_unlock A", "lll_unlock A+4"]
    scenario = evolve(scenario_of(program, **EXACT), sanitize=SanitizeConfig(lockdep=True))
    findings = run(scenario).machine.findings()

    assert ["circular"] == [
        word for finding in findings for word in ("circular",) if word in str(finding)
    ]
    assert "p0.A+4" in str(findings[0])
