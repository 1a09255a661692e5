"""Programs that call the C library's allocator: its calls of the kernel, faults, locks, deaths."""

import errno
import re
import subprocess
import sys

import pytest
from attrs import evolve
from machines import final_status, run, run_to_nothing, scenario_of

import mmactors
from mmactors.mm.fault.siginfo import SIGABRT
from mmactors.sanitize.config import SanitizeConfig
from mmactors.units import KIB, MIB, PAGE_SIZE, ULONG_MAX
from mmactors.workload.operation.all import parse_operation

HEAP_MAX = 64 * MIB
FIRST = 0x2A0
"""Where the first block lies in a heap: behind the cache of the thread."""
CALLS = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect")
DOUBLE_FREE = "free(): double free detected in tcache 2"


def program(*operations, environment=None, metadata=True, **options):
    """Return the scenario of one program."""
    scenario = scenario_of(list(operations), **options)
    process = evolve(
        scenario.processes[0], environment=environment or {}, metadata_in_memory=metadata
    )
    return evolve(scenario, processes=(process,))


def ran(*operations, is_sanitized=True, **options):
    """Run a program with all sanitizers on, which have to be silent."""
    scenario = program(*operations, **options)
    if is_sanitized:
        scenario = evolve(scenario, sanitize=SanitizeConfig.everything())
    machine = run(scenario)
    assert () == machine.machine.findings()
    return machine


def calls_in(machine, operation):
    """Return the calls of the kernel, with their results, that were parts of an operation."""
    found, inside = [], False
    events = sorted(
        machine.events("sys_enter") + machine.events("sys_exit"), key=lambda event: event["seq"]
    )
    for event in events:
        if event["call"] == operation:
            inside = event["event"] == "sys_enter"
        elif inside and event["event"] == "sys_exit":
            found.append((event["call"], event["ret"]))
    return found


def lock_stat(machine, name):
    return machine.machine.inspect().locks[name].write


def test_the_first_block_lies_where_glibc_has_it():
    """The break is asked for, then moved by the request, what is taken beside it, and the cache."""
    machine = ran("malloc p 100", "malloc q 100", "brk 0")
    start = machine.results()["brk 0"] - 132 * KIB
    found = machine.results()

    assert [("brk", start), ("brk", start + 132 * KIB)] == calls_in(machine, "malloc p 100")
    assert (start + FIRST, start + FIRST + 112) == (found["malloc p 100"], found["malloc q 100"])
    assert [] == calls_in(machine, "malloc q 100")


def test_a_heap_that_grows_takes_mmap_lock_and_faults():
    """Headers that are written fault their pages in; so does what the program touches."""
    machine = ran("malloc p 100", "malloc q 120K", "malloc r 120K", "touch r write")
    grown = calls_in(machine, "malloc r 120K")
    faults = [event["address"] >> 12 for event in machine.events("page_fault_user")]
    block = machine.results()["malloc r 120K"]

    assert ["brk"] == [call for call, _ in grown]
    assert lock_stat(machine, "&mm->mmap_lock").acquisitions >= 3
    assert {block >> 12, (block >> 12) + 1} <= set(faults)
    assert (block + 120 * KIB) >> 12 in faults, "the header of the new top"
    assert int(machine.counters["pgfault"]) == len(faults)


def test_a_large_block_is_a_mapping_and_goes_with_its_end():
    """128 KiB or more; freeing it raises the threshold, so that the next one is of the heap."""
    machine = ran("malloc p 200K", "touch p write", "free p", "malloc q 200K", "free q")
    block = machine.results()["malloc p 200K"]
    length = 200 * KIB + PAGE_SIZE

    assert 16 == block % PAGE_SIZE
    assert [("munmap", 0)] == calls_in(machine, "free p")
    assert {"brk"} == {call for call, _ in calls_in(machine, "malloc q 200K")}
    unmapped = next(e for e in machine.events("sys_enter") if e["call"] == "munmap")
    assert [block - 16, length] == unmapped["args"][:2]


def test_realloc_moves_a_mapping_and_keeps_its_name():
    """mremap gives it another size; of another size of 0 nothing is left."""
    machine = ran("malloc p 1M", "touch p write", "realloc p 4M", "touch p write", "realloc p 0")

    assert ["mremap"] == [call for call, _ in calls_in(machine, "realloc p 4M")]
    assert 0 == machine.results()["realloc p 0"]
    assert 0 == int(final_status(machine)["VmData"].split()[0]) % 4


