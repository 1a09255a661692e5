"""The page lock (include/linux/pagemap.h and mm/filemap.c, folio_lock, Linux 6.1).

A page's lock is made when the page is first locked. Left out: that all pages share a few hundred
wait queues.
"""

from mmactors.actors.kernel import Kernel
from mmactors.engine.lock import Mutex

PAGE_LOCK_CLASS = "PG_locked"


async def lock_page(kernel: Kernel, pfn: int) -> None:
    """Lock a page, of which the caller has a reference; sleep while others have it locked."""
    lock = _lock_of(kernel, pfn)
    if not lock.acquire_nowait():
        await lock.acquire()


async def trylock_page(kernel: Kernel, pfn: int) -> bool:
    """Lock a page if nobody has it locked; return whether it was."""
    return await _lock_of(kernel, pfn).trylock()


async def unlock_page(kernel: Kernel, pfn: int) -> None:
    """Unlock a page."""
    lock = _lock_of(kernel, pfn)
    if not lock.release_nowait():
        await lock.release()


def _lock_of(kernel: Kernel, pfn: int) -> Mutex:
    lock = kernel.page_locks.get(pfn)
    if lock is None:
        lock_class = kernel.locks.of(PAGE_LOCK_CLASS)
        lock = Mutex(kernel.engine, lock_class, name=f"page_lock[{pfn:#x}]")
        kernel.page_locks[pfn] = lock
    return lock
