"""Random programs on three CPUs and two nodes, at random moments: all that /proc says agrees.

vmstat, meminfo, zoneinfo and buddyinfo are read twice: as they stand, when each says what its
readers of counters say, and after all CPUs have told what they counted, when each says what is
true of the pages themselves. What processes say of themselves is held against their page tables,
and the event log against both.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import Driven, drive, events_of, scenario_of
from meminfo import IN_HUGE_PAGES, PAGES

from mmactors.actors.alloc import page_alloc, page_table
from mmactors.actors.entries import unmap
from mmactors.actors.file import filemap
from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.page import PG_DIRTY, PG_MLOCKED, PG_SWAPBACKED
from mmactors.arch.pte import pte_pfn
from mmactors.engine.cpu import Cpu
from mmactors.events import MmPageFree
from mmactors.mm.area.overcommit import Overcommit
from mmactors.mm.area.vm_flags import VM_ACCOUNT
from mmactors.mm.fault import dirty
from mmactors.mm.lru.folio_batch import FolioBatches
from mmactors.mm.page_alloc.buddy import MANAGED_PAGES
from mmactors.mm.page_alloc.pcp import COUNT
from mmactors.mm.page_table.swap_entry import make_migration_entry
from mmactors.mm.rmap.rmap import PAGE_MAPPING_ANON
from mmactors.mm.vmstat import (
    NODE_STAT_NAMES,
    NR_FILE_MAPPED,
    STAT_THRESHOLD,
    ZONE_STAT_NAMES,
    TaskRssStat,
    VmStat,
)
from mmactors.observe.proc import of_vma
from mmactors.observe.proc.of_process import process_texts
from mmactors.observe.proc.of_vma import moving_pages, view_of_vma
from mmactors.units import MIB

BEGIN = (
    "open G /shm/g create",
    "open H /mnt/h create",
    "ftruncate G 256K",
    "ftruncate H 256K",
    "mmap A 256K",
    "mmap S 256K flags=shared file=G",
    "mmap F 256K flags=shared file=H",
    "mmap P 256K flags=private file=H",
    "thread T1 cpu=1",
    "thread T2 cpu=2",
    "fork C",
    "C: cpu 2",
)
RANGES = st.tuples(st.sampled_from("AASFP"), st.integers(0, 40), st.integers(1, 24)).map(
    lambda drawn: f"{drawn[0]} {drawn[1]}..{drawn[1] + drawn[2]}"
)
FILES = st.sampled_from("GH")
TOUCHES = st.builds("touch {} {}".format, RANGES, st.sampled_from(["read", "write", "write"]))
CALLS = st.one_of(
    TOUCHES,
    TOUCHES,
    st.builds("{} {}".format, st.sampled_from(["mlock", "munlock", "munmap"]), RANGES),
    st.builds("madvise {} {}".format, RANGES, st.sampled_from(["DONTNEED", "REMOVE", "FREE"])),
    st.builds("mprotect {} prot=r".format, RANGES),
    st.builds("{} {} {} 64K bs=4K".format, st.sampled_from(["read", "write"]), FILES, st.just(0)),
    st.builds("ftruncate {} {}".format, FILES, st.sampled_from([10000, 262144])),
    st.builds("fadvise {} 0 256K DONTNEED".format, FILES),
    st.sampled_from(["fsync H", "migrate A 0..16", "brk +64K", "snap s", "mmap B 64K"]),
)
_NR_THREADS = 4
WHO = st.sampled_from(["", "T1: ", "T2: ", "C: ", "T1& ", "T2& "])
PROGRAMS = st.lists(st.tuples(WHO, CALLS).map("".join), min_size=20, max_size=60)
MOMENTS = st.integers(2_000, 150_000)
"""When to look, in ns: longer programs are not done then, shorter ones sleep."""

MEMINFO = {"Cached": ("nr_file_pages",)} | {
    label: names for label, names in PAGES.items() if names[0] not in IN_HUGE_PAGES
}
"""What vmstat has in pages, too; nothing is in the swap cache, and there are no buffers."""


@frozen(repr=False)
class Seen:
    """A machine that stands, and its texts."""

    ran: Driven
    texts: dict[str, str]

    @property
    def vmstat(self) -> dict[str, int]:
        lines = (line.split() for line in self.texts["vmstat"].splitlines())
        return {name: int(number) for name, number in lines}

    @property
    def meminfo(self) -> dict[str, int]:
        lines = (line.split() for line in self.texts["meminfo"].splitlines())
        return {words[0].rstrip(":"): int(words[1]) for words in lines}

    def zoneinfo(self) -> Iterator[tuple[int, str, dict[str, int]]]:
        """Yield node, zone, and numbers by name; a node's are with its first populated zone."""
        for part in re.split(r"^Node ", self.texts["zoneinfo"], flags=re.MULTILINE)[1:]:
            node, zone = re.match(r"(\d+), zone +(\w+)", part).groups()
            numbers = {"free": int(re.search(r"pages free +(\d+)", part)[1])}
            numbers |= {
                name: int(number)
                for name, number in re.findall(r"^ {6}(\w+) +(\d+)$", part, re.MULTILINE)
            }
            yield int(node), zone, numbers

    def buddyinfo(self) -> dict[tuple[int, str], int]:
        """Return the pages of all free blocks by node and zone."""
        lines = re.findall(r"Node (\d+), zone +(\w+) (.*)", self.texts["buddyinfo"])
        return {
            (int(node), zone): sum(int(n) << order for order, n in enumerate(counts.split()))
            for node, zone, counts in lines
        }


