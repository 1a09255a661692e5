"""What sanitizers say about kernels that were broken on purpose; README.md says how to renew it."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from machines import run, scenario_of

from mmactors.actors.call import madvise, mmap
from mmactors.actors.entries import mmu_gather, unmap
from mmactors.actors.entries.unmap import ZapDetails
from mmactors.actors.fault import fault
from mmactors.actors.file import truncate, writeback
from mmactors.actors.program import file_calls
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.entries.change_protection import Changed
from mmactors.mm.fault import fault as mm_fault
from mmactors.mm.fault import wp_page
from mmactors.mm.page_cache.page_cache import indices_from
from mmactors.mm.page_table.leaf_entries import LeafRange
from mmactors.mm.request import AllocPage
from mmactors.mm.vmstat import NR_FILE_MAPPED
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.finding import SanitizerError

FINDINGS = Path(__file__).parent / "findings"


async def forget(*_: object, **__: object) -> None:
    """Do nothing instead of what the right kernel does."""


def leave(*_: object) -> None:
    """Leave everything as it is instead of what the right kernel does."""


async def free_twice(*arguments: Any) -> None:
    """Give pages back, and again."""
    await _free_page_list(*arguments)
    await _free_page_list(*arguments)


def clear_entries(mm: MmStruct, _pages: object, leaves: LeafRange, **_options: object) -> Changed:
    """Clear the entries of a table, and tell nobody."""
    mm.page_table.clear(leaves)
    return Changed(nr_changed=0, first=None, end=0)


_free_page_list = mmu_gather.free_page_list


@frozen
class Case:
    """A broken kernel, and a program that shows it."""

    program: tuple[str, ...]
    broken: tuple[Any, ...]
    """The modules in which something is replaced."""
    name: str
    by: object
    only: str | None = None
    """Sanitizer that is on alone; None: all are."""


CASES = {
    "munmap-frees-without-flush": Case(
        (
            "thread T1 cpu=1",
            "mmap A 4K",
            "touch A write",
            "T1: touch A read",
            "munmap A",
            "mmap B 4K",
            "T1: touch B read",
        ),
        (mmu_gather,),
        "flush_tlb_mm_range",
        forget,
    ),
    "munmap-frees-a-table-without-flush": Case(
        (
            "thread T1 cpu=1",
            "mmap A 8K",
            "touch A write",
            "T1: touch A 0..1 read",
            "munmap A",
            "mmap B 8K",
            "T1: touch B 1..2 read",
        ),
        (mmu_gather,),
        "flush_tlb_mm_range",
        forget,
    ),
    "mprotect-returns-without-flush": Case(
        (
            "thread T1 cpu=1",
            "mmap A 4K",
            "T1: touch A write",
            "mprotect A prot=r",
            "T1: touch A read",
            "T1: touch A write",
        ),
        (mmu_gather,),
        "flush_tlb_mm_range",
        forget,
    ),
    "writeback-cleans-without-flush": Case(
        (
            "open f /mnt/data create",
            "ftruncate f 4K",
            "mmap A 4K flags=shared file=f",
            "touch A write",
            "fsync f",
            "touch A write",
            "munmap A",
            "fadvise f 0 4K DONTNEED",
            "read f 0 4K bs=4K",
            "close f",
        ),
        (writeback,),
        "flush_tlb_page",
        forget,
        only="contents",
    ),
    "a-hole-takes-private-copies": Case(
        (
            "open f /tmp/data create",
            "ftruncate f 8K",
            "mmap P 8K flags=private file=f",
            "mmap S 8K flags=shared file=f",
            "touch P write",
            "madvise S 0..1 REMOVE",
        ),
        (truncate,),
        "ZapDetails",
        lambda *, even_cows: ZapDetails(even_cows=True),
    ),
    "making-pages-old-forgets-them": Case(
        ("mmap A 8K", "touch A 1..2 write", "madvise A COLD"),
        (madvise,),
        "madvise_cold_pte_range",
        clear_entries,
        only="contents",
    ),
    "fsync-leaves-the-last-page": Case(
        (
            "open f /mnt/data create",
            "ftruncate f 8K",
            "mmap A 8K flags=shared file=f",
            "touch A write",
            "fsync f",
        ),
        (writeback,),
        "indices_from",
        lambda mapping, first, end: indices_from(mapping, first, end)[:-1],
        only="contents",
    ),
    "fsync-leaves-entries-writable": Case(
        (
            "open f /mnt/data create",
            "ftruncate f 4K",
            "mmap A 4K flags=shared file=f",
            "touch A write",
            "fsync f",
            "touch A write",
            "msync A",
        ),
        (writeback,),
        "page_mkclean",
        forget,
        only="contents",
    ),
    "a-write-leaves-the-page-clean": Case(
        ("open f /mnt/data create", "write f 0 4K bs=4K", "fsync f"),
        (file_calls,),
        "folio_mark_dirty",
        leave,
        only="contents",
    ),
    "msync-writes-nothing": Case(
        (
            "open f /mnt/data create",
            "ftruncate f 8K",
            "mmap A 8K flags=shared file=f",
            "touch A write",
            "msync A 0..1 flags=async",
            "msync A 0..1",
        ),
        (mmap,),
        "vfs_fsync_range",
        forget,
        only="contents",
    ),
    "a-child-writes-without-a-copy": Case(
        (
            "mmap A 4K",
            "touch A write",
            "fork C",
            "C: touch A write",
            "touch A read",
            "C: exit",
            "reap",
        ),
        (wp_page,),
        "_is_reusable",
        lambda *_: True,
    ),
    "a-page-is-not-cleared": Case(
        (
            "mmap K 4K",
            "touch K write",
            "mmap A 4K",
            "touch A write",
            "munmap A",
            "mmap B 64K",
            "touch B write",
        ),
        (fault, mm_fault),  # Both ways through a fault.
        "ALLOC_ZEROED",
        AllocPage(),
    ),
    "pages-are-freed-twice": Case(
        ("mmap A 4K", "touch A write", "munmap A"), (mmu_gather,), "free_page_list", free_twice
    ),
    "pages-are-not-freed": Case(
        ("mmap A 4K", "touch A write", "munmap A"), (mmu_gather,), "_release_pages", forget
    ),
    "unmapping-counts-another-item": Case(
        ("mmap A 4K", "touch A write", "munmap A"), (unmap,), "NR_ANON_MAPPED", NR_FILE_MAPPED
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_found_is_explained(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first finding, as a user reads it."""
    case = CASES[name]

    def break_it() -> None:
        for module in case.broken:
            monkeypatch.setattr(module, case.name, case.by)

    found = first_finding(case, break_it)

    path = FINDINGS / f"{name}.txt"
    if os.environ.get("MMACTORS_RENEW_GOLDEN") == "1":
        path.write_text(found)
    assert path.read_text() == found


@pytest.mark.parametrize("name", CASES)
def test_the_right_kernel_is_not_blamed(name: str) -> None:
    """The same program, nothing replaced."""
    assert "" == first_finding(CASES[name], lambda: None)


def first_finding(case: Case, break_kernel: Callable[[], None]) -> str:
    """Return what the first finding says; empty if there is none."""
    config = SanitizeConfig.everything(panic=True)
    if case.only is not None:
        config = evolve(SanitizeConfig(panic=True), **{case.only: True})
    scenario = evolve(scenario_of(list(case.program), cpus=2), sanitize=config)
    break_kernel()
    try:
        run(scenario)
    except SanitizerError as error:
        return re.sub(r"t=\d+ ns", "t=... ns", f"{error}\n")  # what things cost may change
    return ""
