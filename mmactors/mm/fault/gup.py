"""Getting pages of a program for somebody else: devices, debuggers (mm/gup.c, Linux 6.1).

`get_user_page` finds one page with mmap_lock held for reading, and faults it in if need be.
`gup_pte` finds one without any lock, with interrupts off, so that neither the tables nor the page
can go away under it before it has looked again. Both end with a reference: an ordinary one, or, for
who reads and writes the page's contents for long, a pin, which counts as many. Left out: huge
pages, long-term pins, pins for reading only, gates and special mappings.

Invariant: a page with at least GUP_PIN_COUNTING_BIAS references may be pinned.
"""

import errno
from collections.abc import Generator
from typing import Final

from mmactors.arch.page import PageColumns
from mmactors.arch.pte import DIRTY, PRESENT, RW, SPECIAL, pte_pfn
from mmactors.checks import Checks
from mmactors.label import Label, Mode, areas, page, pte
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import VM_MAYSHARE, VM_MAYWRITE, VM_SHARED, VM_WRITE
from mmactors.mm.area.vma import Vma
from mmactors.mm.fault.context import FaultContext
from mmactors.mm.fault.dirty import folio_mark_dirty
from mmactors.mm.fault.fault import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_TRIED,
    VM_FAULT_ERROR,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_WRITE,
    FaultRequest,
)
from mmactors.mm.fault.handle_mm_fault import handle_mm_fault
from mmactors.mm.fault.populate import check_vma_flags
from mmactors.mm.page_table.entry import is_present
from mmactors.mm.request import UNLOCK_PTES, LockPtes
from mmactors.mm.rmap.rmap import GUP_PIN_COUNTING_BIAS, PG_ANON_EXCLUSIVE, is_anon

FOLL_WRITE: Final = 0x01
FOLL_TOUCH: Final = 0x02
FOLL_GET: Final = 0x04
FOLL_FORCE: Final = 0x10
FOLL_PIN: Final = 0x4_0000

GupSteps = Generator[FaultRequest, int | None, tuple[int | None, int]]


def nr_refs(flags: int) -> int:
    """Return how many references of a page `flags` ask for."""
    if flags & FOLL_PIN:
        return GUP_PIN_COUNTING_BIAS
    return 1 if flags & FOLL_GET else 0


def get_user_page(
    context: FaultContext, mm: MmStruct, address: int, flags: int, *, keeps_foll_write: bool
) -> GupSteps:
    """Get the page at an address; end with its PFN and 0, or None and minus the errno.

    Without `keeps_foll_write` it is 4.8's: a private copy that a forced write fault made is not
    recognised as such; instead, the page is taken as for reading once the fault was served.
    """
    # Who writes for somebody else keeps the lock: it is given no way to tell that it let go.
    fault_flags = 0 if flags & FOLL_FORCE else FAULT_FLAG_ALLOW_RETRY
    vma = yield from _find_vma(mm, address)
    if vma is None:
        return None, -errno.EFAULT
    is_write = flags & FOLL_WRITE != 0
    error = check_vma_flags(vma, is_write=is_write, is_forced=flags & FOLL_FORCE != 0)
    if error:
        return None, error
    while True:
        pfn = yield from follow_page_pte(
            context, mm, vma, address, flags, forces_writes=keeps_foll_write
        )
        if pfn is not None:
            return pfn, 0
        is_write = flags & FOLL_WRITE != 0
        fault = yield from handle_mm_fault(
            context, mm, vma, address, is_write=is_write, flags=fault_flags
        )
        if fault & VM_FAULT_RETRY:
            # mmap_lock was let go of meanwhile.
            fault_flags |= FAULT_FLAG_TRIED
            vma = yield from _find_vma(mm, address)
            if vma is None:
                return None, -errno.EFAULT
            error = check_vma_flags(vma, is_write=is_write, is_forced=flags & FOLL_FORCE != 0)
            if error:
                return None, error
            continue
        if fault & VM_FAULT_ERROR:
            return None, -errno.ENOMEM if fault & VM_FAULT_OOM else -errno.EFAULT
        if fault & VM_FAULT_WRITE and not vma.vm_flags & VM_WRITE and not keeps_foll_write:
            flags &= ~FOLL_WRITE


