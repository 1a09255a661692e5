"""Every call on areas through a whole run: results, what is mapped, what is counted."""

import errno

import pytest
from machines import final_status, run_to_nothing, scenario_of

from mmactors.mm.fault.siginfo import BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, SIGBUS, SIGSEGV


def signals(ran):
    return [(event["sig"], event["code"]) for event in ran.events("signal_generate")]


def rss_of(ran, pid=1):
    return int(final_status(ran, pid)["VmRSS"].split()[0])


def test_mprotect_takes_the_right_to_write_from_all_cpus():
    """The translations of written pages go, so that the next write is refused."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "touch A write",
                "mprotect A 0..8 prot=r",
                "touch A read",
                "touch A write",
            ]
        )
    )

    assert 0 == ran.results()["mprotect A 0..8 prot=r"]
    assert [(SIGSEGV, SEGV_ACCERR)] == signals(ran)
    assert 16 == ran.counters["pgfault"]


def test_memory_that_becomes_writable_again_needs_no_fault_where_it_is_exclusive():
    """Dirty pages of one's own are marked writable by mprotect itself."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "touch A write",
                "mprotect A prot=r",
                "mprotect A prot=rw",
                "touch A write",
            ]
        )
    )

    assert 16 == ran.counters["pgfault"]


def test_memory_without_permissions_keeps_its_pages():
    """PROT_NONE and back: nothing is lost, no fault is needed to read again."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "touch A write",
                "mprotect A prot=none",
                "mprotect A prot=rw",
                "touch A read",
            ]
        )
    )

    assert 16 == ran.counters["pgfault"]
    assert 64 == rss_of(ran)


def test_pages_move_with_their_mapping():
    """mremap moves entries: nothing is faulted in anew, the old place is empty."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "mmap B 64K",
                "touch B write",
                "alias OLD B 4K",
                "mremap B len=4M flags=maymove as=C",
                "touch C 0..16 read",
                "touch OLD read",
            ]
        )
    )

    assert ran.results()["mremap B len=4M flags=maymove as=C"] > 0
    assert 16 == ran.counters["pgfault"]
    assert [(SIGSEGV, SEGV_MAPERR)] == signals(ran)


def test_a_whole_table_moves_by_one_entry():
    """2 MiB that are aligned at both places: their PTE table hangs elsewhere afterwards."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 8M addr=0x10000000 flags=private,anon,fixed",
                "touch A write",
                "mremap A len=8M flags=maymove,fixed addr=0x40000000 as=B",
                "touch B read",
                "munmap B",
            ]
        )
    )

    assert 0x40000000 == ran.results()["mremap A len=8M flags=maymove,fixed addr=0x40000000 as=B"]
    assert 2048 == ran.counters["pgfault"]


def test_dontneed_gives_pages_back_and_leaves_the_area():
    """The next access finds zeros again."""
    ran = run_to_nothing(
        scenario_of(["mmap A 64K", "touch A write", "madvise A 0..8 DONTNEED", "touch A read"])
    )

    assert 16 + 8 == ran.counters["pgfault"]
    assert 32 == rss_of(ran)


def test_lazily_freed_pages_stay_until_memory_is_short():
    """MADV_FREE makes entries clean and old; nothing reclaims here."""
    ran = run_to_nothing(
        scenario_of(["mmap A 64K", "touch A write", "madvise A FREE", "mincore A", "touch A write"])
    )

    assert 16 == ran.results()["mincore A"]
    assert 16 == ran.counters["pgfault"]


@pytest.mark.parametrize(
    "program",
    [
        ["mmap A 64K flags=private,anon,populate"],
        ["mmap A 64K flags=private,anon,locked"],
        ["mmap A 64K", "mlock A"],
        ["mmap A 64K", "madvise A POPULATE_WRITE"],
        ["mlockall 2", "mmap A 64K"],
        ["mmap A 4K", "mlock A", "mremap A len=64K flags=maymove"],
    ],
)
def test_what_is_made_present_does_not_fault_later(program):
    """Populate, mlock, MADV_POPULATE: all pages are there, and count as minor faults."""
    ran = run_to_nothing(scenario_of([*program, "touch A write"]))

    assert 16 == ran.counters["pgfault"]
    assert 64 == rss_of(ran)
    assert 16 == ran.machine.inspect().process(1).min_flt
    assert [] == ran.events("page_fault_user")


def test_memory_locked_on_fault_waits_for_the_fault():
    """mlock2 with MLOCK_ONFAULT makes nothing present."""
    ran = run_to_nothing(scenario_of(["mmap A 64K", "mlock2 A", "mincore A", "touch A 0..4 write"]))

    assert 0 == ran.results()["mincore A"]
    assert "64 kB" == final_status(ran)["VmLck"]
    assert 16 == rss_of(ran)


def test_shared_memory_is_one_for_all_who_map_it():
    """A child finds what its parent wrote: no page of its own."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K flags=shared,anon",
                "touch A write",
                "fork C",
                "C: touch A write",
                "C: mincore A",
                "C: exit",
                "reap",
            ]
        )
    )

    assert 16 == ran.results()["mincore A"]
    assert 0 == ran.counters["nr_shmem"]
    assert 64 == rss_of(ran, 1)


