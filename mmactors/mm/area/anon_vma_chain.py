"""Linking areas to anon_vmas, and unlinking them (mm/rmap.c and mm/mmap.c, Linux 6.1).

Generators: they ask for locks with the requests of mm/area/anon_vma.py, each answered with None,
and for objects. Those that may find no memory end with 0 or -ENOMEM, and then have nothing left.
The caller holds mmap_lock, for reading if nothing but `anon_vma_prepare` is called.

Two rules are bugs when they are off: that of counting children and areas apart
(`anon_vma_clone`), and that of locking new anon_vmas (`anon_vma_prepare`).
"""

import errno
from collections.abc import Generator

from mmactors.mm.area.anon_vma import (
    AnonVma,
    AnonVmaCache,
    AnonVmaChain,
    AnonVmaRequest,
    ChangeAnonVma,
    LockAnonVma,
    LockPageTables,
    SynchronizeAnonVma,
    UnlockAnonVma,
    UnlockPageTables,
)
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import VM_ACCESS_FLAGS
from mmactors.mm.area.vma import Vma, VmaTree
from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_NOWAIT, GFP_NOWARN
from mmactors.mm.slab.kernel_caches import ANON_VMA, ANON_VMA_CHAIN
from mmactors.mm.slab.object_cache import kmem_cache_alloc, kmem_cache_free

AnonVmaSteps = Generator[AnonVmaRequest, int | None, None]
AnonVmaAllocSteps = Generator[AnonVmaRequest, int | None, int]


def anon_vma_prepare(mm: MmStruct, vma: Vma) -> AnonVmaAllocSteps:
    """Give `vma` an anon_vma before its first anonymous page: a neighbour's, or a new one.

    Also a new one is locked: a walk may have found the object by a page of its last user, and be
    about to walk its links (d9d332e0874f, v2.6.28).
    """
    return 0 if vma.anon_vma is not None else (yield from _anon_vma_prepare(mm, vma))


def _anon_vma_prepare(mm: MmStruct, vma: Vma) -> AnonVmaAllocSteps:
    cache, site = mm.anon_vma_cache, "__anon_vma_prepare"
    yield ChangeAnonVma(what="kmem_cache_alloc anon_vma")
    chain = yield from kmem_cache_alloc(cache.caches, ANON_VMA_CHAIN, site)
    if not chain:
        return -errno.ENOMEM
    anon_vma = find_mergeable_anon_vma(mm.tree, vma)
    allocated = None
    if anon_vma is None:
        anon_vma = allocated = yield from anon_vma_alloc(cache, site)
        if anon_vma is None:
            yield from kmem_cache_free(cache.caches, ANON_VMA_CHAIN, chain, site)
            return -errno.ENOMEM
        anon_vma.num_children += 1
    is_locked = allocated is None or mm.rules.anon_vma_prepare_locks_new
    root = anon_vma.root
    if is_locked:
        yield LockAnonVma(root=root)
    yield LockPageTables(anon_vma=anon_vma)
    if vma.anon_vma is None:
        vma.anon_vma = anon_vma
        anon_vma_chain_link(vma, anon_vma, chain)
        anon_vma.num_active_vmas += 1
        allocated, chain = None, 0
    yield UnlockPageTables()
    if is_locked:
        yield UnlockAnonVma(root=root)
    if allocated is not None:
        yield from put_anon_vma(allocated)
    if chain:
        yield from kmem_cache_free(cache.caches, ANON_VMA_CHAIN, chain, site)
    return 0


def find_mergeable_anon_vma(tree: VmaTree, vma: Vma) -> AnonVma | None:
    """Return the anon_vma of a neighbour that `vma` may share, None: of neither.

    Sharing it lets the two areas merge when mprotect makes them alike.
    """
    before, after = tree.neighbours(vma)
    anon_vma = None
    if after is not None:
        anon_vma = _reusable_anon_vma(after, low=vma, high=after)
    if anon_vma is None and before is not None:
        anon_vma = _reusable_anon_vma(before, low=before, high=vma)
    return anon_vma


