"""/proc/PID texts against recorded ones and against psutil."""

import json
import re
from pathlib import Path

import psutil
import pytest
from attrs import evolve

from mmactors.observe.proc.process import (
    maps_text,
    process_files,
    smaps_rollup_text,
    smaps_text,
    stat_text,
    statm_text,
    status_text,
)
from mmactors.observe.proc.process_view import (
    MmView,
    ProcessView,
    SmapsNumbers,
    VmaView,
    pss_of,
)
from mmactors.units import KIB, MIB, PAGE_SIZE

RECORDED = Path(__file__).parents[1] / "reference/linux-6.1/userland/proc/texts.json"
TEXTS = json.loads(RECORDED.read_text())
MAP_LINE = re.compile(
    r"([0-9a-f]+)-([0-9a-f]+) ([-rwxps]{4}) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)"
)
PAGE_KB = PAGE_SIZE // KIB


def recorded(kind: str) -> list:
    """Return the texts of one kind as parameters."""
    return [
        pytest.param(row[kind], row["vcpus"], id=f"{row['case']}-{row['where']}")
        for row in TEXTS
        if kind in row
    ]


def vma_of(line: str) -> VmaView:
    """Return the area that a line of maps describes."""
    match = MAP_LINE.fullmatch(line)
    permissions = match[3]
    vm_flags = sum(
        1 << bit for bit, letter in zip((0, 1, 2, 7), "rwxs", strict=True) if letter in permissions
    )
    return VmaView(
        start=int(match[1], 16),
        end=int(match[2], 16),
        vm_flags=vm_flags,
        offset=int(match[4], 16),
        dev=(int(match[5], 16), int(match[6], 16)),
        inode=int(match[7]),
        name=match[8] or None,
    )


