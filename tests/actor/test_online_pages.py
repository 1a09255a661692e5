"""Memory that is plugged in and comes online: who finds it, and from whose lists."""

import errno

import pytest
from attrs import evolve
from machines import EXACT, drive, run, scenario_of

from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.page_alloc.gfp import ZONE_MOVABLE
from mmactors.mm.page_alloc.pcp import BATCH, HIGH
from mmactors.races.pair import with_rules
from mmactors.units import MIB


def scenario_with(*program, size=32 * MIB, hotplug=4 * MIB, broken=(), **options):
    """Return a program on a machine with memory that boot does not see."""
    scenario = scenario_of(list(program), cpus=2, size=size, **EXACT)
    memory = evolve(scenario.machine.memory, hotplug=hotplug, **options)
    scenario = evolve(scenario, machine=evolve(scenario.machine, memory=memory))
    return with_rules(scenario, broken=broken)


def machine_with(*program, **options):
    """Run a program on such a machine."""
    return run(scenario_with(*program, **options))


def movable(ran):
    return ran.machine.inspect().zone("Movable")


def test_boot_does_not_see_what_is_plugged_in_later():
    """All zones are as without it; one more has no pages and stands in no zonelist."""
    config = MemoryConfig(size=64 * MIB, kernel_image=4 * MIB, initramfs=0)
    plain = boot_memory(config, 2)
    plugged = boot_memory(evolve(config, hotplug=8 * MIB), 2)

    assert plain.zones == plugged.zones[:-1]
    assert plain.zonelists == plugged.zonelists
    last = plugged.zones[-1]
    assert (ZONE_MOVABLE, 0, 2048) == (last.index, last.managed_pages, last.spanned_pages)


def test_movable_requests_find_the_zone_when_it_is_online():
    """Before, they get their pages elsewhere; it is their first choice then."""
    ran = machine_with(
        "alloc_pages A gfp=HIGHUSER_MOVABLE", "online_pages", "alloc_pages B gfp=HIGHUSER_MOVABLE"
    )
    results = ran.results()
    zone_of = ran.machine.inspect().zone_of

    assert 0 == results["online_pages"]
    assert "Movable" != zone_of(results["alloc_pages A gfp=HIGHUSER_MOVABLE"]).name
    assert "Movable" == zone_of(results["alloc_pages B gfp=HIGHUSER_MOVABLE"]).name


def test_memory_comes_online_once_although_two_ask_for_it():
    """One of two who ask at the same time is told that it is there (mem_hotplug_lock)."""
    ran = machine_with("thread T cpu=1", "T& online_pages", "online_pages", "wait")
    answers = [event["ret"] for event in ran.events("sys_exit") if event["call"] == "online_pages"]

    assert [-errno.EEXIST, 0] == sorted(answers)
    assert 1024 == movable(ran).free_pages


def test_unmovable_requests_never_get_its_pages():
    """They have another highest zone."""
    ran = machine_with("online_pages", "alloc_pages A")

    assert "Movable" != ran.machine.inspect().zone_of(ran.results()["alloc_pages A"]).name


@pytest.mark.parametrize("broken", [(), ("online_sets_up_pageset_first",)])
def test_the_zone_has_lists_and_limits_of_its_own(broken):
    """In either order, if nobody comes between."""
    ran = machine_with("online_pages", broken=broken)
    zone = movable(ran)

    assert zone.has_own_pcps
    assert all((pcp.high, pcp.batch) != (0, 0) for pcp in zone.pcps)
    assert (1024, 1024) == (zone.free_pages, zone.present_pages)
    assert not any(pcp.count for pcp in ran.machine.inspect().boot_pageset)


def zones_of(ran):
    """Return by name what zoneinfo says of each zone, as lists of words by their first word."""
    return zones_in(ran.machine.proc()["zoneinfo"])


def zones_in(zoneinfo):
    """Return the same of a text."""
    sections = zoneinfo.split("Node 0, zone")[1:]
    lines = [[line.split() for line in section.splitlines()] for section in sections]
    return {
        section[0][0]: {words[0].rstrip(":"): words[1:] for words in section[1:] if words}
        for section in lines
    }


def protection_of(zone):
    return [int(word.strip("(),")) for word in zone["protection"]]