def test_a_trim_sends_shootdowns_to_cpus_that_run_threads():
    """The heap shrinks under them: they forget its pages."""
    machine = ran(
        *("malloc p 100", "malloc a 120K", "malloc b 120K", "touch a write", "touch b write"),
        *("thread T cpu=1", "T: touch b read", "T& spin", "free b", "free a", "malloc_trim"),
        "stop T",
        cpus=2,
    )
    (trim,) = (e for e in machine.events("sys_enter") if e["call"] == "malloc_trim")
    sent = [e for e in machine.events("ipi_send") if e["seq"] > trim["seq"]]

    assert 1 == machine.results()["malloc_trim"]
    assert sent
    assert [1] == sent[0]["targets"]


def test_each_thread_has_an_arena_of_its_own():
    """Its heap lies at a multiple of 64 MiB; the first thread's is the program break's."""
    machine = ran(
        *("malloc p 100", "thread T cpu=1", "T: malloc q 100", "T: malloc r 100", "T: free q"),
        "free p",
        cpus=2,
    )
    found = machine.results()

    assert 0xB70 == found["malloc q 100"] % HEAP_MAX
    assert 112 == found["malloc r 100"] - found["malloc q 100"]
    calls = [call for call, _ in calls_in(machine, "malloc q 100")]
    assert {"mmap", "munmap", "mprotect"} >= set(calls)
    assert calls[-1] == "mprotect"


def test_a_thread_costs_a_stack_and_heap():
    """8 MiB without rights, then with, then a dtv of 272 bytes for who makes the thread."""
    machine = ran("malloc p 24", "thread T cpu=1", "malloc q 24", cpus=2)
    found = machine.results()
    enters = [e for e in machine.events("sys_enter") if e["call"] in CALLS and e["nr"] != 12]

    assert [9, 10] == [event["nr"] for event in enters]
    assert [0, 8 * MIB + PAGE_SIZE, 0, 0x20022] == enters[0]["args"][:4]
    assert [8 * MIB, 3] == enters[1]["args"][1:3]
    assert found["malloc q 24"] - found["malloc p 24"] == 32 + 288


def test_a_thread_that_ends_leaves_its_arena_and_its_stack_to_the_next():
    """No new heap, no new stack; the pages of the stack go back."""
    machine = ran(
        *("thread T cpu=1", "T: malloc q 100", "T: exit", "sleep 1", "thread U cpu=1"),
        "U: malloc r 100",
        cpus=2,
    )
    found = machine.results()
    madvised = [e for e in machine.events("sys_enter") if e["call"] == "madvise"]
    mapped = [e for e in machine.events("sys_enter") if e["call"] == "mmap"]
    stack = next(e["ret"] for e in machine.events("sys_exit") if e["call"] == "mmap")

    assert found["malloc q 100"] // HEAP_MAX == found["malloc r 100"] // HEAP_MAX
    assert [] == calls_in(machine, "malloc r 100")
    assert [stack, 8 * MIB - 5 * PAGE_SIZE, 4] == madvised[0]["args"][:3]
    assert [8 * MIB + PAGE_SIZE, 2 * HEAP_MAX] == [event["args"][1] for event in mapped]


def test_stacks_beyond_40_mib_are_unmapped():
    """The oldest goes, with its dtv."""
    names = [f"T{number}" for number in range(5)]
    machine = ran(
        "malloc p 100",
        *(f"thread {name} cpu=1" for name in names),
        *(f"{name}: exit" for name in names),
        "sleep 1",
        cpus=2,
    )
    unmapped = [e for e in machine.events("sys_enter") if e["call"] == "munmap"]

    assert [8 * MIB + PAGE_SIZE] == [event["args"][1] for event in unmapped]


@pytest.mark.parametrize("metadata", [True, False])
def test_threads_of_one_arena_wait_for_its_mutex(metadata):
    """Blocks too large for the thread's cache; lock_stat has the arena's lock, futexes sleepers."""
    work = ["malloc {0} 3000", "free {0}"] * 20
    names = "ABC"
    machine = ran(
        "malloc p 100",
        *(f"thread {name} cpu={cpu}" for cpu, name in enumerate(names, start=1)),
        *(f"{name}& {text.format(name.lower())}" for text in work for name in names),
        "wait",
        environment={"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"},
        metadata=metadata,
        cpus=4,
        quantum_ns=0,
    )
    locks = lock_stat(machine, "main_arena.mutex")

    assert locks.acquisitions >= 3 * 40
    assert locks.contentions > 0
    assert any(event["call"].startswith("futex") for event in machine.events("sys_enter"))


