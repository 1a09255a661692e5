"""meminfo and zoneinfo of a run against the counters that the kernel's formulas name."""

import pytest
from attrs import evolve
from machines import Driven, drive, scenario_of
from meminfo import IN_HUGE_PAGES, PAGES

from mmactors.mm.vmstat import NODE_ITEM, NODE_STAT_NAMES, ZONE_ITEM, ZONE_STAT_NAMES


@pytest.fixture
def counted() -> Driven:
    """A machine of two nodes, all counters of which were made to differ, here and on each CPU."""
    ran = drive(scenario_of(["nop"], cpus=2, nr_nodes=2))
    vmstat = ran.kernel.vmstat
    for node in range(2):
        for item in range(len(NODE_STAT_NAMES)):
            vmstat.node_words[node, item] = 4096 + 1000 * node + 7 * item * item
            vmstat.cpu_node_words[:, node, item] = 3
    for zone in range(len(vmstat.zone_words)):
        for item in range(len(ZONE_STAT_NAMES)):
            vmstat.zone_words[zone, item] = 6000 + 500 * zone + 11 * item
            vmstat.cpu_zone_words[:, zone, item] = 2
    return ran


def meminfo_of(ran: Driven) -> dict[str, int]:
    lines = [line.split() for line in ran.wired.texts()["meminfo"].splitlines()]
    return {words[0].rstrip(":"): int(words[1]) for words in lines}


def global_pages(ran: Driven, name: str) -> int:
    vmstat = ran.kernel.vmstat
    if name in ZONE_ITEM:
        return int(vmstat.zone_words[:, ZONE_ITEM[name]].sum())
    return int(vmstat.node_words[:, NODE_ITEM[name]].sum())


def test_each_line_of_meminfo_is_its_counters(counted: Driven) -> None:
    """Global numbers, without what CPUs have not told yet, in KiB."""
    shown = meminfo_of(counted)

    for label, names in PAGES.items():
        assert 4 * sum(global_pages(counted, name) for name in names) == shown[label], label
    assert global_pages(counted, "nr_kernel_stack") == shown["KernelStack"]


def test_cached_is_what_files_have_but_for_the_swap_cache(counted: Driven) -> None:
    """And never negative, however the counters lag."""
    vmstat = counted.kernel.vmstat

    vmstat.node_words[:, NODE_ITEM["nr_file_pages"]] = 9000
    vmstat.node_words[:, NODE_ITEM["nr_swapcached"]] = 1000
    assert 4 * 16000 == meminfo_of(counted)["Cached"]

    vmstat.node_words[:, NODE_ITEM["nr_swapcached"]] = 9500
    assert 0 == meminfo_of(counted)["Cached"]


def test_available_counts_half_of_what_could_go_at_least(counted: Driven) -> None:
    """What zones keep, and of page cache and slabs half or the low watermarks, are left out."""
    zones = counted.wired.layout.zones
    kept = sum(max(z.lowmem_reserve_pages) + z.watermark_high_pages for z in zones)
    low = sum(zone.watermark_low_pages for zone in zones)
    free = global_pages(counted, "nr_free_pages")
    cache = global_pages(counted, "nr_active_file") + global_pages(counted, "nr_inactive_file")
    slab = global_pages(counted, "nr_slab_reclaimable")
    slab += global_pages(counted, "nr_kernel_misc_reclaimable")

    expected = free - kept + cache - min(cache // 2, low) + slab - min(slab // 2, low)
    assert 4 * expected == meminfo_of(counted)["MemAvailable"]


def test_zoneinfo_prints_what_the_cpus_have_told(counted: Driven) -> None:
    """Per node and per zone the numbers are those that vmstat sums up; huge pages count as such."""
    proc = counted.wired.texts()
    summed = dict(line.split() for line in proc["vmstat"].splitlines())
    shown: dict[str, list[int]] = {}
    for words in map(str.split, proc["zoneinfo"].splitlines()):
        if len(words) == 2 and words[1].isdigit():
            shown.setdefault(words[0], []).append(int(words[1]))
        elif words[:2] == ["pages", "free"]:
            shown.setdefault("free", []).append(int(words[2]))

    for name in NODE_STAT_NAMES:
        assert 2 == len(shown[name]), "once for each node"
        if name not in IN_HUGE_PAGES:
            assert int(summed[name]) == sum(shown[name]) == global_pages(counted, name)
    for name in IN_HUGE_PAGES:
        assert int(summed[name]) == global_pages(counted, name) // 512
    for name in ZONE_STAT_NAMES:
        assert int(summed[name]) == sum(shown[name])
    assert int(summed["nr_free_pages"]) == sum(shown["free"])


def test_the_page_cache_of_a_run_is_in_meminfo() -> None:
    """What a program wrote to a file of shared memory is cached and shared, as psutil reads it."""
    ran = drive(scenario_of(["open F /tmp/f create", "write F 0 4M bs=64K"]))
    shown = meminfo_of(ran)

    assert 0 < shown["Cached"] == shown["Shmem"] == 4 * global_pages(ran, "nr_file_pages") <= 4096


def test_a_zone_without_pages_spans_none_and_stands_in_no_list() -> None:
    """Memory that was plugged in and is not online."""
    scenario = scenario_of(["nop"])
    memory = evolve(scenario.machine.memory, hotplug=16 << 20)
    driven = drive(evolve(scenario, machine=evolve(scenario.machine, memory=memory)))
    before = driven.wired.texts()

    movable = before["zoneinfo"].partition("zone  Movable")[2]
    assert ["spanned", "0"] == movable.splitlines()[6].split()
    assert "Movable" not in before["buddyinfo"]
    assert "zone  Movable" not in before["pagetypeinfo"]