def anon_vma_clone(vma: Vma, source: Vma) -> AnonVmaAllocSteps:
    """Link `vma` to all anon_vmas of `source`, the oldest first.

    If `vma` has none as its own and `source` has, take one over that no area uses any more and that
    has no more than one child: so the chain of a process that forks for ever does not grow. Root
    anon_vmas are never taken over: they are their own children, and have another.
    """
    chain = source.anon_vma_chain
    if not chain:
        return 0
    mm = source.vm_mm
    assert mm is not None, f"{source} is in no address space"
    root = chain[0].anon_vma.root
    is_locked = False
    for link in chain:
        # With the lock held nobody may wait for memory.
        thing = yield from _alloc_chain(link.anon_vma, GFP_NOWAIT | GFP_NOWARN)
        if not thing:
            if is_locked:
                yield UnlockAnonVma(root=root)
                is_locked = False
            thing = yield from _alloc_chain(link.anon_vma, GFP_KERNEL)
            if not thing:
                # It counts no area so far.
                vma.anon_vma = None
                yield from unlink_anon_vmas(vma)
                return -errno.ENOMEM
        if not is_locked:
            yield LockAnonVma(root=root, anon_vmas=tuple(each.anon_vma for each in chain))
            is_locked = True
        anon_vma = link.anon_vma
        assert anon_vma.root is root, f"{source} is linked to two trees"
        anon_vma_chain_link(vma, anon_vma, thing)
        if vma.anon_vma is None and source.anon_vma is not None:
            # Before v6.1 one count held both, and whoever had a child was taken to have no area
            # (2555283eb40d): a leaf that a later fork had passed over has an area and no child.
            if mm.rules.anon_vma_counts_areas_apart:
                is_unused = anon_vma.num_children < 2 and not anon_vma.num_active_vmas
            else:
                degree = anon_vma.num_children + anon_vma.num_active_vmas
                is_unused = anon_vma is not source.anon_vma and degree < 2
            if is_unused:
                vma.anon_vma = anon_vma
    if vma.anon_vma is not None:
        vma.anon_vma.num_active_vmas += 1
    yield UnlockAnonVma(root=root)
    return 0


def _alloc_chain(anon_vma: AnonVma, gfp: int) -> Generator[AnonVmaRequest, int | None, int]:
    caches = anon_vma.cache.caches
    return (yield from kmem_cache_alloc(caches, ANON_VMA_CHAIN, "anon_vma_clone", gfp))


def anon_vma_fork(vma: Vma, parent: Vma, cache: AnonVmaCache) -> AnonVmaAllocSteps:
    """Link a child's area, a copy of the parent's, to the same anon_vmas, and to one of its own."""
    if parent.anon_vma is None:
        return 0
    error = yield from anon_vma_clone(vma, parent)
    if error or vma.anon_vma is not None:
        return error
    site = "anon_vma_fork"
    yield ChangeAnonVma(what="kmem_cache_alloc anon_vma")
    anon_vma = yield from anon_vma_alloc(cache, site)
    if anon_vma is None:
        yield from unlink_anon_vmas(vma)
        return -errno.ENOMEM
    anon_vma.num_active_vmas += 1
    chain = yield from kmem_cache_alloc(cache.caches, ANON_VMA_CHAIN, site)
    if not chain:
        yield from put_anon_vma(anon_vma)
        yield from unlink_anon_vmas(vma)
        return -errno.ENOMEM
    anon_vma.root = parent.anon_vma.root
    anon_vma.parent = parent.anon_vma
    # The root holds the lock, so it must not go before.
    anon_vma.root.refcount += 1
    vma.anon_vma = anon_vma
    yield LockAnonVma(root=anon_vma.root, anon_vmas=(anon_vma, anon_vma.parent))
    anon_vma_chain_link(vma, anon_vma, chain)
    anon_vma.parent.num_children += 1
    yield UnlockAnonVma(root=anon_vma.root)
    return 0


