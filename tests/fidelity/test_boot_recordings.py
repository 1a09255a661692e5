"""Boot memory against recorded boots of Linux 6.1."""

import gzip
import json
from pathlib import Path

import pytest

from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.boot.bootmem import KERNEL_FREED
from mmactors.mm.boot.memblock import Memblock, RegionList
from mmactors.mm.boot.zone_init import ZoneSpan, zone_limits
from mmactors.mm.page_alloc.layout import ZoneSettings
from mmactors.mm.page_alloc.watermark import ZONE_NAMES
from mmactors.units import MIB, PAGE_SHIFT, PAGE_SIZE, parse_bytes

RECORDED = Path(__file__).parents[1] / "reference/linux-6.1/kernel/memblock"
DEBUG_BOOTS = sorted(path.name for path in RECORDED.glob("*.json.gz"))
BUDDY_BOOTS = json.loads((RECORDED / "buddy-boots.json").read_text())
GUESTS = json.loads((RECORDED / "guests.json").read_text())
GUEST_INITRAMFS_PAGES = 283
FROM_MEMBLOCK = "memblock_alloc_range_nid"


def debug_boot(name: str) -> dict:
    """Return one recording with memblock=debug."""
    return json.loads(gzip.decompress((RECORDED / name).read_bytes()))


def ranges(regions: RegionList) -> list[tuple[int, int]]:
    """Return regions as the dumps have them: inclusive."""
    return [(region.start, region.end - 1) for region in regions.regions]


def dumped(rows: list[list[str]]) -> list[tuple[int, int]]:
    """Return the rows of a dump."""
    return [(int(start, 16), int(end, 16)) for start, end, _ in rows]


def set_nodes(memblock: Memblock, *, is_numa: bool) -> None:
    """Say which memory is on which node, as the firmware's tables do, up to the last page."""
    end = memblock.end_of_memory()
    border = 512 * MIB if is_numa else end
    for regions in (memblock.memory, memblock.reserved):
        regions.set_node(0, border, node=0)
        regions.set_node(border, end, node=1)


@pytest.mark.parametrize("name", DEBUG_BOOTS)
def test_every_boot_allocation_gets_the_recorded_address(name):
    """Replaying the calls gives each recorded address and both recorded tables."""
    boot = debug_boot(name)
    first, second = boot["dumps"]
    memblock = Memblock()
    for start, end in dumped(first["memory"]):
        memblock.add(start, end + 1)
    for start, end in dumped(first["reserved"]):
        memblock.reserve(start, end + 1)
    calls = boot["calls"]
    knows_nodes = False
    expected, actual = [], []
    tables = None
    for index, call in enumerate(calls):
        if index == second["after_calls"]:
            tables = ranges(memblock.memory), ranges(memblock.reserved)
        if index < first["after_calls"]:
            continue
        kind, *arguments = call
        if kind in ("memblock_reserve", "memblock_phys_free"):
            start, end = int(arguments[0], 16), int(arguments[1], 16) + 1
            if not knows_nodes and FROM_MEMBLOCK in call[3] and len(calls[index - 1]) == 4:
                set_nodes(memblock, is_numa="numa" in boot["boot"])  # before pg_data_t is placed
                knows_nodes = True
            if kind == "memblock_phys_free":
                memblock.phys_free(start, end)
            else:
                memblock.reserve(start, end)
        elif index + 1 < len(calls) and FROM_MEMBLOCK in calls[index + 1][3]:
            nr_bytes, align, node, start, end, _ = arguments
            expected.append(int(calls[index + 1][1], 16))
            search = memblock.alloc_range if node is None else memblock.alloc
            at = search(
                nr_bytes,
                align=int(align, 16),
                start=int(start, 16),
                end=int(end, 16) or None,
                node=None if node in (None, -1) else node,
                exact_node="exact" in kind,
            )
            actual.append(at)

    assert expected == actual
    assert tables == (dumped(second["memory"]), dumped(second["reserved"]))


