"""Faults on files and shared memory (mm/memory.c, do_fault; mm/filemap.c; mm/shmem.c; Linux 6.1).

A page of shared memory is made when it is first touched. Pages of other files come into the page
cache by `ReadPages`, with others that will be wanted (mm/page_cache/readahead.py); mmap_lock is let
go of meanwhile, and the fault begins anew. A page that is mapped by itself is locked meanwhile, so
that it stays in its file; who finds it locked waits with mmap_lock held, as 6.1 does only the
second time.
"""

from collections.abc import Generator
from typing import Final

from mmactors.arch.page import PG_READAHEAD, PG_SWAPBACKED, PG_UPTODATE
from mmactors.arch.pte import DIRTY, RW, SPECIAL, make_pte, pte_pfn
from mmactors.label import (
    FILE_RA,
    I_SIZE,
    PAGE_CACHE,
    Label,
    Mode,
    Touch,
    page,
    page_lock,
    pte,
    rss,
)
from mmactors.mm.area.anon_vma_chain import anon_vma_prepare
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MM_ANONPAGES, MmStruct
from mmactors.mm.area.page_prot import vma_page_prot
from mmactors.mm.area.vm_flags import VM_PFNMAP, VM_RAND_READ, VM_SHARED, VM_WRITE
from mmactors.mm.area.vma import Vma, linear_page_index
from mmactors.mm.fault.context import FaultContext
from mmactors.mm.fault.dirty import folio_mark_dirty
from mmactors.mm.fault.fault import (
    FAULT_FLAG_TRIED,
    READ_UNLOCKED,
    VM_FAULT_MAJOR,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    FaultRequest,
    FaultSteps,
    ReadPages,
    allows_retry_first,
    copy_page,
)
from mmactors.mm.fault.vm_fault import VmFault
from mmactors.mm.lru.folio_batch import is_lockable
from mmactors.mm.page_alloc.alloc_site import DO_COW_FAULT, SHMEM_ALLOC_FOLIO
from mmactors.mm.page_alloc.gfp import GFP_HIGHUSER_MOVABLE
from mmactors.mm.page_cache.page_cache import xas_create, xas_nomem
from mmactors.mm.page_cache.readahead import (
    page_cache_async_ra,
    sync_mmap_readahead,
    test_clear_readahead,
)
from mmactors.mm.page_cache.shmem import (
    shmem_inode_acct_block,
    shmem_inode_unacct_block,
    shmem_recalc_inode,
)
from mmactors.mm.page_table.entry import is_none
from mmactors.mm.page_table.page_table import PMD_MASK, PMD_SIZE
from mmactors.mm.request import (
    UNLOCK_PTES,
    AllocPage,
    FreePage,
    LockPage,
    LockPtes,
    UnlockPage,
)
from mmactors.mm.rmap.rmap import mm_counter, page_add_file_rmap, page_add_new_anon_rmap
from mmactors.mm.vmstat import NR_ANON_MAPPED, NR_FILE_MAPPED, NR_FILE_PAGES, NR_SHMEM, PGMAJFAULT
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_READ_AHEAD: Final = ((PAGE_CACHE, Mode.READ), (I_SIZE, Mode.READ), (FILE_RA, Mode.WRITE))
"""What deciding on read-ahead touches."""


def do_fault(
    context: FaultContext, mm: MmStruct, vma: Vma, vmf: VmFault, *, is_write: bool
) -> FaultSteps:
    """Map a page of what backs the area; a write to private memory maps a copy at once."""
    if is_write and not vma.vm_flags & VM_SHARED:
        fault = yield from _do_cow_fault(context, mm, vma, vmf)
    else:
        fault = yield from _do_read_or_shared_fault(context, mm, vma, vmf, is_write=is_write)
    yield from vmf.put_prealloc()
    return fault


def _do_read_or_shared_fault(
    context: FaultContext, mm: MmStruct, vma: Vma, vmf: VmFault, *, is_write: bool
) -> FaultSteps:
    if not is_write:
        around = yield from _do_fault_around(context, mm, vma, vmf)
        if around is not None:
            return around
    if not (yield from vmf.prealloc()):
        return VM_FAULT_OOM
    if vma.vm_flags & VM_PFNMAP:
        context.kind = "special"
        return (yield from _insert_pfn(mm, vma, vmf))
    pfn, fault = yield from _fault_page(context, mm, vma, vmf)
    if pfn is None:
        return fault
    entry = make_pte(pfn, vma_page_prot(vma))
    if is_write:
        entry |= DIRTY | (RW if vma.vm_flags & VM_WRITE else 0)
    index = yield from vmf.install()
    yield LockPtes(index)
    if mm.page_table.wants_step():
        touches = ((pte(index), Mode.WRITE), (page(pfn), Mode.WRITE), (rss(mm.ctx_id), Mode.ADD))
        yield Label("map a page of a file", touches)
    if is_none(mm.page_table.memory.view[index]):
        if is_write:
            folio_mark_dirty(context, pfn)
        _set_pte(context, mm, vma, index, pfn, entry)
        context.kind, context.pfn = "shared" if is_write else "file", pfn
    yield UNLOCK_PTES
    yield from _put_page(vma, pfn)
    return fault


