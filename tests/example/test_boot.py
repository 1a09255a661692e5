"""From a memory size to zones."""

import itertools
import time

import pytest
from attrs import evolve

from mmactors.errors import Place
from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.boot.e820 import e820_map
from mmactors.mm.boot.problems import problems_of
from mmactors.units import GIB, MIB, PAGE_SHIFT, TIB


def test_low_memory_ends_at_the_pci_hole():
    """RAM that does not fit below 4 GiB continues above."""
    usable = [
        (entry.start, entry.end)
        for entry in e820_map(5 * GIB, machine="pc", firmware_tables=128 << 10)
        if entry.usable
    ]

    assert usable == [(0, 0x9FC00), (MIB, 3 * GIB - (128 << 10)), (4 * GIB, 6 * GIB)]


def test_ram_of_a_terabyte_lies_beyond_the_hypertransport_hole():
    """RAM above 4 GiB moves as a whole when it would reach the hole below 1 TiB."""
    entries = e820_map(2 * TIB, machine="pc", firmware_tables=0)

    assert (entries[-1].start, entries[-1].end) == (1 * TIB, 3 * TIB - 3 * GIB)


def test_free_ranges_are_the_managed_pages():
    """What a zone manages is what it is handed, disjoint and inside the zone."""
    layout = boot_memory(MemoryConfig(size=16 * GIB, nr_nodes=2), 8)

    for zone in layout.zones:
        ranges = sorted(zone.free_ranges)

        assert zone.managed_pages == sum(end - start for start, end in ranges)
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(ranges))
        assert zone.start_pfn <= ranges[0][0]
        assert ranges[-1][1] <= zone.start_pfn + zone.spanned_pages <= layout.nr_frames


def test_boot_memory_is_handed_over_upwards_and_init_code_last():
    """The kernel's own pages and the initramfs come after everything else, in its order."""
    zone = boot_memory(MemoryConfig(size=256 * MIB), 1).zones[1]

    init, gap = (0x3044, 0x3306), (0x28EB, 0x2A00)
    first = zone.free_ranges[: zone.free_ranges.index(init) - 3]

    assert sorted(first) == list(first)
    assert gap == zone.free_ranges[-1]


def test_nodes_are_tried_nearest_first_and_round_robin():
    """Each node's second choice is another one, so that none is everybody's."""
    layout = boot_memory(MemoryConfig(size=32 * GIB, nr_nodes=4), 4)

    orders = [list(dict.fromkeys(node for node, _ in order)) for order in layout.zonelists]

    assert orders == [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]
    assert layout.zonelists[0][:3] == ((0, 2), (0, 1), (0, 0))


def test_cpus_fill_one_node_after_the_other():
    """Consecutive CPUs share a node; a list says otherwise."""
    config = MemoryConfig(size=1 * GIB, nr_nodes=2)

    assert boot_memory(config, 4).cpu_node == (0, 0, 1, 1)
    assert boot_memory(evolve(config, cpu_nodes=(0, 1, 0, 1)), 4).cpu_node == (0, 1, 0, 1)


def test_per_cpu_lists_share_the_low_watermark():
    """Eight CPUs get an eighth each, a node without CPUs counts all of them."""
    config = MemoryConfig(size=1 * GIB)
    one, eight = (boot_memory(config, nr_cpus).zones[1] for nr_cpus in (1, 8))
    far = boot_memory(evolve(config, nr_nodes=2, cpu_nodes=(0,) * 8), 8).zones[-1]

    assert one.watermark_low_pages == one.pcp_high
    assert eight.watermark_low_pages // 8 == eight.pcp_high
    assert far.watermark_low_pages // 8 == far.pcp_high


def test_min_free_kbytes_written_after_boot_counts_all_managed_pages():
    """The sysctl's value is shared out by the sizes that zones have when it is written."""
    zones = boot_memory(MemoryConfig(size=1 * GIB, min_free_kbytes=40_000), 1).zones

    managed = sum(zone.managed_pages for zone in zones)

    assert [10_000 * zone.managed_pages // managed for zone in zones] == [
        zone.watermark_min_pages for zone in zones
    ]