def test_a_child_has_a_copy_of_the_heap():
    """It frees what it has copied, once; the parent frees it, too."""
    machine = ran(
        *("malloc p 100", "malloc big 3000", "touch p write", "fork C", "C: free p"),
        *("C: free big", "C: malloc q 100", "free p", "free big", "malloc r 100"),
    )
    found = machine.results()

    assert found["malloc p 100"] == found["malloc q 100"] == found["malloc r 100"]
    assert () == machine.machine.summary().deaths


def test_the_child_of_a_process_with_threads_finds_no_lock_taken():
    """Another thread is in malloc while one forks: the fork waits, and the child goes on alone."""
    machine = ran(
        *("malloc p 100", "thread T cpu=1", "T& malloc a 3000", "T& malloc b 3000"),
        *("T& free a", "T& malloc c 9000", "fork C", "C: malloc q 3000", "C: malloc z 90000"),
        *("wait", "C: free q", "fork D", "D: malloc y 3000"),
        cpus=2,
        quantum_ns=0,
        environment={"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"},
    )

    assert "ok" == machine.machine.summary().verdict
    for call in ("malloc q 3000", "malloc z 90000", "malloc y 3000"):
        assert 0 < machine.results()[call]


def test_all_memory_comes_back():
    """Pages of heaps, arenas and stacks, and their tables."""
    run_to_nothing(
        program(
            *("malloc p 100", "malloc q 1M", "touch q write", "thread T cpu=1", "T: malloc r 5000"),
            *("fork C", "C: malloc s 5000", "C: free p", "T: exit"),
            cpus=2,
        )
    )


def test_a_double_free_ends_the_process():
    """The library's line is in the log and in what people read of the death."""
    result = mmactors.run(
        {
            "processes": [{"name": "p", "program": ["malloc a 100", "free a", "free a", "nop"]}],
            "machine": {"memory": {"size": "70M"}},
        }
    )
    (death,) = result.deaths

    assert "died" == result.verdict
    assert (DOUBLE_FREE, "SIGABRT", "SI_TKILL") == (death.message, death.signal, death.code)
    assert "free a" == death.operation
    assert f"of SIGABRT ({DOUBLE_FREE}) in `free a`" in str(death)


def test_the_librarys_line_is_an_event_before_the_signal():
    """Even where the program catches signals: an abort is not caught."""
    machine = ran(
        "malloc a 100", "free a", "free a", "malloc b 1", on_signal="continue", is_sanitized=False
    )
    (line,) = machine.events("libc_message")
    (signal,) = machine.events("signal_generate")

    assert DOUBLE_FREE == line["msg"]
    assert (SIGABRT, -6) == (signal["sig"], signal["code"])
    assert line["seq"] < signal["seq"]
    assert "malloc b 1" not in machine.results()


def test_a_death_by_abort_can_be_expected():
    """By its signal or its code."""
    for cause in ("SIGABRT", "SI_TKILL"):
        result = mmactors.run(
            {
                "processes": [
                    {"name": "p", "program": ["malloc p 100", "alias a p+16 8", "free a"]}
                ],
                "expect": [f"p dies of {cause}"],
            }
        )
        assert "ok" == result.verdict
        assert "free(): invalid pointer" == result.deaths[0].message


@pytest.mark.parametrize(
    ("size", "calls"),
    [(1 << 63, []), ((1 << 63) - 1, ["brk", "brk", "mmap", "mmap"]), (ULONG_MAX, [])],
)
def test_a_size_over_ptrdiff_max_is_enomem_without_a_call(size, calls):
    """The kernel refuses the largest one, for which a cache is made; who touches NULL dies."""
    call = str(parse_operation(f"malloc p {size}"))
    machine = ran(call, "free p", "touch p write")
    (death,) = machine.machine.summary().deaths

    assert -errno.ENOMEM == machine.results()[call]
    assert calls == [e["call"] for e in machine.events("sys_enter") if e["call"] in CALLS]
    assert ("SIGSEGV", 0) == (death.signal, death.address)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("posix_memalign p 0 100", -errno.EINVAL),
        ("posix_memalign p 4 100", -errno.EINVAL),
        ("posix_memalign p 24 100", -errno.EINVAL),
        (f"posix_memalign p 16 {ULONG_MAX}", -errno.ENOMEM),
        ("memalign p 0x8000000000000001 100", -errno.EINVAL),
        (f"aligned_alloc p {ULONG_MAX} 100", -errno.EINVAL),
        (f"calloc p {ULONG_MAX} 2", -errno.ENOMEM),
        (f"realloc p {ULONG_MAX}", -errno.ENOMEM),
        ("mallopt M_MXFAST 1000", 0),
        ("mallopt M_MXFAST 64", 1),
        ("malloc_trim", 0),
    ],
)
def test_what_the_library_refuses_is_its_answer(call, expected):
    """The errno that glibc 2.36 sets."""
    assert expected == ran(call).results()[str(parse_operation(call))]