def _do_cow_fault(context: FaultContext, mm: MmStruct, vma: Vma, vmf: VmFault) -> FaultSteps:
    if vma.anon_vma is None and (yield from anon_vma_prepare(mm, vma)):
        return VM_FAULT_OOM
    pfn = yield AllocPage(is_copy=True, site=DO_COW_FAULT)
    if pfn is None:
        return VM_FAULT_OOM
    original: int | None = None
    fault = VM_FAULT_OOM
    if (yield from vmf.prealloc()):
        original, fault = yield from _fault_page(context, mm, vma, vmf)
    if original is None:
        yield FreePage(pfn=pfn)
        return fault
    yield from copy_page(context, mm, original, pfn)
    view = mm.page_table.memory.view
    index = yield from vmf.install()
    yield LockPtes(index)
    if mm.page_table.wants_step():
        touches = ((pte(index), Mode.WRITE), (page(pfn), Mode.WRITE), (rss(mm.ctx_id), Mode.ADD))
        yield Label("map a copy of a file's page", touches)
    is_ours = is_none(view[index])
    if is_ours:
        page_add_new_anon_rmap(context.pages, pfn, vma, vmf.address)
        context.count_page(pfn, NR_ANON_MAPPED, 1)
        context.add_mm_counter_fast(mm, MM_ANONPAGES, 1)
        if context.lru is not None:
            context.lru.add_page(pfn, vma.vm_flags)
        flags = vma_page_prot(vma) | DIRTY | (RW if vma.vm_flags & VM_WRITE else 0)
        view[index] = make_pte(pfn, flags)
        context.kind, context.pfn = "cow", pfn
        if context.checks is not None:
            context.checks.page_made_private(mm, vmf.address, pfn)
    yield UNLOCK_PTES
    yield from _put_page(vma, original)
    if not is_ours:
        yield FreePage(pfn=pfn)
    return fault


def _insert_pfn(mm: MmStruct, vma: Vma, vmf: VmFault) -> FaultSteps:
    """Map a page of the kernel that nothing counts (vvar_fault, vmf_insert_pfn)."""
    special = vma.special
    assert special is not None, f"{vma} maps nothing of the kernel"
    nth = linear_page_index(vma, vmf.address)
    if nth >= len(special.pages):
        return VM_FAULT_SIGBUS
    # It adds a table by itself: what was got for later is given back.
    index = yield from mm.page_table.alloc(vmf.address)
    if index is None:
        return VM_FAULT_OOM
    yield LockPtes(index)
    if mm.page_table.wants_step():
        yield Label("map a page of the kernel", ((pte(index), Mode.WRITE),))
    if is_none(mm.page_table.memory.view[index]):
        entry = make_pte(special.pages[nth], vma_page_prot(vma) | SPECIAL)
        mm.page_table.memory.view[index] = entry
    yield UNLOCK_PTES
    return 0