def look(ran: Driven) -> Seen:
    return Seen(ran, ran.wired.texts())


def assert_texts_are_one(seen: Seen) -> None:
    """Hold each text against the counters that its readers read; they lag, but all in one way."""
    kernel = seen.ran.kernel
    vmstat, meminfo = seen.vmstat, seen.meminfo
    for label, names in MEMINFO.items():
        assert 4 * sum(vmstat[name] for name in names) == meminfo[label], label
    sums: Counter[str] = Counter()
    for node, zone, numbers in seen.zoneinfo():
        if numbers.keys() & set(NODE_STAT_NAMES):
            words = kernel.vmstat.nodes[node]
            for item, name in enumerate(NODE_STAT_NAMES):
                assert max(words[item], 0) == numbers[name], f"{name} of node {node}"
                sums[name] += words[item]
        if "nr_free_pages" not in numbers:
            continue
        assert numbers["free"] == numbers["nr_free_pages"]
        number = next(
            each.number for each in kernel.allocator.zones if (each.node, each.name) == (node, zone)
        )
        for item, name in enumerate(ZONE_STAT_NAMES):
            assert max(kernel.vmstat.zones[number][item], 0) == numbers[name], name
            sums[name] += kernel.vmstat.zones[number][item]
        lag = sum(row[number][STAT_THRESHOLD] for row in kernel.vmstat.cpu_zones)
        assert abs(seen.buddyinfo()[node, zone] - numbers["free"]) <= lag
    for name, number in sums.items():
        assert max(number, 0) == vmstat[name], name


