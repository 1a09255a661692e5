"""What an inspection shows of a machine, and that it stays as it was."""

import attrs
import pytest
from machines import run, scenario_of

from mmactors.errors import UserError
from mmactors.hw.config import HardwareConfig
from mmactors.observe.inspection import inspection
from mmactors.scenario.machine import Machine
from mmactors.units import KIB, MIB, PAGE_SIZE

PROGRAM = [
    "mmap A 64K",
    "touch A 0..4 write",
    "touch A 4..6 read",
    "open F /shm/a create",
    "write F 0 10K bs=4K",
    "mmap S 8K flags=shared file=F prot=r",
    "touch S 0..1 read",
]


@pytest.fixture
def seen():
    """A machine in the middle of a program, on the second of its two CPUs an idle one."""
    scenario = scenario_of([*PROGRAM, "spin"], cpus=2, guard=True)
    return run(scenario, until_ns=1_000_000).machine.inspect()


def test_areas_are_those_of_maps():
    """The same ranges with the same permissions and names."""
    machine = run(scenario_of([*PROGRAM, "spin"]), until_ns=1_000_000).machine
    lines = [line.split(maxsplit=5) for line in machine.proc()["1/maps"].splitlines()]

    assert [
        (*(int(part, 16) for part in line[0].split("-")), line[1], *line[5:]) for line in lines
    ] == [
        (area.start, area.end, area.permissions, *(() if area.name is None else (area.name,)))
        for area in machine.inspect().process(1).areas
    ]


def test_an_area_is_found_by_an_address_in_it(seen):
    """Its name, its file, and its offset."""
    process = seen.process(1)
    start, size = process.names["S"]
    area = process.area(start + 1)

    assert (start, start + size, "r--s") == (area.start, area.end, area.permissions)
    assert ("/shm/a", seen.files["/shm/a"].inode, 0) == (area.name, area.inode, area.pgoff)
    assert 8 * KIB == size


def test_a_walk_shows_every_level_and_ends_at_the_page(seen):
    """Each entry points to the table of the next; each table is a page that says so."""
    process = seen.process(1)
    address, _ = process.names["A"]
    path = process.walk(address)

    assert ["PGD", "PUD", "PMD", "PTE"] == [entry.level for entry in path]
    assert [entry.pfn for entry in path[:-1]] == [entry.table_pfn for entry in path[1:]]
    assert process.memory.pgd_pfn == path[0].table_pfn
    assert all("table" in seen.page(entry.table_pfn).flag_names for entry in path[1:])
    assert ("present", "rw", "user", "accessed", "dirty", "nx") == path[-1].flags
    assert path[-1] == process.entry(address)
    assert path[-1].word & (1 << 63)


def test_an_address_without_a_table_has_no_pte(seen):
    """The walk ends above, at an entry that is empty."""
    process = seen.process(1)
    last = process.walk(0x1000)[-1]

    assert process.entry(0x1000) is None
    assert (0, None, ()) == (last.word, last.pfn, last.flags)
    assert not last.is_present


def test_forbidden_memory_keeps_its_page_behind_an_entry_that_is_not_present():
    """PROT_NONE: the hardware sees nothing, the kernel still finds the page."""
    program = ["mmap A 4K", "touch A write", "mprotect A prot=none", "spin"]
    process = run(scenario_of(program), until_ns=1_000_000).machine.inspect().process(1)
    start, end = process.areas[0].start, process.areas[0].end
    entry = process.entry(start)

    assert not entry.is_present
    assert "protnone" == entry.flags[0]
    assert entry.pfn
    assert (entry,) == process.mapped(start, end)
    assert "---p" == process.areas[0].permissions


def test_a_machine_with_five_levels_shows_five():
    """The top one is the PGD on both kinds of machine."""
    scenario = scenario_of(["mmap A 4K", "touch A read", "spin"], hardware=HardwareConfig(levels=5))
    process = run(scenario, until_ns=1_000_000).machine.inspect().process(1)
    path = process.walk(process.areas[0].start)

    assert ["PGD", "P4D", "PUD", "PMD", "PTE"] == [entry.level for entry in path]


