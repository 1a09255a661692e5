"""Linking areas to anon_vmas, and unlinking them (mm/rmap.c and mm/mmap.c, Linux 6.1).

Generators, without a result: they ask for locks with the requests of mm/area/anon_vma.py, each
answered with None. The caller holds mmap_lock, for reading if nothing but `anon_vma_prepare` is
called.

Two rules are bugs when they are off: that of counting children and areas apart
(`anon_vma_clone`), and that of locking new anon_vmas (`anon_vma_prepare`).
"""

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

AnonVmaSteps = Generator[AnonVmaRequest, int | None, None]


def anon_vma_prepare(mm: MmStruct, vma: Vma) -> AnonVmaSteps:
    """Give `vma` an anon_vma before its first anonymous page: a neighbour's, or a new one.

    Also a new one is locked: a walk may have found the object by a page of its last user, and be
    about to walk its links (d9d332e0874f, v2.6.28).
    """
    if vma.anon_vma is None:
        yield from _anon_vma_prepare(mm, vma)


def _anon_vma_prepare(mm: MmStruct, vma: Vma) -> AnonVmaSteps:
    yield ChangeAnonVma(what="kmem_cache_alloc anon_vma")
    anon_vma = find_mergeable_anon_vma(mm.tree, vma)
    allocated = None
    if anon_vma is None:
        anon_vma = allocated = anon_vma_alloc(mm.anon_vma_cache)
        anon_vma.num_children += 1
    is_locked = allocated is None or mm.rules.anon_vma_prepare_locks_new
    root = anon_vma.root
    if is_locked:
        yield LockAnonVma(root=root)
    yield LockPageTables(anon_vma=anon_vma)
    if vma.anon_vma is None:
        vma.anon_vma = anon_vma
        anon_vma_chain_link(vma, anon_vma)
        anon_vma.num_active_vmas += 1
        allocated = None
    yield UnlockPageTables()
    if is_locked:
        yield UnlockAnonVma(root=root)
    if allocated is not None:
        yield from put_anon_vma(allocated)


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


def anon_vma_clone(vma: Vma, source: Vma) -> AnonVmaSteps:
    """Link `vma` to all anon_vmas of `source`, the oldest first.

    If `vma` has none as its own and `source` has, take one over that no area uses any more and that
    has no more than one child: so the chain of a process that forks for ever does not grow. Root
    anon_vmas are never taken over: they are their own children, and have another.
    """
    chain = source.anon_vma_chain
    if not chain:
        return
    mm = source.vm_mm
    assert mm is not None, f"{source} is in no address space"
    root = chain[0].anon_vma.root
    yield LockAnonVma(root=root, anon_vmas=tuple(link.anon_vma for link in chain))
    for link in chain:
        anon_vma = link.anon_vma
        assert anon_vma.root is root, f"{source} is linked to two trees"
        anon_vma_chain_link(vma, anon_vma)
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


def anon_vma_fork(vma: Vma, parent: Vma, cache: AnonVmaCache) -> AnonVmaSteps:
    """Link a child's area, a copy of the parent's, to the same anon_vmas, and to one of its own."""
    if parent.anon_vma is None:
        return
    yield from anon_vma_clone(vma, parent)
    if vma.anon_vma is not None:
        return
    yield ChangeAnonVma(what="kmem_cache_alloc anon_vma")
    anon_vma = anon_vma_alloc(cache)
    anon_vma.num_active_vmas += 1
    anon_vma.root = parent.anon_vma.root
    anon_vma.parent = parent.anon_vma
    # The root holds the lock, so it must not go before.
    anon_vma.root.refcount += 1
    vma.anon_vma = anon_vma
    yield LockAnonVma(root=anon_vma.root, anon_vmas=(anon_vma, anon_vma.parent))
    anon_vma_chain_link(vma, anon_vma)
    anon_vma.parent.num_children += 1
    yield UnlockAnonVma(root=anon_vma.root)


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
        if not anon_vma.rb_root:
            anon_vma.parent.num_children -= 1
            unused.append(anon_vma)
    if vma.anon_vma is not None:
        vma.anon_vma.num_active_vmas -= 1
        vma.anon_vma = None
    chain.clear()
    yield UnlockAnonVma(root=root)
    for anon_vma in unused:
        yield from put_anon_vma(anon_vma)


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


def anon_vma_alloc(cache: AnonVmaCache) -> AnonVma:
    """Return a new anon_vma that is a root so far; its lock and its links are its last user's."""
    anon_vma = cache.alloc()
    anon_vma.cache = cache
    anon_vma.refcount = 1
    anon_vma.num_children = 0
    anon_vma.num_active_vmas = 0
    anon_vma.parent = anon_vma
    anon_vma.root = anon_vma
    return anon_vma


def anon_vma_chain_link(vma: Vma, anon_vma: AnonVma) -> None:
    """Link an area to an anon_vma; nobody may walk its links meanwhile."""
    anon_vma_must_not_be_walked(anon_vma)
    link = AnonVmaChain(vma, anon_vma)
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
    anon_vma.cache.free(anon_vma)


def _reusable_anon_vma(old: Vma, *, low: Vma, high: Vma) -> AnonVma | None:
    compatible = (
        low.vm_end == high.vm_start
        and low.vm_file is high.vm_file
        and not (low.vm_flags ^ high.vm_flags) & ~VM_ACCESS_FLAGS
        and high.vm_pgoff == low.vm_pgoff + low.nr_pages
    )
    return old.anon_vma if compatible and len(old.anon_vma_chain) == 1 else None
