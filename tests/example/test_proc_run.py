"""psutil on the proc/ of a run: what it reads are the model's numbers."""

import psutil
import pytest
from machines import run, scenario_of, write_proc

from mmactors.units import KIB, MIB, PAGE_SIZE

PROGRAM = [
    "mmap A 4M",
    "touch A 0..300 write",
    "mmap B 1M prot=r",
    "touch B read",
    "brk +128K",
    "heap H 128K",
    "touch H write",
]
FILES = [
    "open F {path} create",
    "write F 0 100K bs=4K",
    "read F 0 40K bs=8K",
    "open G /mnt/g create",
    "write G 0 64K bs=4K",
    "fsync G",
    "mmap M 64K flags=shared file=F",
    "touch M 0..10 write",
    "mmap S 64K flags=shared,anon",
    "touch S 0..7 write",
    "mlock M 0..4",
    "thread T1 cpu=1",
    "T1& compute 9ms",
]


def stopped_at(programs, tmp_path, monkeypatch, *, until_ns, **machine):
    """Return a machine in the middle of a run, its /proc where psutil reads it."""
    ran = run(scenario_of(*programs, **machine), until_ns=until_ns, is_logged=False)
    write_proc(tmp_path / "proc", ran.machine.proc())
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))
    return ran.machine


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """Two processes: one runs still, one has ended."""
    programs = [*PROGRAM, "compute 10000us"], [*PROGRAM, "munmap A 0..100"]
    return stopped_at(programs, tmp_path, monkeypatch, cpus=2, until_ns=5_000_000)


@pytest.fixture
def with_files(tmp_path, monkeypatch):
    """A process with files, shared memory, a thread and a child; what it opens lies here, too.

    psutil tells open files only if they are there.
    """
    (tmp_path / "opened").touch()
    program = [operation.format(path=tmp_path / "opened") for operation in FILES]
    program += ["fork C", "C: cpu 2", "C: touch A 0..5 write", "sleep 100"]
    programs = (["mmap A 64K", "touch A write", *program],)
    return stopped_at(programs, tmp_path, monkeypatch, cpus=3, until_ns=8_000_000)


def vmstat_of(machine):
    lines = [line.split() for line in machine.proc()["vmstat"].splitlines()]
    return {name: int(value) for name, value in lines}


def test_virtual_memory_is_that_of_the_machine(stopped):
    """Total is what the zones manage, free what their counters say, which lag as the kernel's."""
    memory = psutil.virtual_memory()
    zones = stopped.inspect().zones

    assert sum(zone.managed_pages for zone in zones) * PAGE_SIZE == memory.total
    assert memory.free == PAGE_SIZE * sum(zone.counters["nr_free_pages"].value for zone in zones)
    assert 0 < memory.available <= memory.free


def test_virtual_memory_is_made_of_the_counters_of_vmstat(with_files):
    """Page cache, shared memory, and both kinds of lists."""
    memory, counted = psutil.virtual_memory(), vmstat_of(with_files)
    pages = {
        "cached": counted["nr_file_pages"] + counted["nr_slab_reclaimable"],
        "shared": counted["nr_shmem"],
        "active": counted["nr_active_anon"] + counted["nr_active_file"],
        "inactive": counted["nr_inactive_anon"] + counted["nr_inactive_file"],
        "slab": counted["nr_slab_reclaimable"] + counted["nr_slab_unreclaimable"],
        "buffers": 0,
    }

    assert {name: number * PAGE_SIZE for name, number in pages.items()} == {
        name: getattr(memory, name) for name in pages
    }
    assert 0 < memory.shared < memory.cached


def test_there_is_no_swap(stopped):
    """And so nothing of it was used."""
    swap = psutil.swap_memory()

    assert (0, 0, 0, 0) == (swap.total, swap.used, swap.sin, swap.sout)


def test_memory_info_is_that_of_each_process(stopped):
    """One runs still, one has ended: rss and size of both.

    The one that runs has not told of its last faults yet.
    """
    running, ended = psutil.Process(1), psutil.Process(2)

    assert 0 < (300 + 32) * PAGE_SIZE - running.memory_info().rss <= 65 * PAGE_SIZE
    assert (200 + 32) * PAGE_SIZE == ended.memory_info().rss
    assert 5 * MIB + (128 + 132) * 1024 == running.memory_info().vms
    assert stopped.inspect().process(1).memory.rss_pages * PAGE_SIZE == running.memory_info().rss
    assert ["p0", "p1"] == [running.name(), ended.name()]