@pytest.mark.parametrize("ratios", [(256, 256, 32, 0), (8, 4, 32, 0), (0, 16, 32, 0)])
def test_lower_zones_keep_a_reserve_from_requests_for_what_came_online(ratios):
    """lowmem_reserve of every zone is computed from what the zones above it manage now."""
    ran = machine_with("online_pages", size=64 * MIB, hotplug=64 * MIB, lowmem_reserve_ratio=ratios)
    zones = zones_of(ran)
    managed = [int(zones[name]["managed"][0]) for name in ("DMA32", "Normal", "Movable", "Device")]

    above = [managed[0], managed[0], managed[0] + managed[2], managed[0] + managed[2]]
    assert [0, *(pages // ratios[0] if ratios[0] else 0 for pages in above)] == protection_of(
        zones["DMA"]
    )
    assert [0, 0, 0, 16384 // ratios[1], 16384 // ratios[1]] == protection_of(zones["DMA32"])
    assert 5 * [0] == protection_of(zones["Normal"]) == protection_of(zones["Movable"])


@pytest.mark.parametrize(
    ("size", "hotplug", "options"),
    [
        (64 * MIB, 64 * MIB, {}),
        (64 * MIB, 8 * MIB, {"min_free_kbytes": 4000}),
        (64 * MIB, 512 * MIB, {"watermark_scale_factor": 100}),
        (640 * MIB, 64 * MIB, {}),
        (640 * MIB, 512 * MIB, {"transparent_hugepage": "never"}),
        (64 * MIB, 64 * MIB, {"percpu_pagelist_high_fraction": 8}),
    ],
)
def test_all_zones_share_what_is_kept_free_by_their_size(size, hotplug, options):
    """Watermarks and lists of old zones change with the new one; none is left as boot had it."""
    assert_limits_are_of_what_is_managed(
        scenario_with("online_pages", size=size, hotplug=hotplug, **options), **options
    )


def assert_limits_are_of_what_is_managed(scenario, *, zones=3, **options):
    """Hold watermarks and lists, as zoneinfo shows them, against the managed pages there."""
    driven = drive(scenario)
    allocator = driven.kernel.allocator
    shown_by_name = zones_in(driven.wired.texts()["zoneinfo"])
    managed = {
        zone.name: int(shown_by_name[zone.name]["managed"][0]) for zone in allocator.zones[:zones]
    }
    total = sum(managed.values())
    kept = allocator.min_free_kbytes // 4
    scale = options.get("watermark_scale_factor", 10)

    for zone in allocator.zones[:zones]:
        # The lists' `high` stands below the zone's and hides it.
        shown = {key: int(shown_by_name[zone.name][key][0]) for key in ("min", "low")}
        share = kept * managed[zone.name] // total
        distance = max(share // 4, managed[zone.name] * scale // 10000)
        assert {"min": share, "low": share + distance} == shown
        fraction = options.get("percpu_pagelist_high_fraction", 0)
        wanted = managed[zone.name] // fraction if fraction else share + distance
        batch = zone.pcps[0].words[BATCH]
        assert {max(wanted // 2, 4 * batch)} == {int(pcp.words[HIGH]) for pcp in zone.pcps}


def test_a_min_free_kbytes_of_the_user_stays_until_memory_asks_for_more():
    """As calculate_min_free_kbytes prefers it; huge pages ask for theirs where khugepaged runs."""

    def kept(**options):
        return drive(scenario_with("online_pages", **options)).kernel.allocator

    assert 5000 == kept(min_free_kbytes=5000).min_free_kbytes
    assert 128 < kept(min_free_kbytes=200).min_free_kbytes < 1000
    large = {"size": 640 * MIB, "hotplug": 64 * MIB}
    assert 30_000 < kept(**large).min_free_kbytes < 32_000, "a twentieth of low memory"
    assert 3000 < kept(**large, transparent_hugepage="never").min_free_kbytes < 3300


def test_pages_that_went_offline_are_missed_by_all_limits():
    """Watermarks, reserves and lists are those of a machine with so much less to manage."""
    program = ["alloc_pages P order=10 gfp=HIGHUSER_MOVABLE movable", "free_pages P"]
    before = machine_with(*program, size=64 * MIB)
    offline = scenario_with(*program, "offline_pages P", size=64 * MIB)
    after = run(offline)

    managed = int(zones_of(after)["DMA32"]["managed"][0])
    assert int(zones_of(before)["DMA32"]["managed"][0]) - 1024 == managed
    assert [0, *4 * [managed // 256]] == protection_of(zones_of(after)["DMA"])
    assert_limits_are_of_what_is_managed(offline, zones=2)


def test_a_request_for_movable_pages_leaves_the_new_reserve_of_lower_zones():
    """Where it finds no block any more, a request that could not use the new zone does."""
    movable = [f"alloc_pages P{n} order=10 gfp=HIGHUSER_MOVABLE" for n in range(24)]

    ran = machine_with(
        "online_pages",
        *movable,
        "alloc_pages K order=10",
        size=64 * MIB,
        hotplug=32 * MIB,
        lowmem_reserve_ratio=(256, 1, 32, 0),
    )

    results = ran.results()
    assert [0, 0, 0, 8192, 8192] == protection_of(zones_of(ran)["DMA32"])
    assert 0 < results[movable[0]]
    assert -errno.ENOMEM == results[movable[-1]]
    assert 0 < results["alloc_pages K order=10"]


def test_what_came_online_may_be_promised():
    """MemTotal and CommitLimit grow with it."""

    def shown(*program):
        text = machine_with(*program, hotplug=16 * MIB).machine.proc()["meminfo"]
        lines = [line.split() for line in text.splitlines()]
        return {words[0].rstrip(":"): int(words[1]) for words in lines}

    before, after = shown("nop"), shown("online_pages")

    assert 16 * 1024 == after["MemTotal"] - before["MemTotal"]
    assert 8 * 1024 == after["CommitLimit"] - before["CommitLimit"]


def test_memory_comes_online_once():
    """The second time there is nothing left to do."""
    ran = machine_with("online_pages", "online_pages")

    assert -errno.EEXIST == ran.results()["online_pages"]


def test_without_plugged_memory_there_is_nothing_to_bring_online():
    """-ENODEV."""
    ran = run(scenario_of(["online_pages"], size=32 * MIB))

    assert -errno.ENODEV == ran.results()["online_pages"]


def test_zoneinfo_shows_the_zone_before_and_after():
    """Present pages are those that are online."""
    before = machine_with("nop").machine.proc()["zoneinfo"]
    after = machine_with("online_pages").machine.proc()["zoneinfo"]

    def present(text):
        section = text[text.index("zone  Movable") :]
        return next(line.split()[1] for line in section.splitlines() if "present" in line)

    assert ("0", "1024") == (present(before), present(after))
