"""Machine-wide files of /proc: recorded texts parsed and printed again are the same bytes."""

import json
import re
from pathlib import Path

import psutil
import pytest

from mmactors.observe.proc.cpu import CpuTimes, DeviceInterrupt, Stat, interrupts, stat
from mmactors.observe.proc.lock_stat import (
    LockClassStats,
    LockPoint,
    LockSide,
    LockTime,
    lock_stat,
)
from mmactors.observe.proc.machine import (
    FreeArea,
    MemInfo,
    NodeInfo,
    Pageset,
    ZoneInfo,
    ZonePageTypes,
    buddyinfo,
    meminfo,
    pagetypeinfo,
    vmstat,
    zoneinfo,
)

TEXTS = Path(__file__).parents[1] / "reference/linux-6.1/userland/machine/texts.json"
NR_ORDERS = 11


def recorded(name):
    """Return the recorded texts of a file as parameters."""
    recordings = json.loads(TEXTS.read_text())
    return [
        pytest.param(recording["files"][name], id=recording["source"])
        for recording in recordings
        if name in recording["files"]
    ]


@pytest.mark.parametrize("text", recorded("meminfo"))
def test_meminfo_is_the_kernels_text(text):
    """The values of a recorded meminfo give its text."""
    assert text == meminfo(parse_meminfo(text))


@pytest.mark.parametrize("text", recorded("vmstat"))
def test_vmstat_is_the_kernels_text(text):
    """The counters of a recorded vmstat give its text."""
    counters = [line.split() for line in text.splitlines()]

    assert text == vmstat((name, int(value)) for name, value in counters)


@pytest.mark.parametrize("text", recorded("buddyinfo"))
def test_buddyinfo_is_the_kernels_text(text):
    """The free areas of a recorded buddyinfo give its text."""
    areas = [
        FreeArea(node=int(node), zone=zone, nr_free=tuple(map(int, counts.split())))
        for node, zone, counts in re.findall(r"Node (\d+), zone +(\w+) (.*)", text)
    ]

    assert text == buddyinfo(areas)


@pytest.mark.parametrize("text", recorded("zoneinfo"))
def test_zoneinfo_is_the_kernels_text(text):
    """The nodes of a recorded zoneinfo give its text."""
    assert text == zoneinfo([parse_node(text)])


@pytest.mark.parametrize("text", recorded("pagetypeinfo"))
def test_pagetypeinfo_is_the_kernels_text(text):
    """The zones of a recorded pagetypeinfo give its text."""
    assert text == pagetypeinfo([parse_page_types(text)], pageblock_order=9)


def test_pagetypeinfo_stops_counting():
    """A hundred thousand free blocks are printed as a lower limit."""
    free = ((100_000, 7), *((0, 0),) * 4)
    zone = ZonePageTypes(node=0, zone="Normal", nr_free=free, nr_blocks=(1, 0, 0, 0, 0))

    text = pagetypeinfo([[zone]], pageblock_order=9)

    assert "Node    0, zone   Normal, type    Unmovable >100000      7 \n" in text


def test_boost_raises_the_watermarks():
    """The text shows the watermarks as reclaim sees them."""
    zone = ZoneInfo(name="Normal", watermark_boost=5, watermark_min=10, watermark_low=20)

    text = zoneinfo([NodeInfo(node=0, counters=(), zones=(zone,))])

    assert "boost    5\n        min      15\n        low      25\n        high     5\n" in text


