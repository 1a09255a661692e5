"""A page fault from the area to the entry (arch/x86/mm/fault.c and mm/memory.c, Linux 6.1).

`do_user_addr_fault` is a fault of a program: it finds the area, lets a stack grow, and decides on
signals; the kernel's own faults (mm/fault/populate.py) begin at `handle_mm_fault`. The requests are
those of mm/fault/fault.py, and `LockForWriting` and `Downgrade`, answered with None: mmap_lock is
held for reading when a fault begins, and a stack grows only with the lock held for writing.
"""

from collections.abc import Generator

from attrs import frozen

from mmactors.arch.pte import ACCESSED, DIRTY, RW, pte_pfn
from mmactors.label import Label, Mode, areas, page, pte, rss
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.pgprot import access_error
from mmactors.mm.area.pkeys import arch_vma_access_permitted
from mmactors.mm.area.stack import expand_stack
from mmactors.mm.area.vm_flags import VM_GROWSDOWN, VM_WRITE
from mmactors.mm.area.vma import Vma
from mmactors.mm.area.vma_adjust import RmapRequest
from mmactors.mm.area.vmacache import find_vma
from mmactors.mm.fault.context import FaultContext
from mmactors.mm.fault.fault import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_TRIED,
    VM_FAULT_ERROR,
    VM_FAULT_MAJOR,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    FaultRequest,
    FaultSteps,
    do_anonymous_page,
)
from mmactors.mm.fault.file_fault import do_fault
from mmactors.mm.fault.siginfo import (
    BUS_ADRERR,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SEGV_PKUERR,
    SIGBUS,
    SIGKILL,
    SIGSEGV,
    FaultSignal,
)
from mmactors.mm.fault.swap_fault import do_swap_page
from mmactors.mm.fault.vm_fault import VmFault
from mmactors.mm.fault.wp_page import do_wp_page
from mmactors.mm.page_table.entry import is_none
from mmactors.mm.page_table.page_table import PMD_LEVEL
from mmactors.mm.page_table.swap_entry import is_swap_pte
from mmactors.mm.request import UNLOCK_PTES, LockPtes
from mmactors.mm.vmstat import PGFAULT, TASK_RSS_EVENTS_THRESH


@frozen(kw_only=True)
class LockForWriting:
    """Let mmap_lock go and take it for writing."""


@frozen(kw_only=True)
class Downgrade:
    """Go on with mmap_lock held for reading."""


UserFaultRequest = FaultRequest | LockForWriting | Downgrade | RmapRequest
UserFaultSteps = Generator[UserFaultRequest, int | None, tuple[FaultSignal | None, int]]


def do_user_addr_fault(
    context: FaultContext,
    mm: MmStruct,
    address: int,
    *,
    is_write: bool,
    is_protection: bool,
    is_fetch: bool = False,
    is_tried: bool = False,
) -> UserFaultSteps:
    """Serve a fault; end with the signal or None, and the VM_FAULT_ bits, 0 if none was handled.

    `is_protection`: the entry was present. `is_tried`: for the second time, after a page was read.
    """
    if mm.page_table.wants_step():
        is_noted = context.task.vmacache is not None
        yield Label("find the area", ((areas(mm.ctx_id), Mode.WRITE if is_noted else Mode.READ),))
    cache = context.task.vmacache
    vma = mm.tree.find_vma(address) if cache is None else find_vma(mm, cache, address)
    if vma is not None and vma.vm_start > address:
        vma = yield from _extend_vma(mm, address)
    if vma is None:
        return FaultSignal(number=SIGSEGV, code=SEGV_MAPERR, address=address), 0
    vm_flags = vma.vm_flags
    if access_error(vm_flags, is_write=is_write, is_protection=is_protection, is_fetch=is_fetch):
        is_permitted = arch_vma_access_permitted(vm_flags, is_fetch=is_fetch)
        code = SEGV_ACCERR if is_permitted else SEGV_PKUERR
        return FaultSignal(number=SIGSEGV, code=code, address=address), 0
    flags = FAULT_FLAG_ALLOW_RETRY | (FAULT_FLAG_TRIED if is_tried else 0)
    fault = yield from handle_mm_fault(context, mm, vma, address, is_write=is_write, flags=flags)
    if fault & VM_FAULT_RETRY:
        again = do_user_addr_fault(
            context,
            mm,
            address,
            is_write=is_write,
            is_protection=is_protection,
            is_fetch=is_fetch,
            is_tried=True,
        )
        return (yield from again)
    if fault & VM_FAULT_SIGBUS:
        return FaultSignal(number=SIGBUS, code=BUS_ADRERR, address=address), fault
    if fault & VM_FAULT_OOM:
        return FaultSignal(number=SIGKILL, code=0, address=address), fault
    return None, fault


