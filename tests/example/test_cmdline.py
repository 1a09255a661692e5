"""What a kernel understands by its arguments, and what comes of them."""

from itertools import pairwise

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import run, scenario_of

from mmactors.errors import Place
from mmactors.mm.boot.boot import (
    MemoryConfig,
    boot_kernel,
    boot_memory,
    boot_zones,
    firmware_of,
)
from mmactors.mm.boot.boot_log import boot_log, kmsg
from mmactors.mm.boot.cmdline import memparse, parse_command_line
from mmactors.mm.boot.crashkernel import reserve_crashkernel
from mmactors.mm.boot.e820 import E820_ACPI, E820_RAM, E820_RESERVED, E820Entry, E820Table
from mmactors.mm.boot.kernel_image import DEBIAN_6_1
from mmactors.mm.boot.memblock import Memblock, OutOfBootMemoryError
from mmactors.mm.boot.problems import problems_of
from mmactors.mm.boot.regions import RegionList
from mmactors.mm.page_alloc.gfp import ZONE_MOVABLE
from mmactors.mm.slab.boot_option import foreign_words
from mmactors.mm.slab.flags import DEBUG_DEFAULT_FLAGS, SLAB_CONSISTENCY_CHECKS, SLAB_RED_ZONE
from mmactors.units import GIB, MIB, PAGE_SHIFT, TIB

SIZES = ["0", "1", "17K", "64M", "0x10000000", "600M", "1G", "3G", "1T", "50%", "x", ""]
WORDS = [
    *("mem", "memmap", "kernelcore", "movablecore", "crashkernel", "log_buf_len", "swiotlb"),
    *("dhash_entries", "hashdist", "possible_cpus", "movable_node", "numa=off", "acpi=off"),
    *("memblock=debug", "nokaslr", "foo", "--", '"a b"'),
    *("slub_debug", "slab_nomerge", "slub_min_order", "slub_max_order", "slub_min_objects"),
]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64M", (64 * MIB, "")),
        ("0x10k@", (16 << 10, "@")),
        ("010", (8, "")),
        ("3g,high", (3 * GIB, ",high")),
        ("09", (9, "")),
        ("M", (0, "M")),
    ],
)
def test_sizes_are_read_as_the_kernel_reads_them(text, value):
    """Numbers of C with one letter behind them; what follows is left over."""
    assert value == memparse(text)


def test_words_are_told_apart():
    """Quotes hold a word together, dashes are underscores, what is not known goes to init."""
    found = parse_command_line(
        'BOOT_IMAGE=/k mem=1G kernelcore="mirror" log-buf-len=2M foo foo=1 foo=2 "b c" a.b=1 -- x'
    )

    assert [("mem", "1G")] == found.map_changes
    assert found.is_kernelcore_mirror
    assert found.log_buf_len == 2 * MIB
    assert ["foo", '"b c"', "foo=2"] == found.unknown


def test_the_highest_type_wins_where_ranges_overlap():
    """A table in order has no overlaps, and touching ranges of a type are one."""
    table = E820Table()
    table.add(0, 100, E820_RAM)
    table.add(20, 30, E820_RESERVED)
    table.add(40, 20, E820_ACPI)
    table.add(100, 10, E820_RAM)

    table.update()

    assert [
        E820Entry(start=0, end=20, type=E820_RAM),
        E820Entry(start=20, end=40, type=E820_RESERVED),
        E820Entry(start=40, end=60, type=E820_ACPI),
        E820Entry(start=60, end=110, type=E820_RAM),
    ] == table.entries


@pytest.mark.parametrize(
    ("cmdline", "ranges"),
    [
        ("crashkernel=64M", [(960 * MIB, GIB)]),
        ("crashkernel=64M@256M", [(256 * MIB, 320 * MIB)]),
        ("crashkernel=64M crashkernel=32M", [(992 * MIB, GIB)]),
        ("crashkernel=512M-2G:48M,2G-:128M", [(976 * MIB, GIB)]),
        ("crashkernel=2G-:128M", []),
        ("crashkernel=2G", []),
        ("crashkernel=64M,high", [(960 * MIB, GIB)]),
        ("crashkernel=64M,low", []),
        ("crashkernel=64Mx", []),
        ("", []),
    ],
)
def test_a_crash_kernel_gets_the_highest_range_that_fits(cmdline, ranges):
    """All forms of the argument; what does not fit reserves nothing, and boot goes on."""
    memblock = Memblock()
    memblock.add(0, GIB)
    arguments = parse_command_line(cmdline)

    found = reserve_crashkernel(memblock, arguments, swiotlb_bytes=64 * MIB)

    assert ranges == list(found)
    assert sum(end - start for start, end in ranges) == memblock.reserved.total_size