def test_a_process_that_has_ended_has_no_memory_and_keeps_its_counts():
    """What it had open is closed, too."""
    process = run(scenario_of(PROGRAM)).machine.inspect().process(1)

    assert process.memory is None
    assert () == process.areas == process.files == process.walk(0) == process.mapped(0, 1 << 40)
    assert process.entry(0) is None
    assert process.min_flt > 0


def test_what_is_not_there_is_an_error(seen):
    """A pid, a zone."""
    with pytest.raises(KeyError):
        seen.process(9)
    with pytest.raises(KeyError):
        seen.zone("Movable")


def test_a_page_is_known_by_its_pfn(seen):
    """Anonymous memory that was written: referred to by an entry and a batch, its anon_vma."""
    process = seen.process(1)
    address, _ = process.names["A"]
    page = seen.page(process.entry(address).pfn)

    assert (2, 1, 0, None) == (page.refcount, page.mapcount, page.order, page.buddy_order)
    assert page.pfn in seen.cpus[0].lru_batch_pfns
    assert process.area(address).anon_vma == page.anon_vma
    assert ("anon_exclusive", "swapbacked") == page.flag_names
    assert page.pfn in seen.mapped_pfns
    assert seen.zone_of(page.pfn).start_pfn <= page.pfn < seen.zone_of(page.pfn).end_pfn