def handle_mm_fault(
    context: FaultContext,
    mm: MmStruct,
    vma: Vma,
    address: int,
    *,
    is_write: bool,
    flags: int = FAULT_FLAG_ALLOW_RETRY,
) -> FaultSteps:
    """Make the entry for `address` in `vma`; end with VM_FAULT_ bits.

    With VM_FAULT_RETRY mmap_lock was let go of and taken again: `vma` may be gone.
    """
    task = context.task
    table = mm.page_table
    if task.rss.events > TASK_RSS_EVENTS_THRESH and mm is task.mm and table.wants_step():
        yield Label("sync rss", ((rss(mm.ctx_id), Mode.ADD),))
    begin_fault(context, mm)
    if table.wants_step():
        yield from table.read_step(address)
    index = table.pte_offset(address)
    entry = 0 if index is None else table.memory.view[index]
    if index is None or is_none(entry):
        if is_anonymous(vma):
            if index is None:
                index = yield from table.alloc(address)
                if index is None:
                    return VM_FAULT_OOM
            # A recorded program's pages are private copies from the first touch on.
            is_new = is_write or vma.vm_file is not None
            steps = do_anonymous_page(context, mm, vma, address, index, is_write=is_new)
        else:
            vmf = VmFault(table=table, address=address, pte=index, flags=flags)
            steps = _do_unmapped(context, mm, vma, vmf, is_write=is_write)
    elif is_swap_pte(entry):
        context.kind = "swap"
        steps = do_swap_page(mm, index)
    else:
        steps = _handle_present(context, mm, vma, address, index, entry, is_write=is_write)
    fault = yield from steps
    if fault & VM_FAULT_RETRY:
        return fault  # It counts when it is done.
    if fault & VM_FAULT_ERROR:
        return fault
    if fault & VM_FAULT_MAJOR or flags & FAULT_FLAG_TRIED:
        task.maj_flt += 1
    else:
        task.min_flt += 1
    return fault


def _do_unmapped(
    context: FaultContext,
    mm: MmStruct,
    vma: Vma,
    vmf: VmFault,
    *,
    is_write: bool,
) -> FaultSteps:
    """Add the upper tables; that of the entry comes when there is something to map."""
    if vmf.pte is None:
        vmf.pmd = yield from mm.page_table.alloc(vmf.address, PMD_LEVEL)
        if vmf.pmd is None:
            return VM_FAULT_OOM
    return (yield from do_fault(context, mm, vma, vmf, is_write=is_write))


def begin_fault(context: FaultContext, mm: MmStruct) -> None:
    """Count a fault that is going to be handled."""
    context.count_event(PGFAULT)
    task = context.task
    if mm is task.mm:
        task.rss.check_sync_rss_stat(mm)


def is_anonymous(vma: Vma) -> bool:
    """Say whether new pages of an area are zeros; a recorded program's image counts as such."""
    return vma.special is None and not isinstance(vma.vm_file, MappedFile)


def find_untouched(mm: MmStruct, address: int) -> tuple[Vma, int] | None:
    """Return the area of `address` and its word index, if a write there just needs a new page.

    None: ask `do_user_addr_fault`. This is what nearly all faults of a program are, and here they
    are told apart before anything is asked for.
    """
    vma = mm.tree.find_vma(address)
    if (
        vma is None
        or vma.vm_start > address
        or vma.anon_vma is None
        or not vma.vm_flags & VM_WRITE
        or not is_anonymous(vma)
    ):
        return None
    index = mm.page_table.pte_offset(address)
    if index is None or mm.page_table.memory.view[index]:
        return None
    return vma, index


def _handle_present(
    context: FaultContext,
    mm: MmStruct,
    vma: Vma,
    address: int,
    index: int,
    entry: int,
    *,
    is_write: bool,
) -> FaultSteps:
    """Serve a fault on an entry that was there: a write to a read-only one, or a spurious fault."""
    view = mm.page_table.memory.view
    context.pfn = pte_pfn(entry)
    yield LockPtes(index)
    if mm.page_table.wants_step():
        touches = ((pte(index), Mode.WRITE), (page(pte_pfn(entry)), Mode.WRITE))
        yield Label("look again", touches)
    if view[index] != entry:
        yield UNLOCK_PTES
        return 0
    if is_write and not entry & RW:
        return (yield from do_wp_page(context, mm, vma, address, index))
    young = entry | ACCESSED | (DIRTY if is_write else 0)
    if young != entry:
        view[index] = young
    yield UNLOCK_PTES
    return 0


def _extend_vma(mm: MmStruct, address: int) -> Generator[UserFaultRequest, int | None, Vma | None]:
    """Let the area above grow down to `address` (lock_mm_and_find_vma); None: it cannot."""
    vma = mm.tree.find_vma(address)
    if vma is None or not vma.vm_flags & VM_GROWSDOWN:
        return None
    # Growing changes the tree of areas; others that read it rely on it as they hold mmap_lock.
    locks = mm.rules.expand_stack_locks_for_writing
    if locks:
        yield LockForWriting()
    if mm.page_table.wants_step():
        yield Label("expand the stack", ((areas(mm.ctx_id), Mode.WRITE),))
    vma = mm.tree.find_vma(address)
    if vma is not None and vma.vm_start > address and (yield from expand_stack(mm, vma, address)):
        vma = None
    if locks:
        yield Downgrade()
    return vma