def _find_vma(mm: MmStruct, address: int) -> Generator[FaultRequest, int | None, Vma | None]:
    if mm.page_table.wants_step():
        yield Label("find the area", ((areas(mm.ctx_id), Mode.READ),))
    vma = mm.tree.find_vma(address)
    return None if vma is None or vma.vm_start > address else vma


def follow_page_pte(
    context: FaultContext,
    mm: MmStruct,
    vma: Vma,
    address: int,
    flags: int,
    *,
    forces_writes: bool = True,
) -> Generator[FaultRequest, int | None, int | None]:
    """Find the page that is mapped, if it is and may be used as `flags` say.

    FOLL_GET and FOLL_PIN take references, FOLL_TOUCH counts as a use of the page. FOLL_FORCE is for
    what the program may not access; and, with `forces_writes`, for what it may not write.
    """
    table = mm.page_table
    if table.wants_step():
        yield from table.read_step(address)
    index = table.pte_offset(address)
    if index is None:
        return None
    yield LockPtes(index)
    seen = table.memory.view
    if table.wants_step():
        yield from _follow_step(mm, index)
    entry = seen[index]
    pfn = pte_pfn(entry)
    # By force also what is mapped for nobody (gup_can_follow_protnone), or no fault would help.
    is_found = is_present(entry) if flags & FOLL_FORCE else entry & PRESENT != 0
    if is_found and flags & FOLL_WRITE:
        is_forced = forces_writes and flags & FOLL_FORCE != 0
        is_found = can_follow_write_pte(context.pages, entry, vma, is_forced=is_forced)
    if is_found and not entry & SPECIAL:
        nr = nr_refs(flags)
        if nr:
            context.pages.refcount_view[pfn] += nr
            if context.checks is not None:
                context.checks.page_pinned(mm, address, pfn)
        if flags & FOLL_TOUCH:
            if flags & FOLL_WRITE and not entry & DIRTY:
                folio_mark_dirty(context, pfn)
            if context.lru is not None:
                context.lru.mark_accessed(pfn)
    yield UNLOCK_PTES
    return pfn if is_found else None


def _follow_step(mm: MmStruct, index: int) -> Generator[Label, int | None, None]:
    """Ask for the step in which an entry and its page are looked at."""
    words = mm.page_table.memory.words
    entry = int(words[index])
    while True:
        touches = ((pte(index), Mode.READ), (page(pte_pfn(entry)), Mode.WRITE))
        yield Label("follow pte", touches)
        seen, entry = entry, int(words[index])
        if seen == entry:
            return


def can_follow_write_pte(pages: PageColumns, entry: int, vma: Vma, *, is_forced: bool) -> bool:
    """Say whether the page of an entry may be written.

    By force also that of a read-only entry, if it is the private copy that the write fault made.
    """
    if entry & RW:
        return True
    if not is_forced or entry & SPECIAL:
        return False
    if vma.vm_flags & (VM_MAYSHARE | VM_SHARED | VM_MAYWRITE | VM_WRITE) != VM_MAYWRITE:
        return False
    pfn = pte_pfn(entry)
    return is_anon(pages, pfn) and pages.flags_view[pfn] & PG_ANON_EXCLUSIVE != 0


def gup_pte(
    pages: PageColumns, mm: MmStruct, address: int, checks: Checks | None = None
) -> Generator[Label, int | None, int | None]:
    """Pin the page at an address, writable, without a lock; end with its PFN, None: not this way.

    The caller has interrupts off (gup_pte_range).
    """
    table = mm.page_table
    wants_step = table.wants_step
    if wants_step():
        yield from table.read_step(address)
    index = table.pte_offset(address)
    if index is None:
        return None
    view = table.memory.view
    entry = view[index]
    if entry & (PRESENT | RW) != PRESENT | RW or entry & SPECIAL:
        return None
    pfn = pte_pfn(entry)
    if wants_step():
        yield Label("grab the page", ((page(pfn), Mode.WRITE),))
    if not pages.refcount_view[pfn]:
        return None
    pages.refcount_view[pfn] += GUP_PIN_COUNTING_BIAS
    if wants_step():
        yield Label("is it still mapped", ((pte(index), Mode.READ),))
    if view[index] == entry:
        if checks is not None:
            checks.page_pinned(mm, address, pfn)
        return pfn
    if wants_step():
        yield Label("let go of the page", ((page(pfn), Mode.WRITE),))
    pages.refcount_view[pfn] -= GUP_PIN_COUNTING_BIAS
    return None
