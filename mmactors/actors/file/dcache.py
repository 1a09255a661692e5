"""Names and inodes as objects, made when a file is looked up (fs/dcache.c, fs/inode.c; Linux 6.1).

What was opened stays known when it is closed. The name of a file in memory is there as
long as the file; that of a file on disk, or of one that is not there, stays without a file. Objects
go when no reader can be in them any more, but for names that nobody could look up.

Left out: directories, shrinking what is not in use, names that are longer than a dentry has room
for, files of a running program (boot has made theirs).
"""

import errno
from typing import Final

from mmactors.actors.state.inode import STORE_ROOT, Inode
from mmactors.actors.state.kernel import Kernel
from mmactors.label import S_INODES, Label, Mode, dcache, i_count
from mmactors.mm.area.mapped_file import MappedFile, Mapping
from mmactors.mm.page_cache.shmem import FREE_DENTRY, FREE_SHMEM_INODE
from mmactors.mm.slab.alloc_site import D_ALLOC, EXT4_ALLOC_INODE, SHMEM_ALLOC_INODE
from mmactors.mm.slab.kernel_caches import DENTRY, EXT4_INODE_CACHE, SHMEM_INODE_CACHE

_FREE_EXT4_INODE: Final = "ext4_free_in_core_inode"


async def path_openat(
    kernel: Kernel, path: str, *, may_create: bool, mode: int
) -> MappedFile | int:
    """Open a file; return it, or minus the errno.

    ENOMEM: there is no memory for its name, or, on disk, its inode; ENOSPC: for its inode in
    memory; then those of FileSystem.open.
    """
    file_system = kernel.file_system
    await _turn(kernel, f"look {path} up", path, Mode.READ)
    found = file_system.look_up(path)
    if found is None or (found[1] is not None and found[1].thing):
        return _use(kernel, file_system.open(path, may_create=may_create, mode=mode))
    name, mapping = found
    if kernel.engine.is_exploring:
        kernel.engine.touch(dcache(file_system.directory_of(path)), Mode.WRITE)
    dentry = await _d_alloc(kernel, name)
    if not dentry:
        return -errno.ENOMEM
    if mapping is None and not may_create:
        await _turn(kernel, f"look {path} up", path, Mode.WRITE)
        result = _use(kernel, file_system.open(path, may_create=False, mode=mode))
        _dput(kernel, name, dentry)
        return result
    thing = await _alloc_inode(kernel, name)
    await _turn(kernel, f"make {path}", path, Mode.WRITE)
    if not thing:
        if mapping is None:
            _dput(kernel, name, dentry)
        else:
            kernel.objects.free_by_rcu(DENTRY, dentry, FREE_DENTRY)
        return -errno.ENOMEM if name.startswith(STORE_ROOT) else -errno.ENOSPC
    file = _use(kernel, file_system.open(path, may_create=may_create, mode=mode))
    if isinstance(file, int) or file.mapping.thing:
        # Others have removed the file meanwhile, or looked it up.
        _free_inode(kernel, thing, is_shmem=not name.startswith(STORE_ROOT))
        kernel.objects.free_by_rcu(DENTRY, dentry, FREE_DENTRY)
    else:
        known = file_system.negative.pop(name, 0)
        if known:
            # Others have looked the name up before the file was there (d_alloc_parallel).
            kernel.objects.free_by_rcu(DENTRY, dentry, FREE_DENTRY)
        file.mapping.thing, file.mapping.dentry = thing, known or dentry
    return file


async def do_unlinkat(kernel: Kernel, path: str) -> Inode | int:
    """Remove a name; return its inode, or minus the errno.

    ENOMEM: there is no memory for its name; then those of FileSystem.unlink.
    """
    file_system = kernel.file_system
    await _turn(kernel, f"unlink {path}", path, Mode.WRITE)
    found = file_system.look_up(path)
    if found is not None and found[1] is None:
        dentry = await _d_alloc(kernel, found[0])
        if not dentry:
            return -errno.ENOMEM
        await _turn(kernel, f"unlink {path}", path, Mode.WRITE)
        _dput(kernel, found[0], dentry)
    inode = file_system.unlink(path)
    if not isinstance(inode, int):
        kernel.engine.touch(i_count(inode.number), Mode.WRITE)
    if not isinstance(inode, int) and found is not None:
        mapping = inode.mapping
        if not mapping.is_shmem and not mapping.nr_users and mapping.dentry:
            # Nobody else has it: it stays as that of a name that is not there (d_delete).
            file_system.negative[found[0]] = mapping.dentry
            mapping.dentry = 0
    return inode


async def free_inode(kernel: Kernel, mapping: Mapping) -> None:
    """Give back what a file was that nobody can reach (evict, destroy_inode, dentry_free).

    Nodes without pages stay for ever, as in 6.1 (clear_inode, fs/inode.c).
    """
    thing, dentry = mapping.thing, mapping.dentry
    mapping.thing = mapping.dentry = 0
    if thing:
        nodes = mapping.i_pages.nodes
        kernel.file_system.left_behind += [node.thing for node in nodes if node.thing]
        _free_inode(kernel, thing, is_shmem=mapping.is_shmem)
    if dentry and mapping.is_pseudo:
        await kernel.objects.kmem_cache_free(DENTRY, dentry, FREE_DENTRY)
    elif dentry:
        kernel.objects.free_by_rcu(DENTRY, dentry, FREE_DENTRY)


async def _turn(kernel: Kernel, text: str, path: str, mode: Mode) -> None:
    """Take a step, in a search, on the names in the directory of a path."""
    engine = kernel.engine
    if engine.is_exploring:
        await engine.step(Label(text, ((dcache(kernel.file_system.directory_of(path)), mode),)))


def _use(kernel: Kernel, file: MappedFile | int) -> MappedFile | int:
    """Tell a search of the inode that an open file uses, which was perhaps made for it."""
    engine = kernel.engine
    if engine.is_exploring and not isinstance(file, int):
        inode = kernel.file_system.inode_of(file.mapping)
        engine.touch(i_count(inode.number), Mode.ADD)
        if not file.mapping.thing:
            engine.touch(S_INODES, Mode.WRITE)
    return file


async def _d_alloc(kernel: Kernel, name: str) -> int:
    """Return the dentry of a name that has no file in memory; 0: there is no memory for it."""
    dentry = kernel.file_system.negative.pop(name, 0)
    return dentry or await kernel.objects.kmem_cache_alloc(DENTRY, D_ALLOC)


def _dput(kernel: Kernel, name: str, dentry: int) -> None:
    """Let go of the dentry of a name without a file: on disk it stays (simple_lookup, d_add).

    Not if the name has got another one meanwhile, or a file, which has its own.
    """
    if kernel.file_system.keeps_negative(name):
        kernel.file_system.negative[name] = dentry
    else:
        kernel.objects.free_by_rcu(DENTRY, dentry, FREE_DENTRY)


async def _alloc_inode(kernel: Kernel, name: str) -> int:
    if name.startswith(STORE_ROOT):
        return await kernel.objects.kmem_cache_alloc(EXT4_INODE_CACHE, EXT4_ALLOC_INODE)
    return await kernel.objects.kmem_cache_alloc(SHMEM_INODE_CACHE, SHMEM_ALLOC_INODE)


def _free_inode(kernel: Kernel, thing: int, *, is_shmem: bool) -> None:
    if is_shmem:
        kernel.objects.free_by_rcu(SHMEM_INODE_CACHE, thing, FREE_SHMEM_INODE)
    else:
        kernel.objects.free_by_rcu(EXT4_INODE_CACHE, thing, _FREE_EXT4_INODE)