def values_of(text: str) -> dict[str, str]:
    """Return what follows each label."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line[:30])


def kb(values: dict[str, str], label: str) -> int:
    """Return a size in kB."""
    return int(values[label].split()[0])


@pytest.mark.parametrize(("text", "vcpus"), recorded("maps"))
def test_maps_are_printed_as_recorded(text, vcpus):
    """Every line of a recorded maps comes out of its area again, byte by byte."""
    vmas = [vma_of(line) for line in text.splitlines()]

    assert text == maps_text(vmas)


@pytest.mark.parametrize(("text", "vcpus"), recorded("smaps_rollup"))
def test_a_rollup_is_printed_as_recorded(text, vcpus):
    """The sums of an address space, with its first and last address."""
    header, *_ = text.splitlines()
    values = values_of(text.split("\n", 1)[1])
    names = {
        "resident": "Rss",
        "shared_clean": "Shared_Clean",
        "shared_dirty": "Shared_Dirty",
        "private_clean": "Private_Clean",
        "private_dirty": "Private_Dirty",
        "referenced": "Referenced",
        "anonymous": "Anonymous",
        "lazyfree": "LazyFree",
        "anonymous_thp": "AnonHugePages",
        "shmem_thp": "ShmemPmdMapped",
        "file_thp": "FilePmdMapped",
        "shared_hugetlb": "Shared_Hugetlb",
        "private_hugetlb": "Private_Hugetlb",
        "swap": "Swap",
    }
    shares = {
        "pss": "Pss",
        "pss_dirty": "Pss_Dirty",
        "pss_anon": "Pss_Anon",
        "pss_file": "Pss_File",
        "pss_shmem": "Pss_Shmem",
        "swap_pss": "SwapPss",
        "pss_locked": "Locked",
    }
    sizes = {name: kb(values, label) * KIB for name, label in names.items()}
    sizes |= {name: pss_of(kb(values, label) * KIB, 1) for name, label in shares.items()}
    start, end = (int(word, 16) for word in header.split()[0].split("-"))
    first = VmaView(start=start, end=start + PAGE_SIZE, vm_flags=1, numbers=SmapsNumbers(**sizes))
    last = VmaView(start=end - PAGE_SIZE, end=end, vm_flags=1)

    assert text == smaps_rollup_text([first, last])


@pytest.mark.parametrize(("text", "vcpus"), recorded("status"))
def test_status_is_printed_as_recorded(text, vcpus):
    """All rows of status, for one to eight CPUs and with threads."""
    values = {label: value.strip() for label, value in values_of(text).items()}
    exe_pages = kb(values, "VmExe") // PAGE_KB
    process = ProcessView(
        pid=int(values["Pid"]),
        comm=values["Name"],
        state=values["State"][0],
        ppid=int(values["PPid"]),
        nr_threads=int(values["Threads"]),
        fd_size=int(values["FDSize"]),
        sig_queue_max=int(values["SigQ"].split("/")[1]),
        sig_caught=int(values["SigCgt"], 16),
        nr_cpus=vcpus,
        nvcsw=int(values["voluntary_ctxt_switches"]),
        nivcsw=int(values["nonvoluntary_ctxt_switches"]),
        mm=MmView(
            total_vm_pages=kb(values, "VmSize") // PAGE_KB,
            hiwater_vm_pages=kb(values, "VmPeak") // PAGE_KB,
            locked_vm_pages=kb(values, "VmLck") // PAGE_KB,
            hiwater_rss_pages=kb(values, "VmHWM") // PAGE_KB,
            rss_anon_pages=kb(values, "RssAnon") // PAGE_KB,
            rss_file_pages=kb(values, "RssFile") // PAGE_KB,
            rss_shmem_pages=kb(values, "RssShmem") // PAGE_KB,
            swap_pages=kb(values, "VmSwap") // PAGE_KB,
            data_vm_pages=kb(values, "VmData") // PAGE_KB,
            stack_vm_pages=kb(values, "VmStk") // PAGE_KB,
            exec_vm_pages=exe_pages + kb(values, "VmLib") // PAGE_KB,
            pgtables_bytes=kb(values, "VmPTE") * KIB,
            start_code=0x401000,
            end_code=0x401000 + exe_pages * PAGE_SIZE - 8,
        ),
    )

    assert text == status_text(process)


def shared_library(numbers: SmapsNumbers) -> VmaView:
    """Return an area of a mapped file."""
    return VmaView(
        start=0x7FFF_F7A0_0000,
        end=0x7FFF_F7C0_0000,
        vm_flags=0x8000_0075,
        offset=0x2000,
        dev=(0xFE, 1),
        inode=4711,
        name="/usr/lib/libc.so.6",
        numbers=numbers,
    )


def process() -> ProcessView:
    """Return a process with a heap, a library and a stack."""
    heap = VmaView(
        start=0x555_5555_5000,
        end=0x555_5555_5000 + 4 * MIB,
        vm_flags=0x10_0073,
        name="[heap]",
        is_thp_eligible=True,
        numbers=SmapsNumbers(
            resident=3 * MIB,
            pss=pss_of(3 * MIB, 1),
            pss_dirty=pss_of(3 * MIB, 1),
            pss_anon=pss_of(3 * MIB, 1),
            private_dirty=3 * MIB,
            referenced=3 * MIB,
            anonymous=3 * MIB,
            anonymous_thp=2 * MIB,
            swap=64 * KIB,
            swap_pss=pss_of(64 * KIB, 1),
        ),
    )
    library = shared_library(
        SmapsNumbers(
            resident=10 * PAGE_SIZE,
            pss=10 * pss_of(PAGE_SIZE, 3),
            pss_file=10 * pss_of(PAGE_SIZE, 3),
            shared_clean=10 * PAGE_SIZE,
            referenced=10 * PAGE_SIZE,
        )
    )
    stack = VmaView(start=0x7FFF_FFFD_E000, end=0x7FFF_FFFF_F000, vm_flags=0x173, name="[stack]")
    return ProcessView(
        pid=4242,
        comm="app (x) y",
        state="R",
        ppid=1,
        nr_threads=3,
        cmdline=("/bin/app", "--size", "4 M"),
        minflt=778,
        majflt=3,
        utime_ticks=250,
        stime_ticks=50,
        start_time_ticks=1000,
        mm=MmView(
            total_vm_pages=1569,
            rss_anon_pages=768,
            rss_file_pages=10,
            rss_shmem_pages=5,
            swap_pages=16,
            data_vm_pages=1024,
            stack_vm_pages=33,
            exec_vm_pages=512,
            start_code=0x40_1000,
            end_code=0x40_3001,
            vmas=(heap, library, stack),
        ),
    )


def test_a_mapping_of_smaps():
    """The lines of one area, as smaps of 6.1 has them."""
    text = smaps_text([process().mm.vmas[0]])

    expected = (
        "55555555000-55555955000 rw-p 00000000 00:00 0 ".ljust(73)
        + "[heap]\n"
        + "Size:               4096 kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n"
        "Rss:                3072 kB\nPss:                3072 kB\nPss_Dirty:          3072 kB\n"
        "Shared_Clean:          0 kB\nShared_Dirty:          0 kB\nPrivate_Clean:         0 kB\n"
        "Private_Dirty:      3072 kB\nReferenced:         3072 kB\nAnonymous:          3072 kB\n"
        "LazyFree:              0 kB\nAnonHugePages:      2048 kB\nShmemPmdMapped:        0 kB\n"
        "FilePmdMapped:         0 kB\nShared_Hugetlb:        0 kB\nPrivate_Hugetlb:       0 kB\n"
        "Swap:                 64 kB\nSwapPss:              64 kB\nLocked:                0 kB\n"
        "THPeligible:    1\nVmFlags: rd wr mr mw me ac \n"
    )

    assert expected == text


def test_an_area_shows_its_protection_key_where_the_cpus_have_them():
    """The line stands before the flags, also for the key of all other memory."""
    keys = [
        smaps_text([VmaView(start=0, end=PAGE_SIZE, vm_flags=4, protection_key=key)])
        for key in (0, 1)
    ]

    assert [f"ProtectionKey:         {key}\nVmFlags: ex \n" for key in (0, 1)] == [
        text[text.index("Prot") :] for text in keys
    ]


def test_a_flag_without_a_name_is_shown_as_such():
    """Bit 11 means nothing in 6.1; protection keys have their own line."""
    vma = VmaView(start=0, end=PAGE_SIZE, vm_flags=1 | 1 << 11 | 1 << 33 | 1 << 37)

    assert smaps_text([vma]).endswith("VmFlags: rd ?? ui \n")


def test_shares_are_summed_before_they_are_cut():
    """Three areas with a third of a page each have a page together, but 1 kB each alone."""
    third = shared_library(SmapsNumbers(resident=PAGE_SIZE, pss=pss_of(PAGE_SIZE, 3)))
    areas = [evolve(third, start=i * MIB, end=(i + 1) * MIB) for i in range(1, 4)]

    assert [kb(values_of(smaps_text([area])), "Pss") for area in areas] == [1] * 3
    assert kb(values_of(smaps_rollup_text(areas)), "Pss") == 3  # 3 * 1365.33 bytes, cut to kB


def test_a_kernel_thread_has_no_memory():
    """Without an address space status has no Vm rows and the map files are empty."""
    kswapd = ProcessView(pid=30, comm="kswapd0", state="S", flags=0x0020_8040)
    files = process_files(kswapd)

    assert files["maps"] + files["smaps"] + files["smaps_rollup"] + files["cmdline"] == b""
    assert files["statm"] == b"0 0 0 0 0 0 0\n"
    assert b"Vm" not in files["status"]
    assert len(files["stat"].split()) == 52


def test_stat_has_52_fields_after_a_name_with_blanks():
    """Readers look for the last parenthesis."""
    before, after = stat_text(process()).rsplit(")", 1)
    fields = after.split()

    assert before == "4242 (app (x) y"
    assert len(fields) == 50
    assert fields[:11] == ["R", "1", "0", "0", "0", "-1", "4194304", "778", "0", "3", "0"]
    assert [str(1569 * PAGE_SIZE), "783", str((1 << 64) - 1)] == fields[20:23]


def test_statm_counts_pages():
    """size, resident, shared, text, 0, data, 0."""
    assert statm_text(process()) == "1569 783 15 3 0 1057 0\n"


def test_a_newline_in_a_name_is_escaped():
    """One line stays one line."""
    odd = evolve(process(), comm="a\nb\\c")
    area = VmaView(start=0, end=PAGE_SIZE, vm_flags=0, name="/mnt/a\nb")

    assert status_text(odd).startswith("Name:\ta\\nb\\\\c\nUmask:")
    assert maps_text([area]).endswith(" /mnt/a\\012b\n")


def test_cpu_masks_are_words_of_32_bits():
    """Forty CPUs are two words, the higher first; lists have ranges."""
    many = evolve(process(), nr_cpus=40, cpus_allowed=0x80_0000_000F | 1 << 6)
    values = values_of(status_text(many))

    assert values["Cpus_allowed"] == "\t80,0000004f"
    assert values["Cpus_allowed_list"] == "\t0-3,6,39"


@pytest.fixture
def proc_tree(tmp_path, monkeypatch):
    """Write a proc tree with one process, and point psutil to it."""
    folder = tmp_path / "4242"
    folder.mkdir()
    for name, content in process_files(process()).items():
        (folder / name).write_bytes(content)
    (tmp_path / "stat").write_text("cpu  0 0 0 0 0 0 0 0 0 0\nbtime 1700000000\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    return tmp_path


def test_psutil_reads_the_numbers(proc_tree):
    """psutil finds the process and its memory as it would on a Linux machine."""
    seen = psutil.Process(4242)
    memory = seen.memory_info()

    assert (memory.vms, memory.rss) == (1569 * PAGE_SIZE, 783 * PAGE_SIZE)
    assert (memory.shared, memory.text) == (15 * PAGE_SIZE, 3 * PAGE_SIZE)
    assert seen.name() == "app (x) y"
    assert seen.cmdline() == ["/bin/app", "--size", "4 M"]
    assert seen.num_threads() == 3
    assert seen.ppid() == 1
    assert (seen.cpu_times().user, seen.cpu_times().system) == (2.5, 0.5)
    assert seen.create_time() == 1700000010.0


def test_psutil_reads_the_maps(proc_tree):
    """memory_maps and memory_full_info give what the areas say."""
    seen = psutil.Process(4242)
    heap, library, stack = seen.memory_maps(grouped=False)
    full = seen.memory_full_info()

    assert (heap.path, heap.rss, heap.swap) == ("[heap]", 3 * MIB, 64 * KIB)
    assert (library.path, library.shared_clean) == ("/usr/lib/libc.so.6", 40 * KIB)
    assert library.pss == 13 * KIB  # 13.33
    assert (stack.path, stack.rss) == ("[stack]", 0)
    assert (full.uss, full.pss, full.swap) == (3 * MIB, 3 * MIB + 13 * KIB, 64 * KIB)