def test_a_hole_in_shared_memory_takes_pages_from_all():
    """MADV_REMOVE: who touches them next gets new ones."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K flags=shared,anon",
                "touch A write",
                "madvise A 0..8 REMOVE",
                "mincore A",
                "touch A write",
            ]
        )
    )

    assert 8 == ran.results()["mincore A"]
    assert 16 + 8 == ran.counters["pgfault"]


@pytest.mark.parametrize("path", ["/shm/f", "/mnt/f"])
def test_a_hole_leaves_the_private_copies_of_all_processes_and_truncation_takes_them(path):
    """even_cows: MADV_REMOVE passes over what parent and child wrote, ftruncate does not."""
    ran = run_to_nothing(
        scenario_of(
            [
                f"open F {path} create",
                "ftruncate F 64K",
                "mmap P 64K file=F flags=private",
                "mmap S 64K file=F flags=shared",
                "touch S write",
                "touch P 0..8 write",
                "fork C",
                "C: touch P 2..4 write",
                "touch P 8..16 read",
                "madvise S 0..12 REMOVE",
                "alias FIRST P 64K",
                "mincore FIRST",
                "C: mincore P",
                "mincore S",
                "touch P 0..8 write",
                "ftruncate F 16K",
                "alias AGAIN P 64K",
                "mincore AGAIN",
                "touch P 0..4 read",
            ]
        )
    )
    results = ran.results()

    assert 8 + 4 == results["mincore FIRST"], "copies, and what the file still has"
    assert 8 + 4 == results["mincore P"]
    assert 4 == results["mincore S"]
    assert 4 == results["mincore AGAIN"]
    assert [] == [
        event
        for event in ran.events("page_fault_user")
        if event["seq"] > ran.events("sys_exit")[-1]["seq"]
    ]


def test_the_stack_grows_where_it_is_touched_and_no_further_than_its_limit():
    """Below the limit is SIGSEGV."""
    ran = run_to_nothing(
        scenario_of(
            [
                "rlimit STACK 1M",
                "alias S stack-512K 4K",
                "touch S write",
                "alias T stack-2M 4K",
                "touch T write",
            ]
        )
    )

    assert [(SIGSEGV, SEGV_MAPERR)] == signals(ran)
    assert "512 kB" == final_status(ran)["VmStk"]


def test_behind_the_end_of_a_file_is_a_bus_error():
    """A file that is cut short loses its pages; an access there gets SIGBUS."""
    ran = run_to_nothing(
        scenario_of(
            [
                "open f /tmp/data create",
                "ftruncate f 64K",
                "mmap A 64K flags=shared file=f",
                "touch A write",
                "ftruncate f 16K",
                "touch A 0..4 read",
                "touch A 4..5 read",
                "close f",
                "munmap A",
                "unlink /tmp/data",
            ],
            on_signal="continue",
        )
    )

    assert [(SIGBUS, BUS_ADRERR)] == signals(ran)


@pytest.mark.parametrize(
    ("touches", "nr_tables"),
    [
        (["touch A 4..5 read"], 1),
        (["touch A 4..5 write"], 1),
        (["touch B 4..5 write"], 1),
        (["touch A 4..5 read", "touch B 4..5 read", "touch B 5..6 write"], 2),
        (["touch A 0..1 write"], 2),
        (["touch A 0..1 write", "touch B 4..5 read"], 4),
        (["touch A 0..1 write", "touch B 4..5 write"], 3),
    ],
)
def test_a_bus_error_leaves_only_upper_tables(touches, nr_tables):
    """The lowest table comes with the first page; a read maps what is cached around first."""

    def nr_tables_after(operations):
        setup = [
            "touch @stack-4K:4K write",
            "open f /tmp/data create",
            "ftruncate f 4K",
            "mmap A 64K addr=0x7a00000000 flags=shared,fixed file=f",
            "mmap B 64K addr=0x7b00000000 flags=private,fixed file=f",
            "mmap C 4K addr=0x7000000000 flags=private,anon,fixed",
            "touch C write",
        ]
        end = ["unlink /tmp/data", "close f"]
        program = [*setup, *operations, *end]
        ran = run_to_nothing(scenario_of(program, on_signal="continue"))
        return int(final_status(ran)["VmPTE"].split()[0]) // 4

    assert nr_tables == nr_tables_after(touches) - nr_tables_after([])


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("mprotect @A+0x1:4K prot=r", errno.EINVAL),
        ("mprotect A 8..64 prot=r", errno.ENOMEM),
        ("mremap A len=0", errno.EINVAL),
        ("mremap A 0..64 len=1M flags=maymove", errno.EFAULT),
        ("madvise A 0..64 DONTNEED", errno.ENOMEM),
        ("mlock A 0..64", errno.ENOMEM),
        ("mlockall 8", errno.EINVAL),
        ("msync @A+0x1:4K", errno.EINVAL),
        ("mincore A 0..64", errno.ENOMEM),
        ("munmap Q", errno.EINVAL),
    ],
)
def test_a_refused_call_says_why_and_the_program_goes_on(call, error):
    """The errno stands in the log; the next operation is done."""
    ran = run_to_nothing(scenario_of(["mmap A 64K", call, "mmap B 4K", "touch B write"]))

    assert -error == list(ran.results().values())[1]
    assert "4 kB" == final_status(ran)["VmRSS"]


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("mlock @A:0xffffffffffffffff", 0),
        ("mlock @A+1:0xffffffffffffffff", 0),
        ("mlock @A:0xfffffffffffff000", -errno.EINVAL),
        ("mlock2 @A:0xfffffffffffff001", 0),
        ("munlock @0x7b00000000:0xffffffffffffffff", 0),
        ("munlock @A+1:0xfffffffffffff000", 0),
        ("munlock @A:0xfffffffffffff000", -errno.EINVAL),
        ("msync @A:0xffffffffffffffff", 0),
        ("msync @A:0xfffffffffffff000", -errno.ENOMEM),
        ("munmap @A:0xffffffffffffffff", -errno.EINVAL),
        ("mprotect @A:0xffffffffffffffff prot=r", -errno.ENOMEM),
        ("madvise @A:0xffffffffffffffff DONTNEED", -errno.EINVAL),
        ("madvise @A:0xfffffffffffff000 DONTNEED", -errno.EINVAL),
        ("mincore @A:0xffffffffffffffff", -errno.ENOMEM),
        ("mmap B 0xffffffffffffffff", -errno.ENOMEM),
        ("mmap B 0xffffffffffffffff flags=private,anon,hugetlb", -errno.EINVAL),
        ("mremap A len=0xffffffffffffffff flags=maymove", -errno.EINVAL),
        ("mremap @A:0xffffffffffffffff len=4K flags=maymove as=B", -errno.EINVAL),
        ("mremap @A:0xfffffffffffff000 len=4K flags=maymove as=B", -errno.EINVAL),
        ("idle @A:0xffffffffffffffff", 16),
        ("faultloop @A:0xffffffffffffffff 1", 1),
        ("brk +0x555500000000000", 0),
        ("brk +0xffffffffffffffff", -1),
        ("brk +0xffffaaaaaaaaa000", 0),
    ],
)
def test_lengths_near_the_end_of_64_bits_wrap_as_each_call_adds_them_up(call, result):
    """Some calls take a length that rounds up to 2^64 for none, others refuse it."""
    setup = ["brk +4K", "mmap A 64K addr=0x7a00000000 flags=private,anon,fixed", "touch A write"]
    ran = run_to_nothing(scenario_of([*setup, call]))

    assert (result, 64) == (list(ran.results().values())[-1], rss_of(ran))


def test_a_refused_move_has_unmapped_the_new_place_if_the_old_end_wrapped():
    """The old length overlaps nothing in 64 bits, and is refused after the new place is gone."""
    move = "mremap @A:0xffffffff00000000 len=4K flags=maymove,fixed addr=0x7b00000000 as=A"
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K addr=0x7a00000000 flags=private,anon,fixed",
                "mmap B 64K addr=0x7b00000000 flags=private,anon,fixed",
                "touch A write",
                "touch B write",
                move,
            ]
        )
    )

    assert (-errno.EINVAL, 124) == (list(ran.results().values())[-1], rss_of(ran))


def test_pages_that_get_their_permissions_back_are_as_old_as_before():
    """mprotect makes nothing young: MADV_COLD flushes only what was touched since the last."""
    ran = run_to_nothing(
        scenario_of(
            [
                "mmap A 64K addr=0x7d00000000",
                "touch A write",
                "madvise A COLD",
                "mprotect A prot=none",
                "mprotect A prot=rw",
                "madvise A COLD",
                "touch A 0..4 read",
                "madvise A COLD",
            ]
        )
    )

    assert [16, 16, 4] == [event["pages"] for event in ran.events("tlb_flush")][1:4]


def test_faultloop_and_fragment_write_and_give_back():
    """Each round faults every page; what is kept stays resident."""
    ran = run_to_nothing(scenario_of(["mmap A 64K", "faultloop A 0..16 5", "fragment A 0..16 4"]))

    results = ran.results()
    assert (5, 0) == (results["faultloop A 0..16 5"], results["fragment A 0..16 4"])
    given_back = [event for event in ran.events("sys_exit") if event["call"] == "madvise"]
    assert [(28, 0)] * (5 + 4) == [(event["nr"], event["ret"]) for event in given_back]
    assert 6 * 16 == ran.counters["pgfault"]
    assert 16 == rss_of(ran)
