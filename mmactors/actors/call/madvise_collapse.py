"""MADV_COLLAPSE as far as it can go without huge pages (mm/khugepaged.c, Linux 6.1)."""

import errno
from typing import Final

from mmactors.actors.alloc.lru_add_drain import lru_add_drain_all
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.engine.report import NotSimulated
from mmactors.errors import Place, Problem
from mmactors.label import PAGE_TABLES, PAGES, Label, Mode
from mmactors.mm.page_table.page_table import PTE_LEVEL
from mmactors.mm.syscall.madvise import CollapseHugePages
from mmactors.mm.syscall.madvise_collapse import (
    Scan,
    collapse_range,
    hpage_collapse_scan_pmd,
    hugepage_vma_check,
    is_shmem,
)

_SCAN: Final = Label("scan for a huge page", ((PAGE_TABLES, Mode.READ), (PAGES, Mode.READ)))


async def collapse_huge_pages(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, request: CollapseHugePages
) -> int:
    """Return 0 or minus the errno of 6.1 where no huge page results (madvise_collapse).

    EINVAL: the area or its tables are not fit; EAGAIN: somebody else uses a page. Raise
    NotSimulated where one would result.
    """
    vma = request.vma
    if not hugepage_vma_check(vma):
        return -errno.EINVAL
    await lru_add_drain_all(kernel, cpu)
    addresses = collapse_range(request.start, request.end)
    if isinstance(addresses, int):
        return addresses
    error = -errno.EINVAL
    for address in addresses:
        scan = Scan.SUCCEED if is_shmem(vma) else await _scan_pmd(kernel, space, address)
        if scan is Scan.SUCCEED:
            raise NotSimulated(str(_no_huge_page(address)))
        error = scan.error
        if scan.ends_call:
            break
    return error


async def _scan_pmd(kernel: Kernel, space: AddressSpace, address: int) -> Scan:
    await kernel.engine.step(_SCAN)
    level, index = space.mm.page_table.walk(address)
    if level != PTE_LEVEL:
        return hpage_collapse_scan_pmd(space.mm, kernel.pages, address)
    async with space.pte_lockptr(index):
        await kernel.engine.step(_SCAN)
        return hpage_collapse_scan_pmd(space.mm, kernel.pages, address)


def _no_huge_page(address: int) -> Problem:
    return Problem(
        place=Place("madvise COLLAPSE"),
        found=f"the 2 MiB at {address:#x} would become a huge page, which is not simulated yet",
        legal="expected a range that 6.1 refuses to make huge pages of",
        advice="leave the operation out, or write madvise RANGE NOHUGEPAGE before it",
    )
