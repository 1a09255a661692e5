"""Mapping memory and files (mm/mmap.c, Linux 6.1).

What needs something halfway is a generator: it yields requests and ends with the system call's
result, an address, 0, or minus the errno. The caller holds mmap_lock for writing and answers

- `AreaSearched` with None; it is a fact, the tracepoint vm_unmapped_area;
- `UnmapRegion` and `EvictMapping` with None, see mm/syscall/munmap.py;
- the requests of mm/area/vma_adjust.py with None;
- `Populate` with 0, after it let go of mmap_lock; see mm/fault/populate.py.

Left out: huge pages (there are none to map), sealed and append-only files, file
systems mounted noexec, 32-bit programs.
"""

import errno
from collections.abc import Generator
from typing import Final

from mmactors.mm.area.anon_vma_chain import unlink_anon_vmas
from mmactors.mm.area.i_mmap import link_file_vma, mapping_of
from mmactors.mm.area.mapped_file import FMODE_READ, FMODE_WRITE, MappedFile
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.overcommit import OVERCOMMIT_NEVER
from mmactors.mm.area.pkeys import ARCH_DEFAULT_PKEY, vm_pkey_flags
from mmactors.mm.area.vm_area import remove_vma, vm_area_alloc, vm_area_free
from mmactors.mm.area.vm_flags import (
    VM_ACCOUNT,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_LOCKED_CLEAR_MASK,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NORESERVE,
    VM_SHARED,
    VM_SPECIAL,
    VM_WRITE,
    page_align,
)
from mmactors.mm.area.vma import Vma, can_vma_merge_after, can_vma_merge_before
from mmactors.mm.area.vma_adjust import RmapRequest, lock_rmap, unlock_rmap
from mmactors.mm.area.vmacache import vmacache_invalidate
from mmactors.mm.fault.populate import Populate
from mmactors.mm.page_cache.shmem import shmem_zero_setup
from mmactors.mm.page_table.page_table import PMD_SIZE
from mmactors.mm.syscall.mman import (
    LEGACY_MAP_MASK,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_HUGETLB,
    MAP_LOCKED,
    MAP_NONBLOCK,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_TYPE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from mmactors.mm.syscall.munmap import MunmapRequest, do_munmap
from mmactors.mm.syscall.unmapped_area import AreaSearched, get_unmapped_area
from mmactors.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, ULONG_MAX

MmapRequest = AreaSearched | MunmapRequest | Populate
MmapSteps = Generator[MmapRequest, int | None, int]

_MAX_LFS_FILESIZE: Final = ULONG_MAX >> 1


def ksys_mmap(
    mm: MmStruct,
    *,
    address: int,
    length: int,
    prot: int,
    flags: int,
    file: MappedFile | None = None,
    offset: int = 0,
) -> MmapSteps:
    """Do the system call mmap; `file` is what the descriptor stands for, None if for nothing.

    EINVAL: `offset` is not page-aligned; EBADF: no file, and not MAP_ANONYMOUS; then the errors of
    `do_mmap`.
    """
    if offset % PAGE_SIZE:
        return -errno.EINVAL
    if flags & MAP_ANONYMOUS:
        file = None
        if flags & MAP_HUGETLB:
            length = (length + PMD_SIZE - 1) & -PMD_SIZE & ULONG_MAX
    elif file is None:
        return -errno.EBADF
    elif flags & MAP_HUGETLB:
        return -errno.EINVAL
    return (
        yield from do_mmap(
            mm,
            address=address,
            length=length,
            prot=prot,
            flags=flags,
            file=file,
            pgoff=offset >> PAGE_SHIFT,
        )
    )


def do_mmap(
    mm: MmStruct,
    *,
    address: int,
    length: int,
    prot: int,
    flags: int,
    file: MappedFile | None = None,
    pgoff: int = 0,
) -> MmapSteps:
    """Map memory or a file from page `pgoff` on; end with its address, or minus the errno.

    `address` is a hint, or the place if `flags` has MAP_FIXED or MAP_FIXED_NOREPLACE. Errors in
    the order in which 6.1 finds them: EINVAL no length; ENOMEM length overflows; EOVERFLOW offset
    does; ENOMEM too many areas; then those of `get_unmapped_area`; EEXIST; EPERM and EAGAIN of
    locking; those of `_file_vm_flags`, or EINVAL neither shared nor private; `mmap_region`'s.
    """
    if not length:
        return -errno.EINVAL
    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED
    if not flags & MAP_FIXED:
        address = _round_hint_to_min(mm, address)
    length = page_align(length)
    if not length:
        return -errno.ENOMEM
    if pgoff + (length >> PAGE_SHIFT) > ULONG_MAX:
        return -errno.EOVERFLOW
    if mm.map_count > mm.config.max_map_count:
        return -errno.ENOMEM
    address = yield from get_unmapped_area(
        mm, address=address, length=length, flags=flags, file=file, pgoff=pgoff
    )
    if address < 0:
        return address
    if flags & MAP_HUGETLB and address % PMD_SIZE and flags & MAP_FIXED:
        return -errno.EINVAL
    if flags & MAP_FIXED_NOREPLACE and mm.tree.in_range(address, address + length):
        return -errno.EEXIST
    pkey = mm.execute_only_pkey() if prot == PROT_EXEC else ARCH_DEFAULT_PKEY
    vm_flags = calc_vm_prot_bits(prot) | vm_pkey_flags(pkey) | calc_vm_flag_bits(flags)
    vm_flags |= mm.def_flags | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    if flags & MAP_LOCKED and not mm.can_do_mlock():
        return -errno.EPERM
    if mm.mlock_future_check(vm_flags, length):
        return -errno.EAGAIN
    if file is not None:
        kind = _file_vm_flags(file, vm_flags, prot=prot, flags=flags, length=length, pgoff=pgoff)
    else:
        kind = _anonymous_vm_flags(vm_flags, flags=flags)
        pgoff = 0 if kind >= 0 and kind & VM_SHARED else address >> PAGE_SHIFT
    if kind < 0:
        return kind
    vm_flags = kind
    if flags & MAP_NORESERVE and mm.overcommit.policy.memory != OVERCOMMIT_NEVER:
        vm_flags |= VM_NORESERVE
    result = yield from mmap_region(
        mm,
        address=address,
        length=length,
        vm_flags=vm_flags,
        pgoff=pgoff,
        file=file,
        is_hugetlb=flags & MAP_HUGETLB != 0,
    )
    is_populated = flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE
    if result >= 0 and (vm_flags & VM_LOCKED or is_populated):
        yield Populate(start=result, length=length)
    return result


def calc_vm_prot_bits(prot: int) -> int:
    """Return the area flags of a PROT_ value."""
    return prot & (PROT_READ | PROT_WRITE | PROT_EXEC)


def calc_vm_flag_bits(flags: int) -> int:
    """Return the area flags of a MAP_ value."""
    return (VM_GROWSDOWN if flags & MAP_GROWSDOWN else 0) | (VM_LOCKED if flags & MAP_LOCKED else 0)


def mmap_region(
    mm: MmStruct,
    *,
    address: int,
    length: int,
    vm_flags: int,
    pgoff: int,
    file: MappedFile | None = None,
    is_hugetlb: bool = False,
) -> MmapSteps:
    """Put a mapping at a place, over whatever is there, and merge it with neighbours.

    ENOMEM: RLIMIT_AS or RLIMIT_DATA; max_map_count, when it would split an area; no memory for an
    area; the promise of memory; that of shared memory, or no memory for its name or the open file.
    ENOSPC: none for its inode. What was there is gone in the last four cases. There are no huge
    pages: ENOMEM as well.
    """
    end = address + length
    nr_pages = length >> PAGE_SHIFT
    if not mm.may_expand_vm(vm_flags, nr_pages):
        nr_covered = sum(
            (min(end, vma.vm_end) - max(address, vma.vm_start)) >> PAGE_SHIFT
            for vma in mm.tree.in_range(address, end)
        )
        if not mm.may_expand_vm(vm_flags, nr_pages - nr_covered):
            return -errno.ENOMEM
    if (yield from do_munmap(mm, start=address, length=length)):
        return -errno.ENOMEM
    if is_hugetlb:
        return -errno.ENOMEM
    if is_accountable_mapping(vm_flags):
        if mm.vm_enough_memory(nr_pages):
            return -errno.ENOMEM
        vm_flags |= VM_ACCOUNT
    is_expanded = yield from _expand_neighbour(
        mm, address=address, end=end, vm_flags=vm_flags, pgoff=pgoff, file=file
    )
    if not is_expanded:
        thing = yield from vm_area_alloc(mm)
        if not thing:
            if vm_flags & VM_ACCOUNT:
                mm.overcommit.vm_acct_memory(-nr_pages)
            return -errno.ENOMEM
        vma = Vma(vm_start=address, vm_end=end, vm_flags=vm_flags, vm_pgoff=pgoff, thing=thing)
        if file is None and vm_flags & VM_SHARED:
            made = yield from shmem_zero_setup(
                mm, length, is_noreserve=vm_flags & VM_NORESERVE != 0
            )
            if isinstance(made, int):
                yield from vm_area_free(mm, vma)
                return made
            file = made
        if file is not None:
            vma.vm_file = file
            vma.name = file.path
            file.get()
        if vm_flags & VM_SPECIAL:
            vma.vm_flags &= VM_LOCKED_CLEAR_MASK
        mm.tree.insert(vma)
        yield from link_file_vma(vma)
    mm.vm_stat_account(vm_flags, nr_pages)
    if vm_flags & VM_LOCKED and not vm_flags & VM_SPECIAL:
        mm.locked_vm += nr_pages
    return address


def is_accountable_mapping(vm_flags: int) -> bool:
    """Say whether the pages count towards Committed_AS: private, writable, reserved."""
    return vm_flags & (VM_NORESERVE | VM_SHARED | VM_WRITE) == VM_WRITE


def _file_vm_flags(
    file: MappedFile, vm_flags: int, *, prot: int, flags: int, length: int, pgoff: int
) -> int:
    """Return the area flags of a file mapping, or minus the errno.

    EOVERFLOW: beyond the largest file; EOPNOTSUPP: MAP_SHARED_VALIDATE with a newer flag; EACCES:
    not opened for what is asked; EINVAL: neither shared nor private, or MAP_GROWSDOWN.
    """
    if pgoff > (_MAX_LFS_FILESIZE - length) >> PAGE_SHIFT:
        return -errno.EOVERFLOW
    kind = flags & MAP_TYPE
    if kind in (MAP_SHARED, MAP_SHARED_VALIDATE):
        if kind == MAP_SHARED_VALIDATE and flags & ~LEGACY_MAP_MASK:
            return -errno.EOPNOTSUPP
        if prot & PROT_WRITE and not file.mode & FMODE_WRITE:
            return -errno.EACCES
        vm_flags |= VM_SHARED | VM_MAYSHARE
        if not file.mode & FMODE_WRITE:
            vm_flags &= ~(VM_MAYWRITE | VM_SHARED)
    elif kind != MAP_PRIVATE:
        return -errno.EINVAL
    if not file.mode & FMODE_READ:
        return -errno.EACCES
    return -errno.EINVAL if vm_flags & VM_GROWSDOWN else vm_flags


def _anonymous_vm_flags(vm_flags: int, *, flags: int) -> int:
    kind = flags & MAP_TYPE
    if kind == MAP_PRIVATE:
        return vm_flags
    if kind != MAP_SHARED or vm_flags & VM_GROWSDOWN:
        return -errno.EINVAL
    return vm_flags | VM_SHARED | VM_MAYSHARE


def _round_hint_to_min(mm: MmStruct, hint: int) -> int:
    hint &= PAGE_MASK
    if hint and hint < mm.config.mmap_min_addr:
        return page_align(mm.config.mmap_min_addr)
    return hint


def _expand_neighbour(
    mm: MmStruct, *, address: int, end: int, vm_flags: int, pgoff: int, file: MappedFile | None
) -> Generator[RmapRequest, int | None, bool]:
    """Let the area before or after, or both as one, take in a new mapping if they can."""
    if vm_flags & VM_SPECIAL:
        return False
    before = mm.tree.find_prev(address)
    after = mm.tree.find_vma(end)
    expanded = removed = None
    merge_start, merge_end = address, end
    if (
        after is not None
        and after.vm_start == end
        and can_vma_merge_before(
            after,
            vm_flags=vm_flags,
            anon_vma=None,
            vm_file=file,
            vm_pgoff=pgoff + ((end - address) >> PAGE_SHIFT),
        )
    ):
        merge_end = after.vm_end
        expanded = after
    if (
        before is not None
        and before.vm_end == address
        and can_vma_merge_after(
            before,
            vm_flags=vm_flags,
            anon_vma=None if expanded is None else expanded.anon_vma,
            vm_file=file,
            vm_pgoff=pgoff,
        )
    ):
        merge_start = before.vm_start
        # `before` cannot lack an anon_vma that the other has: then they would not merge.
        removed = expanded
        expanded = before
    if expanded is None:
        return False
    yield from _vma_expand(mm, expanded, removed, start=merge_start, end=merge_end)
    return True


def _vma_expand(
    mm: MmStruct, vma: Vma, removed: Vma | None, *, start: int, end: int
) -> Generator[RmapRequest, int | None, None]:
    """Give `vma` wider limits, over the area `removed` if there is one (vma_expand)."""
    yield from lock_rmap(vma, vma.anon_vma)
    if removed is not None:
        mm.tree.remove(removed)
        vmacache_invalidate(mm)
        mapping = mapping_of(removed)
        if mapping is not None:
            del mapping.i_mmap[removed]
    vma.vm_pgoff -= (vma.vm_start - start) >> PAGE_SHIFT
    mm.tree.resize(vma, start=start, end=end)
    yield from unlock_rmap(vma, vma.anon_vma)
    if removed is not None:
        yield from unlink_anon_vmas(removed)
        yield from remove_vma(mm, removed)