def assert_counters_are_true(seen: Seen) -> None:
    """Hold the counters, brought together, against pages, tables and page caches."""
    kernel = seen.ran.kernel
    pages = kernel.pages
    zone_node = np.array(kernel.zone_node)
    mappings = kernel.file_system.mappings()

    def by_node(pfns: np.ndarray) -> list[int]:
        nodes = zone_node[pages.zone[pfns] - 1]
        return np.bincount(nodes, minlength=kernel.vmstat.nr_nodes).tolist()

    mapped = np.flatnonzero(pages.mapcount)
    is_anon = (pages.mapping[mapped] & PAGE_MAPPING_ANON) != 0
    cached = np.array([pfn for each in mappings for pfn in each.pages.values()], np.int64)
    flags = pages.flags[cached]
    is_shmem = (flags & PG_SWAPBACKED) != 0
    true = {
        "nr_anon_pages": by_node(mapped[is_anon]),
        "nr_mapped": by_node(mapped[~is_anon]),
        "nr_file_pages": by_node(cached),
        "nr_shmem": by_node(cached[is_shmem]),
        "nr_dirty": by_node(cached[~is_shmem & ((flags & PG_DIRTY) != 0)]),
    }
    in_nodes: dict[str, list[int]] = defaultdict(lambda: [0] * kernel.vmstat.nr_nodes)
    free = {}
    for node, zone, numbers in seen.zoneinfo():
        for name in true.keys() & numbers.keys():
            in_nodes[name][node] += numbers[name]
        if "nr_free_pages" in numbers:
            free[node, zone] = numbers["free"]
    assert true == dict(in_nodes)
    assert {name: sum(counts) for name, counts in true.items()} == {
        name: seen.vmstat[name] for name in true
    }
    assert seen.buddyinfo() == free
    assert sum(true["nr_dirty"]) == seen.vmstat["nr_zone_write_pending"]
    assert np.count_nonzero(pages.flags & PG_MLOCKED) == seen.vmstat["nr_mlock"]
    tables = [space.mm.page_table for space in kernel.spaces.values()]
    # A fault has a table before it is in its place, and who unmaps counts it until it is gone.
    nr_tables = sum(each.nr_ptes + each.nr_pmds for each in tables)
    assert 0 <= seen.vmstat["nr_page_table_pages"] - nr_tables <= _NR_THREADS


def assert_processes_are_one(seen: Seen, processes: list[Process]) -> None:
    """Hold smaps, rollup, numa_maps, statm, stat and status of each process against each other."""
    promised = 0
    for process in processes:
        texts = process_texts(process)
        smaps = Counter()
        for name, kib in re.findall(r"^(\w+): +(\d+) kB$", texts["smaps"], re.MULTILINE):
            smaps[name] += int(kib)
        status = dict(re.findall(r"^(\w+):\s+(\d+) kB$", texts["status"], re.MULTILINE))
        status = {name: int(kib) for name, kib in status.items()}
        size, resident, shared, *_ = map(int, texts["statm"].split())

        assert (4 * size, 4 * resident) == (status["VmSize"], status["VmRSS"])
        assert 4 * shared == status["RssFile"] + status["RssShmem"]
        assert status["RssAnon"] + 4 * shared == status["VmRSS"] <= status["VmHWM"]
        assert smaps["Size"] == status["VmSize"] <= status["VmPeak"]
        stat = texts["stat"].rpartition(")")[2].split()
        assert [size * 4096, resident] == [int(stat[23 - 3]), int(stat[24 - 3])]
        # The tables have what was told, and what threads have counted and not told yet; who reads
        # a counter that has been told only what went sees none (get_mm_counter).
        mm = process.space.mm
        untold = sum(sum(task.rss.count) for task in process.tasks if task.mm is mm)
        assert smaps["Rss"] == 4 * (sum(mm.rss) + untold)
        assert resident == sum(max(0, number) for number in mm.rss)
        nr_moving = sum(len(moving_pages(mm, vma)) for vma in mm.tree)
        rollup = dict(re.findall(r"^(\w+): +(\d+) kB$", texts["smaps_rollup"], re.MULTILINE))
        assert [smaps[name] for name in ("Rss", "Private_Dirty", "Anonymous", "Shared_Clean")] == [
            int(rollup[name]) for name in ("Rss", "Private_Dirty", "Anonymous", "Shared_Clean")
        ]
        for label, name in (("Anonymous", r"anon"), ("Rss", r"N\d+")):
            counts = re.findall(rf" {name}=(\d+)", texts["numa_maps"])
            assert smaps[label] == 4 * (sum(map(int, counts)) + nr_moving)
        sizes = re.findall(r"^Size: +(\d+) kB$", texts["smaps"], re.MULTILINE)
        flags = re.findall(r"^VmFlags: (.*)$", texts["smaps"], re.MULTILINE)
        areas = list(zip(sizes, flags, strict=True))
        assert status["VmLck"] == sum(int(kib) for kib, flags in areas if "lo" in flags.split())
        promised += sum(int(kib) for kib, flags in areas if "ac" in flags.split())
    kernel = seen.ran.kernel
    # A child that is being made is in no process's /proc yet, and its areas are promised already.
    shown = [process.space for process in processes]
    unborn = [space.mm.tree for space in kernel.spaces.values() if space not in shown]
    promised += 4 * sum(
        vma.nr_pages for tree in unborn for vma in tree if vma.vm_flags & VM_ACCOUNT
    )
    files = sum(mapping.nr_accounted for mapping in kernel.file_system.mappings())
    # A page of shared memory is promised while it is being made.
    in_the_making = seen.meminfo["Committed_AS"] - promised - 4 * files
    in_the_making -= 4 * kernel.overcommit.nr_forgotten
    assert 0 <= in_the_making <= 4 * _NR_THREADS