def _do_fault_around(
    context: FaultContext, mm: MmStruct, vma: Vma, vmf: VmFault
) -> Generator[FaultRequest, int | None, int | None]:
    """Map the cached pages around an address, within its aligned window, area and table.

    End with 0 if the address itself is mapped now, with None if it is not, with VM_FAULT_OOM.
    """
    file = vma.vm_file
    if not isinstance(file, MappedFile) or not file.has_map_pages:
        return None
    page_address = vmf.address & -PAGE_SIZE
    start = max(page_address & -context.fault_around_bytes, vma.vm_start, page_address & PMD_MASK)
    end = min(start + context.fault_around_bytes, vma.vm_end, (start & PMD_MASK) + PMD_SIZE)
    count = (end - start) >> PAGE_SHIFT
    first = linear_page_index(vma, start)
    cached, nr_pages = file.mapping.pages, file.mapping.nr_pages
    offsets = range(min(count, max(0, nr_pages - first)))
    touches: list[Touch]
    if not (yield from vmf.prealloc()):
        return VM_FAULT_OOM
    if vmf.pte is None:
        if mm.page_table.wants_step():
            around = [cached[first + nth] for nth in offsets if first + nth in cached]
            touches = [(PAGE_CACHE, Mode.READ), (I_SIZE, Mode.READ)]
            for pfn in around:
                touches += [(page_lock(pfn), Mode.READ), (page(pfn), Mode.READ)]
            yield Label("look around", tuple(touches))
        found = (cached.get(first + nth) for nth in offsets)
        if not any(_is_mappable(context, pfn) for pfn in found):
            return None
    index = yield from vmf.install()
    first_word = index - ((page_address - start) >> PAGE_SHIFT)
    yield LockPtes(index)
    if mm.page_table.wants_step():
        touches = [(PAGE_CACHE, Mode.READ), (I_SIZE, Mode.READ)]
        touches += [(rss(mm.ctx_id), Mode.ADD), (pte(index), Mode.READ)]
        if not file.mapping.is_shmem:
            touches.append((FILE_RA, Mode.WRITE))
        for offset in offsets:
            if first + offset in cached:
                pfn = cached[first + offset]
                touches += [
                    (pte(first_word + offset), Mode.WRITE),
                    (page(pfn), Mode.WRITE),
                    (page_lock(pfn), Mode.READ),
                ]
        yield Label("map pages around", tuple(touches))
    view = mm.page_table.memory.view
    prot = vma_page_prot(vma)
    nr_hits = 0
    for offset in offsets:
        found_pfn = cached.get(first + offset)
        if found_pfn is None or not _is_mappable(context, found_pfn):
            continue
        nr_hits += 1
        if is_none(view[first_word + offset]):
            entry = make_pte(found_pfn, prot)
            _set_pte(context, mm, vma, first_word + offset, found_pfn, entry)
    file.f_ra.note_hits(nr_hits)
    is_mapped = not is_none(view[index])
    context.kind, context.pfn = "file", pte_pfn(view[index])
    yield UNLOCK_PTES
    return 0 if is_mapped else None


def _is_mappable(context: FaultContext, pfn: int | None) -> bool:
    """Say whether a page that is found may be mapped beside others (next_uptodate_page).

    Who has it locked may be taking it away; the use of one with a mark shall be noticed.
    """
    if pfn is None or context.is_page_locked(pfn):
        return False
    return context.pages.flags_view[pfn] & PG_READAHEAD == 0


def _set_pte(
    context: FaultContext, mm: MmStruct, vma: Vma, index: int, pfn: int, entry: int
) -> None:
    if page_add_file_rmap(context.pages, pfn):
        context.count_page(pfn, NR_FILE_MAPPED, 1)
    if context.lru is not None and is_lockable(vma.vm_flags):
        context.lru.mlock_page(pfn)
    context.add_mm_counter_fast(mm, mm_counter(context.pages, pfn), 1)
    mm.page_table.memory.view[index] = entry


def _put_page(vma: Vma, pfn: int) -> FaultSteps:
    """Let go of the lock and the reference that a fault has of a page."""
    if vma.special is None:
        yield UnlockPage(pfn=pfn)
    yield FreePage(pfn=pfn)
    return 0


def _fault_page(
    context: FaultContext, mm: MmStruct, vma: Vma, vmf: VmFault
) -> Generator[FaultRequest, int | None, tuple[int | None, int]]:
    """Find the page that backs an address; end with its PFN, or None, and the VM_FAULT_ bits.

    The page has a reference for the fault then, and is locked if it is a file's, so that it stays
    in the file. The caller lets go of both.
    """
    index = linear_page_index(vma, vmf.address)
    wants_step = mm.page_table.wants_step
    refcount = context.pages.refcount_view
    if vma.special is not None:
        if index >= len(vma.special.pages):
            return None, VM_FAULT_SIGBUS
        pfn = vma.special.pages[index]
        if wants_step():
            yield Label("get the page", ((page(pfn), Mode.WRITE),))
        refcount[pfn] += 1
        return pfn, 0
    file = vma.vm_file
    assert isinstance(file, MappedFile), f"{vma} maps no file"
    mapping = file.mapping
    fault = 0
    while True:
        found, added = yield from _find_page(context, mm, vma, file, index, vmf.flags)
        fault |= added
        if found is None:
            return None, fault
        if wants_step():
            touches = ((page(found), Mode.WRITE),)
            yield Label("get the page", touches + (() if mapping.is_shmem else _READ_AHEAD))
        if not refcount[found]:
            continue
        refcount[found] += 1
        if (
            not mapping.is_shmem
            and not added
            and (yield from _async_mmap_readahead(context, vma, file, index, found, vmf.flags))
        ):
            yield FreePage(pfn=found)
            return None, fault | VM_FAULT_RETRY
        yield LockPage(pfn=found)
        if wants_step():
            yield Label("is it still there", ((PAGE_CACHE, Mode.READ), (I_SIZE, Mode.READ)))
        is_beyond = index >= mapping.nr_pages
        if mapping.pages.get(index) == found and not is_beyond:
            return found, fault
        yield from _put_page(vma, found)
        if is_beyond:
            return None, VM_FAULT_SIGBUS


