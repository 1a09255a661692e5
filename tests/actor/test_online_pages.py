"""Memory that is plugged in and comes online: who finds it, and from whose lists."""

import errno

import pytest
from attrs import evolve
from machines import EXACT, run, scenario_of

from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.page_alloc.gfp import ZONE_MOVABLE
from mmactors.races.pair import with_rules
from mmactors.units import MIB


def machine_with(*program, hotplug=4 * MIB, broken=()):
    """Run a program on a machine with memory that boot does not see."""
    scenario = scenario_of(list(program), cpus=2, size=32 * MIB, **EXACT)
    memory = evolve(scenario.machine.memory, hotplug=hotplug)
    scenario = evolve(scenario, machine=evolve(scenario.machine, memory=memory))
    return run(with_rules(scenario, broken=broken))


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