def test_a_crash_kernel_above_4_gib_brings_one_below():
    """Without room below the one above goes back."""
    memblock = Memblock()
    memblock.add(0, GIB)
    memblock.add(4 * GIB, 5 * GIB)
    arguments = parse_command_line("crashkernel=512M,high")

    above, below = reserve_crashkernel(memblock, arguments, swiotlb_bytes=64 * MIB)
    nothing = reserve_crashkernel(
        memblock, parse_command_line("crashkernel=64M,high crashkernel=1G,low"), swiotlb_bytes=0
    )

    assert (5 * GIB - 512 * MIB, 5 * GIB) == above
    assert (GIB - 256 * MIB, GIB) == below
    assert nothing == ()


@pytest.mark.parametrize(
    ("cmdline", "nr_bytes"),
    [
        ("movablecore=256M", 256 * MIB),
        ("kernelcore=768M", GIB - 768 * MIB),
        ("movablecore=25%", 256 * MIB),
        ("kernelcore=2G", 0),
        ("kernelcore=100%", 0),
        ("movable_node", 0),
    ],
)
def test_zone_movable_is_what_the_kernel_leaves_to_it(cmdline, nr_bytes):
    """Within a block of 4 MiB, and what the firmware keeps."""
    zones = boot_memory(MemoryConfig(size=GIB, cmdline=cmdline), 1).zones
    movable = [zone.present_pages << PAGE_SHIFT for zone in zones if zone.index == ZONE_MOVABLE]

    assert abs(sum(movable) - nr_bytes) <= 5 * MIB


def test_zone_movable_is_shared_out_over_nodes():
    """Each node keeps an equal part for the kernel; a small one gives all it has."""
    config = MemoryConfig(size=2 * GIB, nr_nodes=4, cmdline="kernelcore=1G")

    zones = boot_memory(config, 4).zones
    movable = {zone.node: zone.present_pages for zone in zones if zone.index == ZONE_MOVABLE}

    assert {0, 1, 2, 3} == set(movable)
    assert max(movable.values()) - min(movable.values()) < 2048


def test_programs_live_in_zone_movable_and_see_it():
    """Pages of programs come from there first; /proc shows what boot made of the arguments."""
    scenario = scenario_of(["mmap A 8M", "touch A write", "sleep 100"], size=256 * MIB)
    memory = evolve(scenario.machine.memory, cmdline="movablecore=64M memblock=debug")
    scenario = evolve(scenario, machine=evolve(scenario.machine, memory=memory))
    before = []

    ran = run(
        scenario,
        until_ns=50_000_000,
        before=lambda machine: before.append(machine.inspect().zones[-1].free_pages),
    )
    movable = ran.machine.inspect().zones[-1]
    proc = ran.machine.proc()

    assert movable.name == "Movable"
    assert before[0] - movable.free_pages >= 8 * MIB >> PAGE_SHIFT
    assert proc["cmdline"].endswith("nowatchdog movablecore=64M memblock=debug\n")
    assert "  01000000-01e01d31 : Kernel code" not in proc["iomem"], "this kernel is smaller"
    assert "00100000-0ffdffff : System RAM\n" in proc["iomem"]
    assert (
        "<6>[    0.000000] memblock_add: [0x0000000000100000-0x000000000ffdffff] "
        "e820__memblock_setup\n" in proc["kmsg"]
    )
    assert "<6>[    0.000000]   Node 0: 0x000000000c000000\n" in proc["kmsg"]