def test_a_frame_that_the_machine_has_not_is_an_error(seen):
    """It names the last one."""
    with pytest.raises(IndexError, match="frames 0 to 0x3fdf"):
        seen.page(64 * MIB // PAGE_SIZE)


def test_free_lists_hold_what_the_zone_counts_as_free(seen):
    """Each block is a buddy of its order; all together are the zone's free pages."""
    for zone in seen.zones:
        assert zone.free_pages == sum(len(each.pfns) << each.order for each in zone.free_lists)
        for each in zone.free_lists:
            assert {each.order} == {seen.page(pfn).buddy_order for pfn in each.pfns}
    (first, *_) = seen.zones[0].free_lists
    assert first.pfns == seen.zones[0].free_list(first.order, first.migratetype)


def test_a_cpus_lists_are_shown_in_the_order_in_which_it_hands_out():
    """The page that comes next is the head of its list."""
    program = ["alloc_pages A", "alloc_pages B", "free_pages A", "free_pages B"]
    stopped = run(scenario_of([*program, "spin"]), until_ns=100_000).machine.inspect()
    (pcp,) = [pcp for zone in stopped.zones for pcp in zone.pcps if pcp.count]
    results = run(scenario_of([*program, "alloc_pages C", "alloc_pages D"])).results()

    assert [(results["alloc_pages C"], results["alloc_pages D"])] == [
        each.pfns for each in pcp.lists
    ]
    assert pcp.count == sum(len(each.pfns) << each.order for each in pcp.lists)


def test_counters_are_told_apart_from_what_cpus_have_not_added(seen):
    """The global number lags; with all deltas it is exact."""
    for zone in seen.zones:
        counter = zone.counters["nr_free_pages"]
        assert zone.free_pages == counter.snapshot == counter.value + sum(counter.deltas)
    shmem = seen.nodes[0].counters["nr_shmem"]
    assert (3, 2) == (shmem.snapshot, len(shmem.deltas))
    assert seen.counters["pgfault"] == sum(cpu.events.get("pgfault", 0) for cpu in seen.cpus)


def test_a_tlb_shows_what_was_accessed(seen):
    """Under the PCID of the address space that the CPU has loaded; the idle CPU has nothing."""
    process = seen.process(1)
    address, _ = process.names["A"]
    cpu = seen.cpus[0]
    (loaded,) = [asid for asid in cpu.asids if asid.is_loaded]

    assert ("p0", process.memory.ctx_id) == (cpu.current, loaded.ctx_id)
    assert {"dtlb", "stlb"} >= {entry.tlb for entry in cpu.translations(address)} != set()
    assert {(loaded.pcid, process.entry(address).pfn)} == {
        (entry.pcid, entry.pfn) for entry in cpu.translations(address)
    }
    assert {"pmd_cache"} <= {entry.tlb for entry in cpu.tlb}
    assert () == seen.cpus[1].tlb
    assert seen.cpus[1].current is None


def test_files_show_their_pages_and_who_has_them_open(seen):
    """Three pages are cached; a file on a disk also says what is stored."""
    file = seen.files["/shm/a"]

    assert (10 * KIB, True, [0, 1, 2]) == (file.size_bytes, file.is_shmem, list(file.pages))
    assert [("F", "/shm/a", file.inode)] == [attrs.astuple(each) for each in seen.process(1).files]
    ran = run(scenario_of(["open F /mnt/a create", "write F 0 8K bs=4K", "fsync F"]))
    assert (0, 1) == ran.machine.inspect().files["/mnt/a"].stored


def test_actors_say_what_they_wait_for(seen):
    """The thread that spins could go on; services wait for requests."""
    actors = {actor.name: actor for actor in seen.actors}

    assert actors["memory"].waits_for
    assert actors["p0"].pid == 1


def test_what_was_looked_at_stays_when_the_machine_goes_on():
    """What was not looked at before is an error that says what to do."""
    machine = Machine(scenario_of([*PROGRAM, "compute 1ms", "munmap A"]))
    machine.run_inline(until_ns=500_000)
    seen = machine.inspect()
    process = seen.process(1)
    areas, rss = process.areas, process.memory.rss_pages
    nr_areas = len(areas)
    assert not seen.has_passed

    machine.run_inline()
    machine.close()

    assert seen.has_passed
    assert (areas, rss) == (process.areas, process.memory.rss_pages)
    assert nr_areas == len(process.areas)
    assert () == machine.inspect().process(1).areas
    with pytest.raises(UserError, match=r"the machine has moved on .*call inspect\(\) again"):
        _ = seen.zones
    with pytest.raises(UserError, match="has moved on"):
        process.walk(0)


def test_values_cannot_be_changed(seen):
    """Neither those of a process nor the mappings."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        seen.process(1).areas[0].start = 0
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        seen.process(1).pid = 7
    with pytest.raises(TypeError):
        seen.counters["pgfault"] = 0
    with pytest.raises(TypeError):
        seen.zones[0].counters["nr_free_pages"] = 0


def test_nothing_is_read_before_it_is_asked_for(monkeypatch):
    """Making an inspection costs the same on every machine."""
    read = []
    for name in ("inspect_process", "inspect_zone", "inspect_cpu", "files_of", "page_of"):
        found = getattr(inspection, name)
        monkeypatch.setattr(
            inspection, name, lambda *args, of=found, name=name: (read.append(name), of(*args))[1]
        )
    seen = run(scenario_of(PROGRAM)).machine.inspect()

    assert [] == read
    assert seen.zones is seen.zones
    assert {"inspect_zone"} == set(read)


def test_looking_changes_nothing():
    """A machine that was looked at in the middle gives the log of one that was not."""
    scenario = scenario_of([*PROGRAM, "munmap A"], PROGRAM, cpus=2, policy="seeded")

    def look(machine):
        seen = machine.inspect()
        _ = [zone.free_lists for zone in seen.zones], [cpu.tlb for cpu in seen.cpus]
        _ = [process.areas for process in seen.processes]

    plain = run(scenario)
    looked = run(scenario, before=look)
    look(looked.machine)

    assert plain.log == looked.log
    assert plain.counters == looked.counters


def test_a_notebook_shows_tables(seen):
    """A row for each value; texts are escaped; the machine shows its processes."""
    areas = seen.process(1).areas

    assert len(areas) + 1 == areas._repr_html_().count("<tr>")
    assert "<th>permissions</th>" in areas._repr_html_()
    assert "<td>p0</td>" in seen._repr_html_()
    assert "_moment" not in seen.processes._repr_html_()
