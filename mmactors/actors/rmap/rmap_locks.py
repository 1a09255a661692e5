"""The locks of rmap, as the mechanisms ask for them (mm/rmap.c, Linux 6.1).

The lock of an anon_vma is part of the object: its cache's constructor makes it, and whoever gets
the object from the cache finds the lock as the last user left it. i_mmap_rwsem is the inode's.

What a mechanism does between two requests is one step; `rmap_label` says what it touches: the
anon_vmas by number, or all of them where an object comes from the cache or goes there; the i_mmap
of a file by its inode; the areas of an address space.
"""

from collections.abc import Generator
from functools import partial
from typing import assert_never

from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.perform import perform
from mmactors.engine.lock.rwsem import RwSem
from mmactors.label import ANON_VMA, PAGE_CACHE, Label, Mode, anon_vma_tree, areas, i_mmap
from mmactors.mm.area.anon_vma import (
    AnonVma,
    AnonVmaCache,
    ChangeAnonVma,
    LockAnonVma,
    LockPageTables,
    SynchronizeAnonVma,
    UnlockAnonVma,
    UnlockPageTables,
)
from mmactors.mm.area.i_mmap import LockMapping, UnlockMapping
from mmactors.mm.area.vma_adjust import RmapRequest
from mmactors.mm.slab import kernel_caches
from mmactors.mm.slab.object_cache import AllocObject, FreeObject

Touches = tuple[tuple[str, Mode], ...]


def locked_anon_vma_cache(kernel: Kernel) -> AnonVmaCache:
    """Return the machine's cache of anon_vmas, each with its lock (anon_vma_init)."""

    def new_rwsem(number: int) -> RwSem:
        name = f"anon_vma->rwsem {number}"
        return RwSem(kernel.engine, kernel.anon_vma_class, name=name)

    return AnonVmaCache(caches=kernel.objects, new_rwsem=new_rwsem)


def lock_of(root: AnonVma) -> RwSem:
    """Return the lock of a tree of anon_vmas."""
    lock = root.rwsem
    assert isinstance(lock, RwSem), f"{root} comes from another machine"
    return lock


async def perform_rmap(
    kernel: Kernel, space: AddressSpace | None, steps: Generator[RmapRequest, int | None, None]
) -> None:
    """Drive a mechanism that makes no other requests to its end.

    What it does before its first request is still part of the caller's step. `space` is the one
    whose areas it changes, None: it changes none.
    """

    async def before(request: RmapRequest | None) -> None:
        if request is not None and kernel.engine.wants_step():
            await kernel.engine.step(rmap_label(kernel, space, request))

    await perform(steps, partial(answer_rmap, kernel, space), before=before)


async def answer_rmap(
    kernel: Kernel, space: AddressSpace | None, request: RmapRequest
) -> int | None:
    """Do what a mechanism asks for; return the answer."""
    match request:
        case AllocObject() | FreeObject():
            return await kernel.objects.answer(request)
        case LockAnonVma(root=root):
            await _down_write(lock_of(root))
        case UnlockAnonVma(root=root):
            await _up_write(lock_of(root))
        case LockMapping(mapping=mapping):
            await _down_write(kernel.file_system.inode_of(mapping).i_mmap_rwsem)
        case UnlockMapping(mapping=mapping):
            await _up_write(kernel.file_system.inode_of(mapping).i_mmap_rwsem)
        case SynchronizeAnonVma(root=root):
            lock = lock_of(root)
            if kernel.engine.wants_step():
                await kernel.engine.step(Label(f"look at {lock.name}", ((lock.name, Mode.READ),)))
            if lock.is_locked:
                await _down_write(lock)
                await _up_write(lock)
        case LockPageTables():
            assert space is not None, "only areas have page tables"
            if not space.page_table_lock.acquire_nowait():
                await space.page_table_lock.acquire()
        case UnlockPageTables():
            assert space is not None, "only areas have page tables"
            if not space.page_table_lock.release_nowait():
                await space.page_table_lock.release()
        case ChangeAnonVma():
            pass
        case _:
            assert_never(request)
    return None


def rmap_label(
    kernel: Kernel, space: AddressSpace | None, request: RmapRequest, also: Label | None = None
) -> Label:
    """Return what a mechanism touches after `request` was answered, and what `also` says."""
    write = Mode.WRITE
    own: Touches = () if space is None else ((areas(space.mm.ctx_id), write),)
    touches = own
    match request:
        case LockAnonVma(root=root, anon_vmas=anon_vmas):
            text = "change anon_vmas"
            touches += _touches((root, *anon_vmas))
        case LockPageTables(anon_vma=anon_vma):
            text = "change area"
            touches += _touches((anon_vma,))
        case ChangeAnonVma(what=text, anon_vmas=anon_vmas):
            touches = _touches(anon_vmas) if anon_vmas else ((ANON_VMA, write), *own)
        case SynchronizeAnonVma():
            text = "kmem_cache_free anon_vma"
            touches = ((ANON_VMA, write),)
        case LockMapping(mapping=mapping):
            text = "change i_mmap"
            assert space is not None, "only areas map files"
            inode = kernel.file_system.inode_of(mapping)
            touches += ((i_mmap(inode.number), write),)
        case AllocObject(cache=cache) | FreeObject(cache=cache):
            text = kernel_caches.KERNEL_CACHES[cache].name
            if cache in (kernel_caches.ANON_VMA, kernel_caches.ANON_VMA_CHAIN):
                touches = ((ANON_VMA, write), *own)
            elif cache == kernel_caches.RADIX_TREE_NODE:
                touches = ((PAGE_CACHE, write),)
        case UnlockAnonVma() | UnlockMapping() | UnlockPageTables():
            text = "go on"
            touches = () if also is None else own
        case _:
            assert_never(request)
    return Label(text, touches if also is None else touches + also.touches)


def _touches(anon_vmas: tuple[AnonVma, ...]) -> Touches:
    numbers = dict.fromkeys(anon_vma.number for anon_vma in anon_vmas)
    return tuple((anon_vma_tree(number), Mode.WRITE) for number in numbers)


async def _down_write(lock: RwSem) -> None:
    if not lock.acquire_write_nowait():
        await lock.acquire_write()


async def _up_write(lock: RwSem) -> None:
    if not lock.release_write_nowait():
        await lock.release_write()