def _find_page(
    context: FaultContext, mm: MmStruct, vma: Vma, file: MappedFile, index: int, flags: int
) -> Generator[FaultRequest, int | None, tuple[int | None, int]]:
    """Look a page up, and bring it into the cache if it is not there; end as `_fault_page`."""
    mapping = file.mapping
    wants_step = mm.page_table.wants_step
    if wants_step():
        touches = ((PAGE_CACHE, Mode.READ), (I_SIZE, Mode.READ))
        yield Label("look into the page cache", touches if mapping.is_shmem else _READ_AHEAD)
    if index >= mapping.nr_pages:
        return None, VM_FAULT_SIGBUS
    pfn = mapping.pages.get(index)
    if pfn is not None:
        return pfn, 0
    if not mapping.is_shmem:
        return (yield from _sync_mmap_readahead(context, vma, file, index, flags))
    if not shmem_inode_acct_block(mm, mapping):
        return None, VM_FAULT_SIGBUS
    pfn = yield AllocPage(site=SHMEM_ALLOC_FOLIO)
    if pfn is None:
        shmem_inode_unacct_block(mm.overcommit, mapping)
        return None, VM_FAULT_OOM
    while True:
        if wants_step():
            touches = ((PAGE_CACHE, Mode.WRITE), (page(pfn), Mode.WRITE))
            yield Label("add to the page cache", touches)
        found = mapping.pages.get(index)
        if found is not None:
            error = 0
            break
        if xas_create(mm.caches, mapping, index):
            shmem_add_to_page_cache(context, file, index, pfn)
            mapping.alloced += 1
            shmem_recalc_inode(mm.overcommit, mapping)
            return pfn, 0
        if not (yield from xas_nomem(mm.caches, mapping, index, GFP_HIGHUSER_MOVABLE)):
            error = VM_FAULT_OOM
            break
    shmem_inode_unacct_block(mm.overcommit, mapping)
    yield FreePage(pfn=pfn)
    return found, error


def _sync_mmap_readahead(
    context: FaultContext, vma: Vma, file: MappedFile, index: int, flags: int
) -> Generator[FaultRequest, int | None, tuple[int | None, int]]:
    """Read a page that is not cached, and others around it or behind it; end as `_fault_page`."""
    pages = file.mapping.pages
    context.count_event(PGMAJFAULT)
    windows = sync_mmap_readahead(file.f_ra, pages, index, vma.vm_flags)
    is_read = yield ReadPages(
        file=file,
        index=index,
        windows=windows,
        size_bytes=file.mapping.size_bytes,
        drops_lock=allows_retry_first(flags),
    )
    if is_read == READ_UNLOCKED:
        return None, VM_FAULT_RETRY | VM_FAULT_MAJOR
    if is_read is None:
        return None, VM_FAULT_OOM
    return pages.get(index), VM_FAULT_MAJOR


def _async_mmap_readahead(
    context: FaultContext, vma: Vma, file: MappedFile, index: int, pfn: int, flags: int
) -> Generator[FaultRequest, int | None, bool]:
    """Read the next window if a page that was found has the mark.

    End with whether mmap_lock was let go of.
    """
    ra = file.f_ra
    if vma.vm_flags & VM_RAND_READ or flags & FAULT_FLAG_TRIED:
        return False
    ra.note_hits(1)
    if not test_clear_readahead(context.pages, pfn):
        return False
    windows = page_cache_async_ra(ra, file.mapping.pages, index, ra.ra_pages)
    is_read = yield ReadPages(
        file=file,
        index=index,
        windows=windows,
        size_bytes=file.mapping.size_bytes,
        drops_lock=allows_retry_first(flags),
    )
    return is_read == READ_UNLOCKED


def shmem_add_to_page_cache(context: FaultContext, file: MappedFile, index: int, pfn: int) -> None:
    """Make a new page, of which the caller has the one reference, shared memory.

    No node is missing for it.
    """
    pages = context.pages
    pages.flags_view[pfn] |= PG_SWAPBACKED | PG_UPTODATE
    pages.mapping_view[pfn] = 0
    pages.index_view[pfn] = index
    file.mapping.pages[index] = pfn
    file.mapping.i_pages.store(index)
    if context.checks is not None:
        context.checks.page_read(pfn, file.mapping, index)
    context.count_page(pfn, NR_FILE_PAGES, 1)
    context.count_page(pfn, NR_SHMEM, 1)
    if context.lru is not None:
        context.lru.add_page(pfn, 0)