@frozen
class Start:
    """What a machine had counted before it moved."""

    vmstat: dict[str, int]
    nr_in_use: int

    @classmethod
    def of(cls, kernel: Kernel) -> "Start":
        with kernel.engine.guard.suspended():
            return cls(dict(kernel.vmstat.vmstat()), in_use(kernel))


def in_use(kernel: Kernel) -> int:
    """Return the pages that are neither free nor on a CPU's list."""
    zones = kernel.allocator.zones
    on_lists = sum(pcp.view[COUNT] for zone in zones for pcp in zone.pcps)
    return sum(int(zone.view[MANAGED_PAGES]) - zone.nr_free for zone in zones) - on_lists


def assert_log_agrees(seen: Seen, start: Start) -> None:
    """Hold the log against what was allocated, freed and faulted since the machine began."""
    log, kernel, vmstat = seen.ran.log, seen.ran.kernel, seen.vmstat

    def nr_pages(name: str) -> int:
        found = events_of(log, name)
        return sum(1 << event["order"] for event in found if event["pfn"] is not None)

    def grown(*names: str) -> int:
        return sum(vmstat[name] - start.vmstat[name] for name in names)

    allocated, freed = nr_pages("mm_page_alloc"), nr_pages("mm_page_free")
    assert allocated == grown(*(name for name in vmstat if name.startswith("pgalloc_")))
    assert freed == grown("pgfree")
    assert allocated - freed == in_use(kernel) - start.nr_in_use
    # The kernel faults pages in itself, too, to lock them. A trap is no fault yet at this moment
    # on each CPU at most.
    assert len(events_of(log, "page_fault_user")) <= grown("pgfault") + len(kernel.cpus)


def check(program, until_ns, **engine) -> None:
    """Run a program, and hold everything against everything at one moment."""
    scenario = scenario_of(
        [*BEGIN, *program, "wait", "sleep 10"],
        cpus=3,
        nr_nodes=2,
        size=64 * MIB,
        policy="seeded",
        **engine,
    )
    starts = []
    ran = drive(scenario, until_ns=until_ns, before=lambda kernel: starts.append(Start.of(kernel)))
    seen = look(ran)
    processes = [each for each in ran.wired.processes if each.space is not None]
    assert_texts_are_one(seen)
    assert_processes_are_one(seen, processes)
    assert_log_agrees(seen, starts[0])
    for cpu in range(len(ran.kernel.cpus)):
        ran.kernel.vmstat.fold(cpu)
    together = look(ran)
    assert_texts_are_one(together)
    assert_counters_are_true(together)


@given(
    program=PROGRAMS,
    until_ns=MOMENTS,
    quantum_ns=st.sampled_from([0, 1000]),
    seed=st.integers(0, 9),
)
@settings(max_examples=20)
def test_all_that_proc_says_agrees(program, until_ns, quantum_ns, seed):
    """At a random moment of a random program, and when all counters have been brought together."""
    check(program, until_ns, quantum_ns=quantum_ns, seed=seed)


SHOWS_ALL = (
    "touch A 0..30 write",
    "T2: touch A 30..40 write",
    "touch A 40..50 read",
    "mlock A 0..10",
    "touch S 0..9 write",
    "T1: touch F 0..7 write",
    "write H 0 64K bs=4K",
    "C: touch A 0..5 write",
    "T2: ftruncate G 10000",
    "T1: munmap A 12..20",
)
"""A program, at the end of which each counter has something."""


def count_on_the_cpus_node(self: Kernel, cpu: Cpu, _pfn: int, item: int, delta: int) -> None:
    self.vmstat.mod_node_page_state(cpu.index, self.cpu_node[cpu.index], item, delta)