def test_psutil_reads_meminfo(tmp_path, monkeypatch):
    """psutil gives the memory of the machine whose files it is pointed to."""
    info = MemInfo(
        total=50_000, free=40_000, available=41_000, buffers=100, file_pages=1_100, active_anon=300
    )
    (tmp_path / "meminfo").write_text(meminfo(info))
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))

    memory = psutil.virtual_memory()
    sizes = (
        memory.total,
        memory.free,
        memory.available,
        memory.buffers,
        memory.cached,
        memory.active,
    )

    assert [50_000, 40_000, 41_000, 100, 1_000, 300] == [size // 4096 for size in sizes]


def test_interrupts_have_a_column_a_cpu():
    """Rows have the kernel's widths; rows without counts are zero."""
    device = DeviceInterrupt(
        irq=26, counts=(0, 15), chip="IO-APIC", hwirq=4, flow="edge", action="ttyS0"
    )

    lines = interrupts({"TLB": (3, 1234567)}, nr_cpus=2, devices=[device]).splitlines()

    assert lines[0] == "           CPU0       CPU1       "
    assert lines[1] == " 26:          0         15   IO-APIC   4-edge      ttyS0"
    assert lines[2] == "NMI:          0          0   Non-maskable interrupts"
    assert lines[10] == "TLB:          3    1234567   TLB shootdowns"
    assert lines[16] == "ERR:          0"


def test_stat_counts_hundredths_of_seconds(tmp_path, monkeypatch):
    """The first line is the sum of the CPUs, and psutil reads both."""
    first = CpuTimes(user_ns=1_509_000_000, idle_ns=20_000_000)
    second = CpuTimes(user_ns=1_000_000, system_ns=30_000_000)
    values = Stat(
        cpus=(first, second),
        nr_interrupts=9,
        line_counts=(0, 4),
        context_switches=12,
        boot_time_s=77,
        processes=3,
        procs_running=2,
    )

    text = stat(values)
    (tmp_path / "stat").write_text(text)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))

    assert text == (
        "cpu  151 0 3 2 0 0 0 0 0 0\n"
        "cpu0 150 0 0 2 0 0 0 0 0 0\n"
        "cpu1 0 0 3 0 0 0 0 0 0 0\n"
        "intr 9 0 4\n"
        "ctxt 12\nbtime 77\nprocesses 3\nprocs_running 2\nprocs_blocked 0\n"
        "softirq 0 0 0 0 0 0 0 0 0 0 0\n"
    )
    assert [cpu.user for cpu in psutil.cpu_times(percpu=True)] == [1.5, 0.0]


def test_lock_stat_shows_contentions_first():
    """Columns, rounding to hundredths of microseconds, and order are the kernel's."""
    quiet = LockClassStats(name="pool_lock", write=side(acquisitions=2))
    point = LockPoint(symbol="handle_mm_fault+0x1/0x2", address=0xABC, count=3)
    busy = LockClassStats(
        name="&mm->mmap_lock",
        write=side(acquisitions=4),
        read=side(acquisitions=5, contentions=3),
        contention_points=(point,),
        contending_points=(point,),
    )

    lines = lock_stat([quiet, busy]).splitlines()

    assert lines[0] == "lock_stat version 0.4"
    assert lines[1] == "-" * 221
    assert lines[2].split()[:4] == ["class", "name", "con-bounces", "contentions"]
    assert len(lines[2]) == 40 + 12 * 15
    assert lines[5] == (
        "                        &mm->mmap_lock-W:"
        "             0              0           0.00           0.00           0.00           0.00"
        "              0              4           1.01           2.00           8.00           2.00"
    )
    assert lines[6] == (
        "                        &mm->mmap_lock-R:"
        "             0              3           1.01           2.00           6.00           2.00"
        "              0              5           1.01           2.00          10.00           2.00"
    )
    assert lines[7] == " " * 24 + "-" * 16
    assert lines[8] == (
        "                          &mm->mmap_lock              3          [<0000000000000abc>]"
        " handle_mm_fault+0x1/0x2"
    )
    assert lines[9:11] == lines[7:9]
    assert lines[11:14] == ["", "." * 221, ""]
    assert lines[14].startswith("                               pool_lock:             0 ")


def side(*, acquisitions, contentions=0):
    return LockSide(wait=times(contentions), hold=times(acquisitions))


def times(nr):
    """Times of 1005 to 2000 ns, 2000 on average."""
    return LockTime(nr=nr, min_ns=1_005, max_ns=2_000, total_ns=2_000 * nr) if nr else LockTime()


