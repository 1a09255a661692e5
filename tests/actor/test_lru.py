"""LRU lists of a machine: who comes to which list, what counts, who is freed with a batch."""

import pytest
from machines import run, run_to_nothing, scenario_of

from mmactors.units import MIB


def counts(program, *names, until_ns=None, **options):
    """Return counters when a program has ended, exact ones."""
    ran = run(scenario_of([*program, "spin"], **options), until_ns=until_ns or 10_000_000)
    seen = ran.machine.inspect()
    sums = [
        {name: value.snapshot for name, value in node.counters.items()} for node in seen.nodes
    ] + [{name: value.snapshot for name, value in zone.counters.items()} for zone in seen.zones]
    events = seen.counters
    return tuple(
        sum(each[name] for each in sums if name in each)
        if any(name in each for each in sums)
        else events[name]
        for name in names
    )


def test_locked_pages_count_in_the_machine():
    """Populated and locked: culled at once; unlocked: rescued."""
    program = ["mmap B 2M", "touch B 0..200 write", "mlock B 0..400", "munlock B 300..400"]

    assert (300, 300, 400, 100) == counts(
        program,
        "nr_mlock",
        "nr_unevictable",
        "unevictable_pgs_mlocked",
        "unevictable_pgs_munlocked",
    )


def test_meminfo_shows_locked_and_unevictable_memory():
    """As /proc/vmstat does, in KiB."""
    ran = run(
        scenario_of(["mmap B 2M", "mlock B 0..300", "spin"], size=64 * MIB), until_ns=10_000_000
    )
    lines = dict(line.split(":") for line in ran.machine.proc()["meminfo"].splitlines())

    assert ["1200 kB", "1200 kB"] == [lines[name].strip() for name in ("Mlocked", "Unevictable")]


def test_a_copy_in_a_locked_area_takes_the_lock_of_the_old_page_over():
    """The old page is unlocked in the batch, the new one is locked."""
    program = [
        "mmap A 64K",
        "touch A write",
        "mlock A",
        "fork C",
        "touch A write",
        "madvise A WILLNEED",
    ]

    assert (16, 16) == counts(program, "nr_mlock", "unevictable_pgs_munlocked")


def test_populating_twice_uses_pages_twice():
    """Each time counts as a use (FOLL_TOUCH): they become active."""
    program = ["mmap A 256K", "madvise A POPULATE_READ", "madvise A POPULATE_WRITE"]
    again = [*program, "madvise A POPULATE_READ", "touch A 0..1 read", "madvise A POPULATE_READ"]

    assert (0,) == counts(program, "nr_active_anon")
    # 64 pages were populated three times; the last call found all of them active or so marked.
    assert (64,) == counts([*again, "madvise A WILLNEED"], "nr_active_anon")


def test_a_page_of_another_cpus_batch_is_freed_with_it():
    """munmap lets go of it while it waits there; nobody frees it before the batch is worked off."""
    program = [
        "mmap A 4K",
        "mmap B 256K",
        "thread T1 cpu=1",
        "T1: touch A write",
        "munmap A",
        "T1: touch B 0..14 write",
    ]
    ran = run(scenario_of([*program, "spin"], cpus=2), until_ns=10_000_000)

    assert not ran.events("mm_page_free_batched")[:-1]
    assert ran.machine.inspect().cpus[1].lru_batch_pfns == ()


@pytest.mark.parametrize(("advice", "active", "inactive"), [("COLD", 0, 64), ("PAGEOUT", 64, 0)])
def test_cold_pages_are_inactive_and_pages_that_cannot_be_swapped_active(advice, active, inactive):
    """Where there is no swap, who would write a page there puts it back as active."""
    program = [
        "mmap A 256K",
        "touch A write",
        f"madvise A {advice}",
        "madvise A WILLNEED",
    ]

    assert (active, inactive) == counts(program, "nr_active_anon", "nr_inactive_anon")