def test_what_fails_to_be_resized_or_aligned_leaves_its_name_alone():
    """realloc and posix_memalign; others leave NULL."""
    machine = ran(
        *("malloc p 100", f"realloc p {ULONG_MAX}", "posix_memalign p 3 8", "touch p write"),
        *("free p", f"malloc p {ULONG_MAX}", "free p"),
    )

    assert () == machine.machine.summary().deaths


def test_an_alignment_is_kept_and_made_a_power_of_two():
    """memalign and aligned_alloc of 2.36 raise it."""
    machine = ran("memalign p 48 100", "aligned_alloc q 1000 100", "posix_memalign r 4096 1")
    found = list(machine.results().values())
    blocks = [ret for call, ret in machine.results().items() if call not in CALLS]

    assert len(found) > 3
    assert [0, 0, 0] == [blocks[0] % 64, blocks[1] % 1024, blocks[2] % 4096]


@pytest.mark.parametrize("limit", ["AS", "DATA"])
def test_a_limit_makes_the_library_say_enomem(limit):
    """brk and mmap fail first: RLIMIT_AS, RLIMIT_DATA."""
    machine = ran("malloc p 100", f"rlimit {limit} 1M", "malloc q 100K", "malloc r 2M", "free p")
    failed = calls_in(machine, "malloc r 2M")

    assert -errno.ENOMEM == machine.results()["malloc r 2M"]
    assert "mmap" in {call for call, ret in failed if ret == -errno.ENOMEM}
    assert 0 == machine.results()["free p"]


def test_a_thread_without_room_for_its_stack_is_not_started():
    """EAGAIN, as pthread_create says."""
    machine = ran("malloc p 100", "rlimit AS 6M", "thread T cpu=0", "malloc q 100")

    assert 1 == len(machine.machine.inspect().processes[0].threads)
    assert -errno.ENOMEM in [e["ret"] for e in machine.events("sys_exit") if e["call"] == "mmap"]
    assert "ok" == machine.machine.summary().verdict


def test_a_program_may_take_pages_from_its_heap():
    """The library reads zeros then, or what it reads is not mapped: it never breaks otherwise."""
    zeroed = ran("malloc p 100", "malloc q 9000", "madvise @brk-132K:132K DONTNEED", "free q")
    unmapped = ran("malloc p 100", "malloc q 9000", "munmap @brk-132K:132K", "free q")
    (first,) = zeroed.machine.summary().deaths
    (second,) = unmapped.machine.summary().deaths

    assert ("SIGABRT", "free(): invalid pointer") == (first.signal, first.message)
    assert ("SIGSEGV", "SEGV_MAPERR") == (second.signal, second.code)


@pytest.mark.parametrize(
    "address", ["0x8", "0x1", "0x10000", "0xffffffff80000000", "0x900000000000"]
)
def test_freeing_what_is_nowhere_is_a_fault(address):
    """The library reads a header there."""
    machine = ran(f"alias p {address} 16", "malloc q 1", "free p", is_sanitized=False)
    (death,) = machine.machine.summary().deaths

    assert "SIGSEGV" == death.signal


def test_without_metadata_only_what_the_program_touches_faults():
    """One fault a page that it touches; addresses and calls stay the same."""
    operations = (
        *("malloc p 100", "touch p write", "malloc q 20000", "free p", "calloc r 10 50"),
        *("malloc s 1M", "touch s 0..2 write", "free q", "malloc_trim"),
    )
    with_it, without = ran(*operations), ran(*operations, metadata=False)

    assert with_it.results() == without.results()
    assert 3 == len(without.events("page_fault_user"))
    assert len(with_it.events("page_fault_user")) > 3


def test_a_name_may_be_used_after_it_was_freed():
    """As a pointer: what a block of the thread's cache holds is still mapped."""
    machine = ran(
        "malloc p 100", "free p", "touch p write", "malloc q 100", "free p", is_sanitized=False
    )

    assert () == machine.machine.summary().deaths, "q is the same block, and is freed by p"