@pytest.mark.parametrize("boot", BUDDY_BOOTS, ids=lambda boot: boot["recording"])
def test_a_boot_gives_the_recorded_zones(boot):
    """Memory size, CPUs and nodes determine all zones, their pages and their limits."""
    config = MemoryConfig(
        size=parse_bytes(boot["boot"]["mem"]), nr_nodes=2 if "numa" in boot["boot"] else 1
    )
    nr_cpus = boot["boot"]["cpus"]

    layout = boot_memory(config, nr_cpus)

    for zone, recorded in zip(layout.zones, boot["zones"], strict=True):
        marks = recorded["watermark"]
        expected = {
            "place": (recorded["node"], recorded["idx"], recorded["name"], recorded["start_pfn"]),
            "pages": (recorded["spanned"], recorded["present"], recorded["managed"]),
            "watermarks": (marks["min"], marks["low"], marks["high"], marks["promo"]),
            "lowmem_reserve": tuple(recorded["lowmem_reserve"]),
            "drift": recorded["percpu_drift_mark"],
            "pcp": [(p["high"], p["batch"], p["stat_threshold"]) for p in recorded["pcp"]],
        }
        actual = {
            "place": (zone.node, zone.index, zone.name, zone.start_pfn),
            "pages": (zone.spanned_pages, zone.present_pages, zone.managed_pages),
            "watermarks": (
                zone.watermark_min_pages,
                zone.watermark_low_pages,
                zone.watermark_high_pages,
                zone.watermark_promo_pages,
            ),
            "lowmem_reserve": zone.lowmem_reserve_pages,
            "drift": zone.percpu_drift_mark_pages,
            "pcp": [(zone.pcp_high, zone.pcp_batch, zone.stat_threshold)] * nr_cpus,
        }

        assert expected == actual
    assert boot["zonelists"] == {
        str(node): [list(zone) for zone in order] for node, order in enumerate(layout.zonelists)
    }
    assert boot["cpu_node"] in (
        None,
        {str(cpu): node for cpu, node in enumerate(layout.cpu_node)},
    )


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest["guest"])
def test_a_guest_has_the_recorded_zoneinfo(guest):
    """The guests of the user-space recordings boot to their zoneinfo."""
    size = guest["memory_mib"] * MIB
    config = MemoryConfig(
        size=size,
        machine="q35",
        firmware_tables=size - 1 - int(guest["low_ram_end"], 16),
        initramfs=GUEST_INITRAMFS_PAGES * PAGE_SIZE,
    )

    layout = boot_memory(config, guest["vcpus"])

    for zone, recorded in zip(layout.zones, guest["zones"], strict=True):
        nr_cpus = guest["vcpus"]
        actual = {
            "node": zone.node,
            "name": zone.name,
            "high": [zone.pcp_high] * nr_cpus,
            "batch": [zone.pcp_batch] * nr_cpus,
            "threshold": [zone.stat_threshold] * nr_cpus,
            "wmark_min": zone.watermark_min_pages,
            "wmark_low": zone.watermark_low_pages,
            "wmark_high": zone.watermark_high_pages,
            "spanned": zone.spanned_pages,
            "present": zone.present_pages,
            "managed": zone.managed_pages,
            "protection": list(zone.lowmem_reserve_pages),
            "start_pfn": zone.start_pfn,
        }

        assert recorded == actual


@pytest.mark.parametrize("name", DEBUG_BOOTS)
def test_limits_follow_from_managed_pages(name):
    """Given what zones manage, limits are equal, also with Movable zones and less memory."""
    boot = debug_boot(name)
    ramdisk = int(boot["ramdisk"][0], 16), int(boot["ramdisk"][1], 16) + 1
    freed = [*KERNEL_FREED, (ramdisk[0] >> PAGE_SHIFT, ramdisk[1] >> PAGE_SHIFT)]
    spans = []
    for zone in boot["zones"]:
        start, end = zone["start_pfn"], zone["start_pfn"] + zone["spanned"]
        late = sum(high - low for low, high in freed if start <= low < end)
        spans.append(
            ZoneSpan(
                node=zone["node"],
                index=ZONE_NAMES.index(zone["name"]),
                start_pfn=start,
                spanned=zone["spanned"],
                present=zone["present"],
                managed_at_smp=zone["managed"],
                managed_at_init=zone["managed"] - late,
                managed=zone["managed"],
            )
        )
    cpu_node = tuple(range(2)) if "numa" in boot["boot"] else (0,) * boot["boot"]["cpus"]

    limits = zone_limits(spans, cpu_node=cpu_node, settings=ZoneSettings()).zones

    for limit, zone in zip(limits, boot["zones"], strict=True):
        marks = limit.watermarks
        nr_cpus = len(cpu_node)

        assert (zone["wmark_min"], zone["wmark_low"], zone["wmark_high"]) == (
            marks.min,
            marks.low,
            marks.high,
        )
        assert tuple(zone["protection"]) == limit.lowmem_reserve
        assert zone["high"] == [limit.pcp_high] * nr_cpus
        assert zone["batch"] == [limit.pcp_batch] * nr_cpus
        assert zone["threshold"] == [limit.stat_threshold] * nr_cpus