def test_a_terabyte_of_holes_boots():
    """Each hole is a region; the lists are doubled, and given back at last."""
    holes = ",".join(f"4K${nth}G" for nth in range(100, 300))
    config = MemoryConfig(size=TIB // 2, cmdline=f"memmap={holes}")

    booted = boot_zones(config, (0,))

    assert ["memory", "reserved"] == [name for name, *_ in booted.early.memblock.doublings]
    assert sum(span.present for span in booted.spans) << PAGE_SHIFT > TIB // 2 - GIB


FAKES = ["numa=fake=4", "numa=fake=2U", "numa=fake=200M", "numa=fake=1G", "numa=fake=0"]


@st.composite
def command_lines(draw, words=tuple(WORDS)):
    """Draw words that a kernel may know, with values that it may understand."""
    found = []
    for name in draw(st.lists(st.sampled_from(words), max_size=5)):
        if "=" in name or len(name) < 4:
            found.append(name)
            continue
        one, sign, two = (draw(st.sampled_from(part)) for part in (SIZES, [*",@#$!%-:", ""], SIZES))
        found.append(f"{name}={one}{sign}{two * bool(sign)}")
    return " ".join(found)


@settings(max_examples=100)
@given(
    size=st.sampled_from([128, 300, 1024, 3500, 5000]),
    nr_nodes=st.integers(1, 3),
    cmdline=command_lines(),
)
def test_any_arguments_boot_or_are_explained(size, nr_nodes, cmdline):
    """What is managed lies in memory that the machine has, and nobody has it twice."""
    config = MemoryConfig(size=size * MIB, nr_nodes=nr_nodes, cmdline=cmdline or None)

    if problems_of(config, 3, Place("scenario.yaml")):
        return
    layout = boot_memory(config, 3)

    ranges = sorted(part for zone in layout.zones for part in zone.free_ranges)
    assert all(left[1] <= right[0] for left, right in pairwise(ranges))
    assert sum(zone.managed_pages for zone in layout.zones) << PAGE_SHIFT <= size * MIB
    assert all(text() for text in layout.boot_texts.values())


@settings(max_examples=100)
@given(
    size=st.sampled_from([128, 300, 1024, 3500, 5000]),
    nr_nodes=st.integers(1, 3),
    cmdline=command_lines((*WORDS, *FAKES)),
)
def test_a_booting_kernel_never_gives_the_same_memory_twice(size, nr_nodes, cmdline):
    """Whatever the arguments, each allocation lies in memory that nobody had at that moment."""
    config = MemoryConfig(size=size * MIB, nr_nodes=nr_nodes)
    try:
        booted = boot_kernel(firmware_of(config, (0, 0, 0), DEBIAN_6_1), cmdline)
    except OutOfBootMemoryError:
        return
    memblock = booted.early.memblock
    taken = RegionList()
    for call in memblock.calls:
        if call.function == "memblock_reserve":
            if call.caller == "memblock_alloc_range_nid":
                assert not taken.overlaps(call.start, call.end)
                assert [] == memblock.memory.gaps(call.start, call.end)
            taken.add(call.start, call.end)
        elif call.function == "memblock_phys_free":
            taken.remove(call.start, call.end)

    assert taken.total_size == memblock.reserved.total_size
    assert boot_log(booted)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("slub_min_order=1 slub_max_order=0x2 slub_min_objects=010", (1, 2, 8)),
        ("slub_min_order=abc slub_max_order=-1 slub_min_objects=-3", (0, 10, (1 << 32) - 3)),
        ("slub_min_order=2 slub_min_order= slub_max_order=99", (2, 10, 0)),
        ("slub-min-order=3x slub_min_objects=+4", (3, 3, 0)),
    ],
)
def test_numbers_of_slub_are_unsigned_and_nonsense_is_nothing(text, expected):
    """get_option: what has no digit is 0, what is empty changes nothing."""
    arguments = parse_command_line(text)
    slub = arguments.slab

    assert expected == (slub.min_order, slub.max_order, slub.min_objects)
    assert [] == arguments.unknown == arguments.refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quiet", (None, True)),
        ("slab_max_order=3", (3, True)),
        ("slab-max-order=99 noaliencache", (10, False)),
        ("slab_max_order=-1 noaliencache=1", (0, False)),
        ("slab_max_order=x", (0, True)),
        ("slab_max_order=", (0, True)),
    ],
)
def test_words_of_slab_are_read_as_slab_reads_them(text, expected):
    """A negative order is 0, and one that is too large the greatest (slab_max_order_setup)."""
    found = parse_command_line(text).slab

    assert expected == (found.slab_max_order, found.has_alien_caches)
    assert [(word, "slab") for word in text.split() if word != "quiet"] == list(
        foreign_words(found, "slub")
    )
    assert [] == list(foreign_words(found, "slab"))


def test_a_word_that_needs_a_value_and_has_none_is_unknown():
    """slub_debug and slab_nomerge need none, and count from where they begin."""
    arguments = parse_command_line("slub_min_order slab-nomerge=x slub_debugging")

    assert ["slub_min_order"] == arguments.unknown
    assert (False, DEBUG_DEFAULT_FLAGS) == (arguments.slab.merge, arguments.slab.debug.everywhere)


def test_a_second_slub_debug_goes_on_from_the_first():
    """Names stay as long as no other word has some, flags of all as long as none gives any."""
    first = parse_command_line("slub_debug=Z,filp slub_debug=F").slab.debug
    second = parse_command_line("slub_debug=F slub_debug=Z,filp").slab.debug

    assert first == second
    assert [SLAB_CONSISTENCY_CHECKS, SLAB_RED_ZONE] == [
        first.kmem_cache_flags(0, name) for name in ("dentry", "filp")
    ]


def test_the_log_of_boot_tells_which_letters_of_slub_debug_mean_nothing():
    """As an error; what takes precedence is told as other lines are."""
    config = MemoryConfig(size=256 * MIB, cmdline="slub_debug=PxU")
    log = kmsg(boot_zones(config, (0,)))

    assert "<3>[    0.000000] slub_debug option 'x' unknown. skipped\n" in log
    assert (
        "<6>[    0.000000] mem auto-init: SLAB_POISON will take precedence over "
        "init_on_alloc/init_on_free\n" in log
    )
    assert "<6>[    0.000000] SLUB: HWalign=64, Order=0-3, MinObjects=0, CPUs=1, Nodes=1\n" in log