def test_a_hit_of_the_cache_is_what_its_twin_does():
    """In guard mode there are no shortcuts: the same addresses, accesses and costs."""
    operations = (
        *("malloc a 24", "malloc b 24", "free a", "free b", "malloc c 24", "malloc d 24"),
        *("thread T cpu=1", "T: malloc e 500", "T: free e", "T: malloc f 500", "T: free a"),
        *("T: free f", "free c", "malloc g 0", "free g", "malloc h 1040", "free h"),
    )
    plain = ran(*operations, cpus=2, is_sanitized=False)
    guarded = ran(*operations, cpus=2, is_sanitized=False, guard=True)

    assert plain.results() == guarded.results()
    assert plain.counters == guarded.counters
    assert plain.log == guarded.log


def test_both_drivers_give_the_same_log():
    """Threads, forks and locks among it."""
    operations = (
        *("malloc p 100", "thread T cpu=1", "T& malloc a 3000", "T& free a", "fork C"),
        *("C: malloc q 200K", "C: free q", "free p", "wait"),
    )
    inline = ran(*operations, cpus=2, is_sanitized=False, driver="inline")
    trio = ran(*operations, cpus=2, is_sanitized=False, driver="trio")

    assert inline.log == trio.log


@pytest.mark.parametrize("seed", range(20))
def test_no_order_breaks_a_law(seed):
    """Three CPUs, two nodes, all sanitizers, guard mode on every second."""
    threads = {"A": 1, "B": 2}
    work = ("malloc {0} {1}", "touch {0} write", "realloc {0} {2}", "free {0}")
    sizes = ((100, 5000), (3000, 20), (70000, 300000), (140000, 10))
    sizes = (sizes[seed % 4], sizes[(seed + 1) % 4])
    operations = [
        f"{name}& {text.format(name.lower() + str(nth), *size)}"
        for nth, size in enumerate(sizes)
        for text in work
        for name in threads
    ]
    machine = ran(
        "malloc p 100",
        *(f"thread {name} cpu={cpu}" for name, cpu in threads.items()),
        *(operations[: len(operations) // 2]),
        *("fork C", "C: malloc z 3000", "C& free p"),
        *(operations[len(operations) // 2 :]),
        *("wait", "malloc_trim", "A: exit", "free p"),
        cpus=3,
        nr_nodes=2,
        policy="seeded",
        seed=seed,
        guard=seed % 2 == 0,
        environment={"GLIBC_TUNABLES": f"glibc.malloc.arena_max={1 + seed % 3}"},
    )

    assert "ok" == machine.machine.summary().verdict


def test_a_machine_without_malloc_imports_nothing_of_it():
    """Neither the library nor who drives it."""
    code = (
        "import sys, mmactors\n"
        "mmactors.run({'processes': [{'name': 'p', 'program': ['mmap A 4K', 'thread T cpu=0']}],"
        " 'machine': {'memory': {'size': '70M'}}})\n"
        "print([name for name in sys.modules if 'ptmalloc.' in name and '.options' not in name"
        " or 'user_words' in name and 'malloc' in name or '.malloc_calls' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert "[]" == done.stdout.strip()


def test_what_a_process_is_linked_with_is_checked():
    """Unknown tunables, values out of range, libraries that are left out."""
    with pytest.raises(mmactors.UserError) as caught:
        mmactors.load(
            {
                "processes": [
                    {
                        "name": "p",
                        "malloc": "mimalloc",
                        "environment": {"GLIBC_TUNABLES": "glibc.malloc.arena_max=x:a.b=1"},
                        "program": ["malloc p 1"],
                    }
                ]
            }
        )
    found = [re.sub(r"^processes\[0\]\.", "", problem.found) for problem in caught.value.problems]

    assert found[0].startswith("malloc: allocators besides ptmalloc, tcmalloc and jemalloc are")
    assert "environment.GLIBC_TUNABLES has 'glibc.malloc.arena_max=x': 0x0 is out of range" in found
    assert "environment.GLIBC_TUNABLES has 'a.b=1': there is no such tunable" in found


@pytest.mark.parametrize(
    ("library", "variable", "text", "said"),
    [
        ("tcmalloc", "TCMALLOC_RELEASE_RATE", "x", "it is taken for 0"),
        ("jemalloc", "MALLOC_CONF", "narenas:1,nonsense:2", "Invalid conf pair"),
    ],
)
def test_each_library_says_what_it_makes_of_its_variables(library, variable, text, said):
    process = {"name": "p", "malloc": library, "program": ["malloc p 1"]}
    with pytest.raises(mmactors.UserError) as caught:
        mmactors.load({"processes": [{**process, "environment": {variable: text}}]})
    (problem,) = caught.value.problems
    assert variable in problem.found
    assert said in problem.found