def unlink_anon_vmas(vma: Vma) -> AnonVmaSteps:
    """Take an area out of all its anon_vmas, and free those that have no other, the root last."""
    chain = vma.anon_vma_chain
    if not chain:
        assert vma.anon_vma is None, f"{vma} has an anon_vma to which it is not linked"
        return
    root = chain[0].anon_vma.root
    yield LockAnonVma(root=root, anon_vmas=tuple(link.anon_vma for link in chain))
    unused = []
    for link in reversed(chain):
        anon_vma = link.anon_vma
        assert anon_vma.root is root, f"{vma} is linked to two trees"
        anon_vma_must_not_be_walked(anon_vma)
        del anon_vma.rb_root[link]
        if anon_vma.rb_root:
            yield from _free_chain(link)
        else:
            anon_vma.parent.num_children -= 1
            unused.append(link)
    if vma.anon_vma is not None:
        vma.anon_vma.num_active_vmas -= 1
        vma.anon_vma = None
    chain.clear()
    yield UnlockAnonVma(root=root)
    for link in unused:
        yield from put_anon_vma(link.anon_vma)
        yield from _free_chain(link)


def _free_chain(link: AnonVmaChain) -> AnonVmaSteps:
    caches = link.anon_vma.cache.caches
    yield from kmem_cache_free(caches, ANON_VMA_CHAIN, link.thing, "unlink_anon_vmas")


def put_anon_vma(anon_vma: AnonVma) -> AnonVmaSteps:
    """Drop a reference; the last one frees it, and drops one of the root."""
    yield ChangeAnonVma(what="put_anon_vma", anon_vmas=(anon_vma,))
    anon_vma.refcount -= 1
    if not anon_vma.refcount:
        yield from free_anon_vma(anon_vma)


def free_anon_vma(anon_vma: AnonVma) -> AnonVmaSteps:
    """Free an anon_vma to which nobody refers, and drop its reference of the root."""
    root = anon_vma.root
    yield from _free_one(anon_vma)
    if root is not anon_vma:
        yield ChangeAnonVma(what="put_anon_vma", anon_vmas=(root,))
        root.refcount -= 1
        if not root.refcount:
            yield from _free_one(root)


def anon_vma_alloc(
    cache: AnonVmaCache, site: str
) -> Generator[AnonVmaRequest, int | None, AnonVma | None]:
    """End with a new anon_vma that is a root so far, None: there is no memory.

    Its lock and its links are its last user's.
    """
    thing = yield from kmem_cache_alloc(cache.caches, ANON_VMA, site)
    if not thing:
        return None
    anon_vma = cache.at(thing)
    anon_vma.is_live = True
    anon_vma.refcount = 1
    anon_vma.num_children = 0
    anon_vma.num_active_vmas = 0
    anon_vma.parent = anon_vma
    anon_vma.root = anon_vma
    return anon_vma


def anon_vma_chain_link(vma: Vma, anon_vma: AnonVma, thing: int) -> None:
    """Link an area to an anon_vma with the object at `thing`; nobody may walk its links."""
    anon_vma_must_not_be_walked(anon_vma)
    link = AnonVmaChain(vma, anon_vma, thing)
    vma.anon_vma_chain.append(link)
    anon_vma.rb_root[link] = None


def anon_vma_must_not_be_walked(anon_vma: AnonVma) -> None:
    """Assert that changing the links confuses nobody."""
    assert not anon_vma.nr_walkers, (
        f"the interval tree of anon_vma[{anon_vma.number}] is changed while an rmap walk is in it"
    )


def _free_one(anon_vma: AnonVma) -> AnonVmaSteps:
    # Who got the lock before the count fell may be in there still.
    yield SynchronizeAnonVma(root=anon_vma.root, anon_vma=anon_vma)
    assert not anon_vma.rb_root, f"{anon_vma} has areas"
    assert anon_vma.is_live, f"anon_vma[{anon_vma.number}] is freed twice"
    anon_vma.is_live = False
    yield from kmem_cache_free(anon_vma.cache.caches, ANON_VMA, anon_vma.thing, "__put_anon_vma")


def _reusable_anon_vma(old: Vma, *, low: Vma, high: Vma) -> AnonVma | None:
    compatible = (
        low.vm_end == high.vm_start
        and low.vm_file is high.vm_file
        and not (low.vm_flags ^ high.vm_flags) & ~VM_ACCESS_FLAGS
        and high.vm_pgoff == low.vm_pgoff + low.nr_pages
    )
    return old.anon_vma if compatible and len(old.anon_vma_chain) == 1 else None
