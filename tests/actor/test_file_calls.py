"""System calls on files: results, page cache, lengths, and who waits for whom."""

from machines import EXACT, run, run_to_nothing, scenario_of

from mmactors.actors.state.inode import I_RWSEM_CLASS

ENOENT, EBADF, EFAULT = 2, 9, 14
A = "/shm/a"


def file_of(ran, path):
    return ran.machine.inspect().files[path]


def counted(ran, name):
    return ran.machine.inspect().nodes[0].counters[name].snapshot


def test_a_file_must_be_there_or_be_made():
    """open without create of a path that nothing has is ENOENT, and the name then means nothing."""
    ran = run(scenario_of(["open F /shm/a", "fsync F", "open G /shm/a create"]))

    assert {"open F /shm/a": -ENOENT, "fsync F": -EBADF, "open G /shm/a create": 0} == ran.results()


def test_writing_makes_a_file_longer_and_reading_ends_at_its_end():
    """Two pages and a half are written: three pages are cached, as shared memory."""
    ran = run(
        scenario_of(
            [
                "open F /shm/a create",
                "write F 0 10K bs=4K",
                "read F 0 64K bs=4K",
                "read F 8K 4K bs=1K",
            ]
        )
    )
    file = file_of(ran, A)

    assert [0, 10240, 10240, 2048] == list(ran.results().values())
    assert [0, 1, 2] == sorted(file.pages)
    assert 10240 == file.size_bytes
    assert 3 == counted(ran, "nr_shmem") == counted(ran, "nr_file_pages")


def test_truncation_frees_the_pages_behind_the_new_end():
    """A page of which a part is left stays."""
    ran = run(scenario_of(["open F /shm/a create", "write F 0 16K bs=4K", "ftruncate F 5000"]))

    assert [0, 1] == sorted(file_of(ran, A).pages)
    assert 2 == counted(ran, "nr_shmem")


def test_a_file_goes_when_name_and_last_user_have_gone():
    """An open file can be read when it has no name any more; the end of a process closes it."""
    ran = run_to_nothing(
        scenario_of(
            ["open F /shm/a create", "write F 0 8K bs=4K", "unlink /shm/a", "read F 0 8K bs=8K"]
        )
    )

    assert 8192 == ran.results()["read F 0 8K bs=8K"]
    assert 0 == counted(ran, "nr_shmem")


def test_only_clean_pages_of_a_disk_can_be_dropped():
    """fadvise DONTNEED passes over dirty pages; after fsync they are clean."""
    ran = run(
        scenario_of(
            [
                "open F /mnt/a create",
                "write F 0 8K bs=4K",
                "fadvise F 0 4K DONTNEED",
                "fsync F",
                "fadvise F 4K 0 DONTNEED",
                "read F 4K 4K bs=4K",
                "fadvise F 0 0 DONTNEED",
            ]
        )
    )
    file = file_of(ran, "/mnt/a")

    assert {0, 1} == set(file.stored)
    assert {} == file.pages
    assert 0 == counted(ran, "nr_shmem") == counted(ran, "nr_file_pages")


def test_a_write_faults_in_what_it_copies_from_with_i_rwsem_held():
    """The page of the buffer is touched for the first time; both locks are counted."""
    ran = run(scenario_of(["open F /shm/a create", "mmap A 8K", "write F 0 8K bs=8K from=A"]))
    taken = ran.machine.inspect().locks

    assert 8192 == ran.results()["write F 0 8K bs=8K from=A"]
    assert 2 == ran.counters["pgfault"]
    assert 1 == taken[I_RWSEM_CLASS].write.acquisitions


def test_a_buffer_that_cannot_be_read_is_efault():
    """No signal is sent, and nothing was written."""
    ran = run(
        scenario_of(["open F /shm/a create", "mmap A 4K prot=none", "write F 0 4K bs=4K from=A"])
    )

    assert -EFAULT == ran.results()["write F 0 4K bs=4K from=A"]
    assert [] == ran.events("signal_generate")
    assert 0 == file_of(ran, A).size_bytes


def test_msync_writes_the_part_of_the_file_that_the_area_shows():
    """Of four dirty pages two lie in the range; with other flags nothing is written."""
    program = [
        "open F /mnt/a create",
        "write F 0 16K bs=4K",
        "mmap S 8K file=F flags=shared off=4K",
        "touch S write",
        "msync S flags=async",
        "msync S flags=invalidate",
    ]
    before = run(scenario_of(program))
    ran = run(scenario_of([*program, "msync S 1..2", "alias T S 8K"]))

    assert () == file_of(before, "/mnt/a").stored
    assert (2,) == file_of(ran, "/mnt/a").stored
    assert [0, 0, 0] == list(ran.results().values())[-3:]


def test_a_store_after_msync_faults_to_make_the_page_dirty_again():
    """Writing back takes the right to write; memory of tmpfs is not written back and keeps it."""
    program = [
        "ftruncate F 4K",
        "mmap S 4K file=F flags=shared",
        "touch S write",
        "msync S",
        "touch S write",
    ]
    on_disk = run(scenario_of(["open F /mnt/a create", *program]))
    in_memory = run(scenario_of(["open F /shm/a create", *program]))

    assert 2 == len(on_disk.events("page_fault_user"))
    assert 1 == len(in_memory.events("page_fault_user"))


def test_msync_lets_go_of_mmap_lock_while_it_waits_for_the_file():
    """Who has the page locked, on the way to the same mmap_lock, is not waited for with it held."""
    ran = run(
        scenario_of(
            [
                "open F /mnt/a create",
                "ftruncate F 64K",
                "mmap S 64K file=F flags=shared",
                "thread T cpu=1",
                "touch S write",
                "T& write F 0 64K bs=64K from=S",
                "msync S",
                "wait",
                "munmap S",
            ],
            cpus=2,
            **EXACT,
        )
    )

    assert 0 == ran.results()["msync S"]
    assert 65536 == ran.results()["write F 0 64K bs=64K from=S"]


def test_a_file_that_lost_its_name_goes_with_the_last_area_that_maps_it():
    """On disk, too: nobody can reach it any more."""
    ran = run_to_nothing(
        scenario_of(
            [
                "open F /mnt/a create",
                "write F 0 8K bs=4K",
                "mmap S 8K file=F flags=shared",
                "unlink /mnt/a",
                "close F",
                "touch S read",
                "munmap S",
                "nop",
            ]
        )
    )

    assert 0 == counted(ran, "nr_file_pages")
