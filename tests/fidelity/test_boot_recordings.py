"""Boot memory against recorded boots of Linux 6.1."""

import json
from pathlib import Path

import pytest

from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.units import MIB, PAGE_SIZE, parse_bytes
from mmactors.validate.memblock.memblock import validate_memblock

RECORDED = Path(__file__).parents[1] / "reference/linux-6.1/kernel/memblock"
DEBUG_BOOTS = sorted(path.relative_to(RECORDED) for path in RECORDED.rglob("*-c[0-9]*.json*"))
BUDDY_BOOTS = json.loads((RECORDED / "buddy-boots.json").read_text())
GUESTS = json.loads((RECORDED / "guests.json").read_text())
GUEST_INITRAMFS_PAGES = 283


@pytest.mark.parametrize("name", DEBUG_BOOTS, ids=str)
def test_every_call_list_and_zone_is_the_recorded_one(name):
    """Map, arguments and one table of the kernel image give the whole boot."""
    (result,) = validate_memblock(RECORDED / name)

    assert result.first_difference is None
    assert result.compared > 150


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