def test_pages_written_after_they_were_given_up_are_memory_again():
    """MADV_PAGEOUT frees what is clean since MADV_FREE; what was written since becomes active."""
    program = [
        "mmap A 256K",
        "touch A write",
        "madvise A FREE",
        "touch A 0..24 write",
        "madvise A PAGEOUT",
        "madvise A WILLNEED",
    ]

    assert (40, 24, 24) == counts(program, "pglazyfreed", "nr_anon_pages", "nr_active_anon")


def test_shared_pages_that_nobody_wrote_are_freed_and_written_ones_become_active():
    """Without swap shared memory that is dirty stays in the page cache, without an entry."""
    program = [
        "mmap A 256K flags=shared,anon",
        "touch A 0..40 read",
        "touch A 40..64 write",
        "madvise A PAGEOUT",
        "madvise A WILLNEED",
    ]

    assert (24, 0, 24) == counts(program, "nr_shmem", "nr_mapped", "nr_active_anon")


def test_pages_of_a_file_on_disk_are_reclaimed_where_they_are_clean():
    """Dirty ones wait for who writes them back."""
    program = [
        "open F /mnt/f create",
        "ftruncate F 256K",
        "mmap A 256K flags=shared file=F",
        "touch A 0..40 read",
        "touch A 40..64 write",
        "madvise A PAGEOUT",
        "madvise A WILLNEED",
    ]

    assert (0, 24) == counts(program, "nr_mapped", "nr_vmscan_immediate_reclaim")


def test_a_mapped_file_is_read_ahead_by_advice():
    """MADV_WILLNEED brings all of it into the cache, without mmap_lock; faults are minor then."""
    program = [
        "open F /mnt/f create",
        "ftruncate F 256K",
        "mmap A 256K flags=shared file=F",
        "madvise A WILLNEED",
        "touch A read",
    ]
    assert (64, 0) == counts(program, "nr_file_pages", "pgmajfault")


def test_a_fault_reads_around_the_page_it_misses():
    """32 pages, half of them before it; with MADV_RANDOM only the one."""
    begin = ["open F /mnt/f create", "ftruncate F 512K", "mmap A 512K flags=shared file=F"]

    assert (1, 32) == counts([*begin, "touch A 64..65 read"], "pgmajfault", "nr_file_pages")
    assert (1, 1) == counts(
        [*begin, "madvise A RANDOM", "touch A 64..65 read"], "pgmajfault", "nr_file_pages"
    )


def test_pages_of_a_file_that_are_read_twice_become_active():
    """Read by calls, or through a mapping that goes; not in an area that is read once."""
    begin = ["open F /shm/f create", "write F 0 64K bs=4K"]
    mapped = ["mmap A 64K flags=shared file=F prot=r", "touch A read", "munmap A"]
    once = ["mmap A 64K flags=shared file=F prot=r", "madvise A SEQUENTIAL", "touch A read"]

    drain = ["mmap Z 4K", "madvise Z WILLNEED"]

    assert (16,) == counts([*begin, "read F 0 64K bs=4K", *drain], "nr_active_anon")
    assert (16,) == counts([*begin, *mapped, *drain], "nr_active_anon")
    assert (0,) == counts([*begin, *once, "munmap A"], "nr_active_anon")


def test_batches_of_all_cpus_are_drained_where_dropping_pages_failed():
    """fadvise DONTNEED: another CPU's batch holds the pages (lru_add_drain_all)."""
    program = [
        "open F /mnt/f create",
        "thread T1 cpu=1",
        "ftruncate F 32K",
        "T1: read F 0 32K bs=4K",
        "fadvise F 0 32K DONTNEED",
    ]

    assert (0,) == counts(program, "nr_file_pages", cpus=2)


def test_memory_goes_offline_though_its_pages_waited():
    """lru_cache_disable: a page that waits would never become free."""
    run_to_nothing(
        scenario_of(
            [
                "mmap A 64K",
                "alloc_pages B order=9 gfp=HIGHUSER_MOVABLE",
                "touch A write",
                "free_pages B",
                "munmap A",
                "drain_all_pages",
            ]
        )
    )
