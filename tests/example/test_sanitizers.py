"""What the checkers of pages, lists and counters find in a state that was broken by hand."""

from collections.abc import Callable

import pytest
from attrs import evolve
from machines import Ran, drive, run, scenario_of

from mmactors.actors.entries import mmu_gather
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.page import PG_LOCKED
from mmactors.engine.report import EngineError
from mmactors.mm.area.mm_struct import MM_ANONPAGES
from mmactors.mm.page_alloc.pcp import COUNT
from mmactors.mm.vmstat import NR_ANON_MAPPED, NR_FILE_DIRTY, NR_FREE_PAGES
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.finding import SanitizerError
from mmactors.sanitize.law import LESSONS, Law
from mmactors.sanitize.sanitizer import Sanitizer

PROGRAM = ["mmap A 64K", "touch A write"]


def checked(program: list[str], *, panic: bool = False) -> Ran:
    """Run a program with all sanitizers on."""
    scenario = scenario_of(program)
    return run(evolve(scenario, sanitize=SanitizeConfig.everything(panic=panic)))


@pytest.fixture
def sanitizer() -> Sanitizer:
    """Return the sanitizer of a machine whose program is at its first pages."""
    scenario = evolve(scenario_of([*PROGRAM, "spin"]), sanitize=SanitizeConfig.everything())
    found = drive(scenario, until_ns=100_000).wired.sanitizer
    assert found is not None
    return found


def laws(sanitizer: Sanitizer) -> set[Law]:
    """Return the laws that were found broken."""
    return {finding.law for finding in sanitizer.findings}


def test_a_healthy_machine_is_silent_in_the_middle_of_a_program(sanitizer: Sanitizer) -> None:
    """Counters and lists are true whenever no kernel path is under way."""
    sanitizer.at_rest()

    assert [] == sanitizer.findings


def test_a_page_that_is_freed_twice_is_found(sanitizer: Sanitizer) -> None:
    """The second free names the page, and who freed it first."""
    pfn = mapped_page(sanitizer.kernel)
    sanitizer.kernel.pages.mapcount[pfn] = 0
    sanitizer.kernel.lru[0].forget_page(pfn)

    sanitizer.pages_freed(pfn, 0)
    sanitizer.pages_freed(pfn, 0)

    assert [Law.DOUBLE_FREE] == [finding.law for finding in sanitizer.findings]
    assert f"page {pfn:#x} is free and is freed again" == sanitizer.findings[0].what
    assert "given back" in sanitizer.findings[0].facts[-1]


def test_the_tail_of_a_block_that_is_freed_again_is_found(sanitizer: Sanitizer) -> None:
    """Each page of a block is looked at, and knows the block's history."""
    sanitizer.pages_allocated(0x2000, 2, 0)
    sanitizer.pages_freed(0x2000, 2)
    sanitizer.pages_freed(0x2003, 0)

    assert ["page 0x2003 is free and is freed again"] == [
        finding.what for finding in sanitizer.findings
    ]


def test_a_page_that_is_handed_out_twice_is_found(sanitizer: Sanitizer) -> None:
    """Two owners of one page: somebody lost its list."""
    sanitizer.pages_allocated(mapped_page(sanitizer.kernel), 0, 0)

    assert {Law.TWICE_ALLOCATED, Law.FREED_WHILE_MAPPED} == laws(sanitizer)


def test_a_page_that_is_freed_while_mapped_is_found(sanitizer: Sanitizer) -> None:
    """A free page must not have entries that map it."""
    pfn = mapped_page(sanitizer.kernel)
    sanitizer.kernel.lru[0].forget_page(pfn)
    sanitizer.pages_freed(pfn, 0)

    assert {Law.FREED_WHILE_MAPPED} == laws(sanitizer)


@pytest.mark.parametrize("refcount", [-1, 2])
def test_a_page_that_is_freed_with_references_is_found(sanitizer: Sanitizer, refcount: int) -> None:
    """At most the reference that is being dropped may be left."""
    sanitizer.pages_allocated(0x2000, 0, 0)
    sanitizer.kernel.pages.refcount[0x2000] = refcount
    sanitizer.pages_freed(0x2000, 0)

    assert {Law.BAD_PAGE_STATE} == laws(sanitizer)


def test_a_locked_page_that_is_freed_is_found(sanitizer: Sanitizer) -> None:
    """PAGE_FLAGS_CHECK_AT_FREE: the message names the flag."""
    sanitizer.pages_allocated(0x2000, 0, 0)
    sanitizer.kernel.pages.flags[0x2000] |= PG_LOCKED
    sanitizer.pages_freed(0x2000, 0)

    assert ["page 0x2000 is freed as locked"] == [each.what for each in sanitizer.findings]