def test_the_scale_factor_widens_the_distance_of_watermarks():
    """1000 is 10 % of the zone between two watermarks."""
    zone = boot_memory(MemoryConfig(size=1 * GIB, watermark_scale_factor=1000), 1).zones[1]

    distance = zone.managed_pages * 1000 // 10_000

    assert zone.watermark_min_pages + 3 * distance == zone.watermark_promo_pages
    assert zone.watermark_min_pages + distance == zone.watermark_low_pages


def test_without_huge_pages_memory_alone_decides_min_free_kbytes():
    """khugepaged keeps eleven pageblocks a zone only where huge pages are possible."""
    config = MemoryConfig(size=1 * GIB)
    with_thp, without = (
        sum(zone.watermark_min_pages for zone in boot_memory(c, 1).zones)
        for c in (config, evolve(config, transparent_hugepage="never"))
    )

    assert with_thp == 2 * 11 * 512 - 1
    assert without < 4_000 >> 2


def test_a_lowmem_reserve_ratio_of_zero_reserves_nothing():
    """Ratio 0 switches the reserve off, another ratio takes effect after boot."""
    config = MemoryConfig(size=1 * GIB, lowmem_reserve_ratio=(0, 256, 32, 0))
    off = boot_memory(config, 1).zones
    half = boot_memory(evolve(config, lowmem_reserve_ratio=(2, 256, 32, 0)), 1).zones

    assert off[0].lowmem_reserve_pages == (0,) * 5
    assert (0, *(half[1].managed_pages // 2,) * 4) == half[0].lowmem_reserve_pages


def test_a_high_fraction_replaces_the_low_watermark():
    """Each of two CPUs' lists gets a sixteenth of the zone."""
    config = MemoryConfig(size=1 * GIB, percpu_pagelist_high_fraction=8)
    zone = boot_memory(config, 2).zones[1]

    assert zone.managed_pages // 8 // 2 == zone.pcp_high


@pytest.mark.parametrize("end", [(1 << 64) - 1, 1 << 64, (1 << 64) + 4096])
def test_a_reserved_range_over_the_end_of_all_addresses_takes_no_memory(end):
    """It is cut there, and there is no memory."""
    plain = MemoryConfig(size=512 * MIB)
    reserving = evolve(plain, reserved_ranges=(((1 << 64) - 8192, end),))

    assert [] == problems_of(reserving, 1, Place("scenario.yaml"))
    assert boot_memory(plain, 1) == boot_memory(reserving, 1)


def test_reserved_ranges_are_never_handed_out():
    """A reserved range is in no free range, also where the kernel would give pages back."""
    reserved = ((0x3100 << PAGE_SHIFT, 0x3101 << PAGE_SHIFT), (200 * MIB, 210 * MIB))
    zones = boot_memory(MemoryConfig(size=512 * MIB, reserved_ranges=reserved), 1).zones

    touched = [
        (start, end)
        for zone in zones
        for start, end in zone.free_ranges
        for low, high in reserved
        if start < high >> PAGE_SHIFT and low >> PAGE_SHIFT < end
    ]

    assert touched == []


def test_many_cpus_get_a_larger_log_buffer():
    """Each CPU takes its per-CPU area; from 18 CPUs on the log buffer grows, too."""
    config = MemoryConfig(size=1 * GIB)
    managed = [boot_memory(config, nr_cpus).zones[1].managed_pages for nr_cpus in (16, 17, 18)]

    assert managed[0] - managed[1] == 62
    # 256 KiB of text, 24 and 88 bytes for each of 8192 records.
    assert managed[1] - managed[2] == 62 + (64 + 48 + 176)


def test_a_terabyte_boots_in_a_tenth_of_a_second():
    """Nothing here looks at single pages."""
    begin = time.process_time()
    layout = boot_memory(MemoryConfig(size=1 * TIB), 256)
    seconds = time.process_time() - begin

    assert sum(zone.managed_pages for zone in layout.zones) / (TIB >> PAGE_SHIFT) * 1.02 > 0.99
    assert seconds < 0.1