def exact(self: VmStat, item: int) -> int:
    return int(self.node_words[:, item].sum() + self.cpu_node_words[:, :, item].sum())


def nothing(*_: object) -> None:
    """Do nothing instead of what the right kernel does."""


BROKEN = {
    "meminfo knows what CPUs have not told": (VmStat, "global_node_page_state", exact),
    "zoneinfo knows it": (VmStat, "node_page_state", VmStat.node_page_state_snapshot),
    "pages count on the CPU's node": (Kernel, "count_page", count_on_the_cpus_node),
    "unmapping counts another item": (unmap, "NR_ANON_MAPPED", NR_FILE_MAPPED),
    "shared memory is not counted": (filemap, "NR_SHMEM", NR_FILE_MAPPED),
    "dirty pages are not counted": (dirty, "_count_dirty", nothing),
    "locked pages are not counted": (FolioBatches, "_count_locked", nothing),
    "what a thread counted is lost": (TaskRssStat, "fold", lambda self, _mm: self.count.clear()),
    "page tables are not counted": (page_table, "NR_PAGETABLE", NR_FILE_MAPPED),
    "promises are not taken back": (
        Overcommit,
        "vm_acct_memory",
        lambda self, nr_pages: self.set_committed(self.committed + max(nr_pages, 0)),
    ),
    "smaps shows the zero page": (of_vma, "SPECIAL", 0),
    "the log names more pages": (
        page_alloc,
        "MmPageFree",
        lambda pfn, order: MmPageFree(pfn=pfn, order=order + 1),
    ),
}


def test_the_program_that_shows_all_is_right():
    """What follows fails for what is broken there only."""
    check(SHOWS_ALL, 1_000_000, quantum_ns=0, seed=1)


@pytest.mark.parametrize("until_ns", range(3_000, 40_000, 1_000))
def test_it_agrees_while_a_child_is_made(until_ns):
    """Its areas are promised one by one, before anybody sees them."""
    check([], until_ns, quantum_ns=0, seed=1)


@pytest.mark.parametrize("name", BROKEN)
def test_each_of_it_can_be_broken(name, monkeypatch):
    """A kernel that counts wrong, a reader that reads another counter, or a log that lies."""
    where, attribute, by = BROKEN[name]
    monkeypatch.setattr(where, attribute, by)

    with pytest.raises(AssertionError):
        check(SHOWS_ALL, 1_000_000, quantum_ns=0, seed=1)


def test_a_machine_is_shown_in_few_characters():
    """Where a law fails, its arguments are shown: not with all that hangs on them."""
    ran = drive(scenario_of(["mmap A 4K", "touch A write", "sleep 10"]), until_ns=100_000)
    process = ran.wired.processes[0]
    parts = (
        ran,
        ran.wired,
        ran.kernel,
        process,
        process.leader,
        process.leader.actor,
        process.gone,
    )

    assert all(len(repr(part)) < 1000 for part in parts)


def test_a_page_that_is_being_moved_is_resident_for_smaps_and_on_no_node():
    """smaps_pte_entry takes the page of a migration entry as mapped once, numa_maps passes by."""
    ran = drive(scenario_of(["mmap A 16K", "touch A write", "sleep 10"]), until_ns=100_000)
    process = ran.wired.processes[0]
    mm = process.space.mm
    vma = next(vma for vma in mm.tree if vma.nr_pages == 4)
    _level, index = mm.page_table.walk(vma.vm_start)
    view = mm.page_table.memory.view
    pages = ran.kernel.pages
    pfn = pte_pfn(view[index])
    view[index] = make_migration_entry(pfn, view[index], is_exclusive=True)
    pages.mapcount_view[pfn] -= 1
    seen = view_of_vma(mm, vma, pages, np.array(ran.kernel.zone_node))

    assert (16384, 16384, 3) == (seen.numbers.resident, seen.numbers.anonymous, seen.numa.pages)
    # Neither DIRTY nor ACCESSED of the entry counts.
    assert (4096, 12288) == (seen.numbers.private_clean, seen.numbers.private_dirty)
    assert 12288 == seen.numbers.referenced
