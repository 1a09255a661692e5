"""What tools open first: the values of a recorded text printed again are its bytes."""

import json
import re
from pathlib import Path

import pytest
from attrs import evolve
from machines import run, scenario_of

from mmactors.mm.page_cache.writeback import domain_dirty_limits, global_dirtyable_memory
from mmactors.observe.proc.process import stat_text, thread_files
from mmactors.observe.proc.process_view import (
    IoView,
    MmView,
    Mount,
    NumaNumbers,
    OpenFileView,
    ProcessView,
    ThreadView,
    VmaView,
)
from mmactors.observe.proc.system import (
    SWAPS_HEADER,
    CpuInfo,
    Disk,
    cpuinfo,
    diskstats,
    loadavg,
    uptime,
)
from mmactors.observe.proc.task import (
    fdinfo_text,
    io_text,
    limits_text,
    mounts_text,
    numa_maps_text,
    strings_text,
)
from mmactors.units import MIB

TEXTS = json.loads(
    (Path(__file__).parents[1] / "reference/linux-6.1/userland/tools/texts.json").read_text()
)


def test_io_is_the_kernels_text():
    """Calls and bytes by name."""
    text = TEXTS["PID/io"]
    values = {name: int(value) for name, value in re.findall(r"(\w+): (\d+)\n", text)}

    assert text == io_text(IoView(**values))


def test_limits_are_the_kernels_text():
    """Those that differ from the first process's are what this machine's memory allows."""
    text = TEXTS["PID/limits"]
    own = [("processes", 785, 785), ("pending signals", 785, 785)]

    assert text == limits_text(own)


def test_fdinfo_is_the_kernels_text():
    """A file that was opened for reading and writing."""
    file = OpenFileView(fd=3, path="/f", flags=0o100002, inode=3, mount_id=25)

    assert TEXTS["PID/fdinfo/3"] == fdinfo_text(file)


def test_numa_maps_is_the_kernels_text():
    """What maps says of areas, and the numbers of numa_maps, give its lines."""
    maps = [line.split(maxsplit=5) for line in TEXTS["PID/maps"].splitlines()]
    text = TEXTS["PID/numa_maps"]
    heap = next(words[0] for words in maps if words[5:] == ["[heap]"])
    brk = 0x4E3000
    areas = []
    for words, line in zip(maps, text.splitlines(), strict=True):
        start, end = (int(word, 16) for word in words[0].split("-"))
        counts = {name: int(number) for name, number in re.findall(r" (\w+)=(\d+)", line)}
        pages = counts.get("N0", 0)
        areas.append(
            VmaView(
                start=start,
                end=end,
                vm_flags=0,
                name=words[5] if words[5:] else None,
                has_file=words[4] != "0",
                numa=NumaNumbers(
                    pages=pages,
                    anon=counts.get("anon", 0),
                    dirty=counts.get("dirty", 0),
                    mapcount_max=counts.get("mapmax", 1),
                    active=counts.get("active", pages),
                    nodes=(pages,),
                ),
            )
        )
    mm = MmView(
        total_vm_pages=0,
        start_brk=int(heap.split("-")[0], 16),
        brk=brk,
        start_stack=0x7FFF_FFFF_EBE0,
        vmas=tuple(areas),
    )

    assert text == numa_maps_text(mm)


def test_a_thread_has_its_own_number_and_its_processs_memory():
    """stat and status of a thread differ from its process's where the kernel's do."""
    recorded = TEXTS["PID/task/TID/stat"].split()
    process = ProcessView(
        pid=94, comm="demo", ppid=90, nr_threads=2, minflt=299, start_time_ticks=424
    )
    worker = ThreadView(tid=96, comm="worker", start_time_ticks=429, cpu=1, nvcsw=1)
    files = thread_files(process, worker)
    ours = files["stat"].split()

    same = [0, 1, 2, 3, 6, 7, 8, 9, 10, 17, 19, 21, 34, 37, 38]
    assert [recorded[nth] for nth in same] == [ours[nth] for nth in same]
    assert "17" == stat_text(process).split()[37], "the first thread's end is told"
    names = ("Name", "Tgid", "Pid", "NStgid", "NSpid", "Threads", "voluntary_ctxt_switches")
    for name in names:
        line = re.search(rf"^{name}:.*$", TEXTS["PID/task/TID/status"], re.MULTILINE)[0]
        assert f"{line}\n" in files["status"], name
    assert "worker\n" == files["comm"]