def parse_meminfo(text):
    kib = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()}
    pages = {name: value // 4 for name, value in kib.items()}
    return MemInfo(
        total=pages["MemTotal"],
        free=pages["MemFree"],
        available=pages["MemAvailable"],
        buffers=pages["Buffers"],
        file_pages=pages["Cached"] + pages["Buffers"] + pages["SwapCached"],
        swap_cached=pages["SwapCached"],
        active_anon=pages["Active(anon)"],
        inactive_anon=pages["Inactive(anon)"],
        active_file=pages["Active(file)"],
        inactive_file=pages["Inactive(file)"],
        unevictable=pages["Unevictable"],
        mlocked=pages["Mlocked"],
        swap_total=pages["SwapTotal"],
        swap_free=pages["SwapFree"],
        dirty=pages["Dirty"],
        anon=pages["AnonPages"],
        mapped=pages["Mapped"],
        shmem=pages["Shmem"],
        slab_reclaimable=pages["SReclaimable"],
        slab_unreclaimable=pages["SUnreclaim"],
        kernel_misc_reclaimable=pages["KReclaimable"] - pages["SReclaimable"],
        kernel_stack_kb=kib["KernelStack"],
        page_tables=pages["PageTables"],
        commit_limit=pages["CommitLimit"],
        committed=pages["Committed_AS"],
        vmalloc_used=pages["VmallocUsed"],
        percpu=pages["Percpu"],
        direct_map_4k_kb=kib["DirectMap4k"],
        direct_map_2m_kb=kib["DirectMap2M"],
        direct_map_1g_kb=kib["DirectMap1G"],
    )


def parse_node(text):
    """Read the texts of the one node's zones."""
    node_counters = ()
    zones = []
    for part in re.split(r"^Node 0, zone +", text, flags=re.MULTILINE)[1:]:
        if "per-node stats" in part:
            node_counters = counters(part.split("per-node stats\n")[1].split("  pages free")[0])
        pages = {
            name: int(value)
            for name, value in re.findall(
                r"(free|boost|min|low|high|spanned|present|managed|cma) +(\d+)\n",
                "free" + part.split("  pages free")[1].split("protection")[0],
            )
        }
        for name in ("min", "low", "high"):
            pages["watermark_" + name] = pages.pop(name) - pages["boost"]
        pages["watermark_boost"] = pages.pop("boost")
        protection = re.search(r"protection: \((.*)\)", part)[1]
        pagesets = [
            Pageset(
                count=int(count), high=int(high), batch=int(batch), stat_threshold=int(threshold)
            )
            for count, high, batch, threshold in re.findall(
                r"count: (\d+)\s+high:  (\d+)\s+batch: (\d+)\s+vm stats threshold: (\d+)", part
            )
        ]
        start_pfn = re.search(r"start_pfn: +(\d+)", part)
        zones.append(
            ZoneInfo(
                name=part.split()[0],
                protection=tuple(int(value) for value in protection.split(", ")),
                counters=counters(part.split(")\n")[1].split("  pagesets")[0]),
                pagesets=tuple(pagesets),
                start_pfn=int(start_pfn[1]) if start_pfn else 0,
                **pages,
            )
        )
    return NodeInfo(
        node=0,
        counters=node_counters,
        zones=tuple(zones),
        is_unreclaimable="node_unreclaimable:  1" in text,
    )


def counters(text):
    return tuple((name, int(value)) for name, value in re.findall(r"(\w+) +(\d+)\n", text))


def parse_page_types(text):
    blocks = dict(re.findall(r"^Node \d+, zone +(\w+) +([\d ]+)$", text, flags=re.MULTILINE))
    free = {}
    for zone, counts in re.findall(r"zone +(\w+), type +\w+ +([\d ]+)\n", text):
        free.setdefault(zone, []).append(tuple(map(int, counts.split())))
    return [
        ZonePageTypes(
            node=0,
            zone=zone,
            nr_free=tuple(counts),
            nr_blocks=tuple(map(int, blocks[zone].split())),
        )
        for zone, counts in free.items()
    ]