def mapped_page(kernel: Kernel) -> int:
    """Return a page that the program has."""
    return int(kernel.pages.mapcount.argmax())


def break_nr_free(kernel: Kernel) -> None:
    kernel.vmstat.mod_zone_page_state(0, 0, NR_FREE_PAGES, 1)


def break_nr_anon(kernel: Kernel) -> None:
    kernel.vmstat.mod_node_page_state(0, 0, NR_ANON_MAPPED, -1)


def break_nr_dirty(kernel: Kernel) -> None:
    kernel.vmstat.mod_node_page_state(0, 0, NR_FILE_DIRTY, -3)  # Below 0: no page is dirty.


def break_pcp_count(kernel: Kernel) -> None:
    kernel.allocator.zones[0].pcps[0].words[COUNT] += 1


def break_rss(kernel: Kernel) -> None:
    next(iter(kernel.spaces.values())).mm.add_mm_counter(MM_ANONPAGES, 1)


def break_mapcount(kernel: Kernel) -> None:
    kernel.pages.mapcount[mapped_page(kernel)] += 1


def break_table_count(kernel: Kernel) -> None:
    next(iter(kernel.spaces.values())).mm.page_table.nr_pmds += 1


def break_cpumask(kernel: Kernel) -> None:
    next(iter(kernel.spaces.values())).mm.mm_cpumask = 0


@pytest.mark.parametrize(
    ("corrupt", "name"),
    [
        (break_nr_free, "nr_free_pages of zone"),
        (break_nr_anon, "nr_anon_pages of all nodes is 15, but there are 16"),
        (break_nr_dirty, "nr_dirty of node 0 is -3, but there are 0"),
        (break_pcp_count, "pcp count of cpu0"),
        (break_rss, "MM_ANONPAGES of address space 1 is 17, but there are 16"),
        (break_mapcount, "mapcount of page"),
        (break_table_count, "PMD tables of address space 1"),
        (break_cpumask, "is not in its mm_cpumask"),
    ],
)
def test_a_counter_that_lies_is_found(
    sanitizer: Sanitizer, corrupt: Callable[[Kernel], None], name: str
) -> None:
    """Each counter is compared with the structure that it counts."""
    with sanitizer.kernel.engine.guard.suspended():
        corrupt(sanitizer.kernel)

    sanitizer.at_rest()

    assert {Law.COUNTER} == laws(sanitizer)
    assert any(name in finding.what for finding in sanitizer.findings), sanitizer.findings


def test_a_page_on_two_lists_is_found(sanitizer: Sanitizer) -> None:
    """A page of a free block that also stands on a per-CPU list."""
    kernel = sanitizer.kernel
    pages, zone = kernel.pages, kernel.allocator.zones[-1]
    pfn = int(pages.buddy[: pages.nr_frames].argmax())
    with kernel.engine.guard.suspended():
        zone.pcps[0].push(pfn + 1, 0, 0)

    sanitizer.at_rest()

    assert {Law.TWO_LISTS, Law.COUNTER} >= laws(sanitizer)
    assert any(f"page {pfn + 1:#x} is on 2" in finding.what for finding in sanitizer.findings)


def test_a_page_that_nobody_can_reach_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that munmap forgets to free are named with who had them."""

    async def forget(*_: object) -> None:
        pass

    monkeypatch.setattr(mmu_gather, "_release_pages", forget)
    ran = checked([*PROGRAM, "munmap A"])

    findings = ran.machine.findings()
    assert {Law.LEAK} == {finding.law for finding in findings}
    assert "and 11 more pages" == findings[-1].what  # 16 pages and 3 page tables, 8 by name
    assert "was handed out by cpu0/p0 at t=" in findings[0].facts[0]


def test_the_first_finding_ends_the_run_if_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`panic`: what is found is raised, as an error of the engine, with all that is known."""

    async def forget(*_: object) -> None:
        pass

    monkeypatch.setattr(mmu_gather, "_release_pages", forget)

    with pytest.raises(SanitizerError, match="leak: nobody can reach page") as caught:
        checked([*PROGRAM, "munmap A"], panic=True)
    assert isinstance(caught.value, EngineError)
    assert Law.LEAK == caught.value.finding.law


def test_every_law_has_a_lesson() -> None:
    """Whatever is found, its message says what the kernel promises and where to look."""
    assert set(Law) == set(LESSONS)


def test_a_machine_without_sanitizers_has_nobody_to_tell() -> None:
    """All checkers are off unless a scenario asks for them."""
    assert drive(scenario_of(PROGRAM), until_ns=0).kernel.checks is None
    assert not SanitizeConfig().is_on