def test_uptime_and_loadavg_are_the_kernels_texts():
    """Seconds, cut to hundredths; a load of nothing."""
    assert TEXTS["uptime"] == uptime(uptime_ns=6_309_999_999, idle_ns=5_650_000_000)
    assert TEXTS["loadavg"] == loadavg(nr_running=1, nr_threads=55, last_pid=99)


def test_lists_without_entries_are_their_headers():
    """No swap."""
    assert TEXTS["swaps"] == SWAPS_HEADER


def test_mounts_are_the_kernels_lines():
    """Device, place, kind and options of each."""
    lines = [line.split() for line in TEXTS["mounts"].splitlines()]
    mounts = [Mount(device=w[0], place=w[1], kind=w[2], options=w[3]) for w in lines]

    assert TEXTS["mounts"] == mounts_text(mounts)


def test_cpuinfo_has_the_kernels_lines():
    """In its order, but for those that only some processors have."""
    one = CpuInfo(
        cpu=0,
        model_name="x",
        cache_size_kb=512,
        physical_id=0,
        siblings=2,
        core_id=0,
        flags=("lm",),
        tlb_pages=1024,
        cache_line_bytes=64,
        physical_bits=40,
        virtual_bits=48,
    )
    ours = cpuinfo([one, evolve(one, cpu=1, core_id=1)])
    recorded = TEXTS["cpuinfo"]

    def labels(text):
        return [line.partition(":")[0] for line in text.splitlines()]

    only_some = ("microcode\t", "cpu MHz\t\t")
    assert [label for label in labels(recorded) if label not in only_some] == labels(ours)
    for label in ("cache size", "siblings", "core id", "TLB size", "address sizes", "wp"):
        lines = re.findall(rf"^{label}\t.*$", recorded, re.MULTILINE)
        assert lines == re.findall(rf"^{label}\t.*$", ours, re.MULTILINE)


def test_diskstats_has_twenty_columns():
    """Requests and sectors of both directions (block/genhd.c)."""
    disk = Disk(
        major=254, minor=0, name="vda", reads=3, sectors_read=24, writes=5, sectors_written=40
    )

    assert " 254       0 vda 3 0 24 0 5 0 40 0 0 0 0 0 0 0 0 0 0\n" == diskstats([disk])


def test_strings_end_with_nul():
    """Arguments, and the environment."""
    assert "a\0b c\0" == strings_text(["a", "b c"])
    assert "" == strings_text([])


def test_dirty_thresholds_are_those_of_the_recorded_moment():
    """Of what is free or of files, without what zones keep, 20 and 10 percent."""
    vmstat = {name: int(n) for name, n in re.findall(r"(\S+) (\d+)\n", TEXTS["vmstat"])}
    kept = 0
    for zone in TEXTS["zoneinfo"].split("Node 0")[1:]:
        reserve = max(map(int, re.search(r"protection: \((.*)\)", zone)[1].split(", ")))
        high, managed = (int(re.search(rf"{name} +(\d+)", zone)[1]) for name in ("high", "managed"))
        kept += min(managed, reserve + high)
    available = global_dirtyable_memory(
        nr_free=vmstat["nr_free_pages"],
        totalreserve_pages=kept,
        nr_file=vmstat["nr_inactive_file"] + vmstat["nr_active_file"],
    )

    assert domain_dirty_limits(available) == (
        vmstat["nr_dirty_threshold"],
        vmstat["nr_dirty_background_threshold"],
    )


@pytest.fixture(scope="module")
def left():
    """The files that a machine of the recorded size leaves."""
    return run(scenario_of(["nop"], size=256 * MIB, cpus=2)).machine.proc()


def test_settings_are_those_of_the_recorded_kernel(left):
    """All files of /proc/sys/vm that can be read, but for what depends on memory."""
    ours = {
        name.removeprefix("sys/vm/"): text.rstrip("\n")
        for name, text in left.items()
        if name.startswith("sys/vm/")
    }
    of_memory = {"admin_reserve_kbytes", "user_reserve_kbytes", "min_free_kbytes"}

    assert TEXTS["sys/vm"].keys() == ours.keys()
    assert [] == [name for name in ours.keys() - of_memory if TEXTS["sys/vm"][name] != ours[name]]


def test_self_is_the_first_process(left):
    """Where nobody reads; a program that reads finds itself there."""
    assert ("1", "1/task/1", "self/mounts") == (
        left["self"],
        left["thread-self"],
        left["mounts"],
    )