def test_what_is_a_process_s_own_and_its_share_are_told_apart(with_files):
    """Fork shares everything; the child wrote to five pages."""
    parent, child = (psutil.Process(pid).memory_full_info() for pid in (1, 3))

    assert 5 * PAGE_SIZE == child.uss
    assert 16 * PAGE_SIZE == child.rss - child.shared
    assert 5 * PAGE_SIZE + 11 * PAGE_SIZE // 2 == child.pss
    assert parent.uss > 0 == child.swap


def test_memory_maps_are_the_areas_of_each_process(stopped):
    """Each area with its addresses and what of it is resident."""
    maps = psutil.Process(1).memory_maps(grouped=False)

    assert [f"{area.start:x}-{area.end:x}" for area in stopped.inspect().process(1).areas] == [
        "-".join(f"{int(part, 16):x}" for part in one.addr.split("-")) for one in maps
    ]
    assert (300 + 32) * PAGE_SIZE == sum(one.rss for one in maps)
    assert (200 + 32) * PAGE_SIZE == sum(
        one.rss for one in psutil.Process(2).memory_maps(grouped=False)
    )


def test_pids_are_those_of_the_machine(stopped):
    """psutil sees the processes of the run and nobody else."""
    assert [1, 2] == sorted(psutil.pids())
    assert ["p0", "p1"] == [one.name() for one in psutil.process_iter()]


def test_open_files_are_those_of_the_process(with_files, tmp_path):
    """By descriptor, the lowest first; the child has those that its parent had."""
    for pid in (1, 3):
        process = psutil.Process(pid)
        (opened,) = process.open_files()

        assert (str(tmp_path / "opened"), 3, "r+") == (opened.path, opened.fd, opened.mode)
        assert 2 == process.num_fds()
    assert [(3, "F"), (4, "G")] == [
        (fd, file.name) for fd, file in enumerate(with_files.inspect().process(1).files, start=3)
    ]


def test_threads_are_those_of_the_process(with_files):
    """Each has a number that no process has; the first one has its process's."""
    process = psutil.Process(1)

    assert 2 == process.num_threads()
    assert [1, 2] == [thread.id for thread in process.threads()]
    assert [1, 3] == psutil.pids()
    assert [3] == [thread.id for thread in psutil.Process(3).threads()]


def test_io_counters_are_what_was_read_and_written(with_files):
    """Calls and bytes of files, and of those on disk what will be, or was, written there."""
    io = psutil.Process(1).io_counters()

    assert (5, 25 + 16) == (io.read_count, io.write_count)
    assert (40 * KIB, 164 * KIB) == (io.read_chars, io.write_chars)
    assert (0, 64 * KIB) == (io.read_bytes, io.write_bytes)
    assert 0 == psutil.Process(3).io_counters().write_chars


def test_the_disk_has_what_was_written_back(with_files):
    """The rest of its files is in memory; pgpgout counts the same in KiB."""
    disk = psutil.disk_io_counters(perdisk=True)["vda"]

    assert (64 * KIB, 16, 0) == (disk.write_bytes, disk.write_count, disk.read_bytes)
    assert 64 == vmstat_of(with_files)["pgpgout"]


def test_what_a_process_is_and_does(with_files):
    """Its parent, its CPU, its state, and where its program lies; it was given no environment."""
    parent, child = psutil.Process(1), psutil.Process(3)

    assert (0, 1) == (parent.ppid(), child.ppid())
    assert (psutil.STATUS_SLEEPING, 0, 2) == (parent.status(), parent.cpu_num(), child.cpu_num())
    assert ({}, ["p0"], "/") == (parent.environ(), parent.cmdline(), parent.cwd())
    assert "/p0" == parent.exe()
    assert (0, 0, 0) == parent.uids()
    assert parent.create_time() < child.create_time() + 0.01


def test_times_of_cpus_are_those_of_the_machine(with_files):
    """One line a CPU; together they are as long as the machine has been up."""
    times = psutil.cpu_times(percpu=True)

    assert 3 == len(times)
    assert 0 == psutil.boot_time()
    uptime = float((with_files.proc()["uptime"]).split()[0])
    assert 0 == uptime == int(with_files.now_ns / 1e7) / 100
    assert psutil.cpu_stats().interrupts == sum(
        sum(cpu.interrupts.values()) for cpu in with_files.inspect().cpus
    )


def test_a_program_reads_what_the_run_leaves():
    """A file of /proc is one text, whoever reads it."""
    names = ("meminfo", "vmstat", "uptime", "cpuinfo", "sys/vm/swappiness", "mounts", "1/limits")
    gets = [f"get /proc/{name}" for name in names]
    ran = run(scenario_of(["mmap A 64K", "touch A write", *gets]))
    left = ran.machine.proc()

    for read in ran.machine.texts():
        name = read.path.removeprefix("/proc/")
        if name not in ("meminfo", "vmstat"):
            expected = left["1/mounts"] if name == "mounts" else left[name]
            assert expected == read.text, name
