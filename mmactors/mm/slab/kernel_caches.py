"""The caches of what the kernel makes for processes and files (kernel/fork.c, mm/, fs/; Linux 6.1).

Names, sizes and flags are those of Debian's kernel for x86-64, in the order in which it makes them:
`system_caches` of the recordings linux-6.1/kernel/slub, which name what became an alias of another
by that; that of ext4, a module's, is as /sys/kernel/slab shows it. Left out: all caches of whose
objects the machine has none.
"""

from typing import Final

from mmactors.mm.slab.flags import (
    SLAB_ACCOUNT,
    SLAB_HWCACHE_ALIGN,
    SLAB_PANIC,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.slab_common import CacheRequest

_KERNEL: Final = SLAB_PANIC | SLAB_ACCOUNT
_ALIGNED: Final = _KERNEL | SLAB_HWCACHE_ALIGN
_INODE: Final = _KERNEL | SLAB_RECLAIM_ACCOUNT

KERNEL_CACHES: Final = (
    CacheRequest(name="vmap_area", object_size=64, flags=SLAB_PANIC),
    CacheRequest(name="mm_struct", object_size=1104, flags=_ALIGNED, useroffset=344, usersize=384),
    CacheRequest(
        name="radix_tree_node",
        object_size=576,
        flags=SLAB_PANIC | SLAB_RECLAIM_ACCOUNT,
        has_ctor=True,
    ),
    CacheRequest(name="pid", object_size=128, flags=_ALIGNED),
    CacheRequest(
        name="anon_vma", object_size=96, flags=_KERNEL | SLAB_TYPESAFE_BY_RCU, has_ctor=True
    ),
    CacheRequest(name="anon_vma_chain", object_size=64, flags=_KERNEL),
    CacheRequest(name="cred_jar", object_size=184, flags=_ALIGNED),
    CacheRequest(
        name="task_struct", object_size=6208, align=64, flags=_KERNEL, useroffset=5696, usersize=512
    ),
    CacheRequest(
        name="sighand_cache",
        object_size=2080,
        flags=_ALIGNED | SLAB_TYPESAFE_BY_RCU,
        has_ctor=True,
    ),
    CacheRequest(name="signal_cache", object_size=1152, flags=_ALIGNED),
    CacheRequest(name="files_cache", object_size=704, flags=_ALIGNED),
    CacheRequest(name="vm_area_struct", object_size=152, flags=_KERNEL),
    CacheRequest(name="dentry", object_size=192, flags=_INODE, useroffset=56, usersize=32),
    CacheRequest(name="inode_cache", object_size=632, flags=_INODE, has_ctor=True),
    CacheRequest(name="filp", object_size=256, flags=_ALIGNED),
    CacheRequest(name="shmem_inode_cache", object_size=776, flags=_KERNEL, has_ctor=True),
    CacheRequest(
        name="ext4_inode_cache",
        object_size=1184,
        flags=SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT,
        has_ctor=True,
        usersize=60,
    ),
)
"""All of them; the constants below are their places."""

(
    VMAP_AREA,
    MM_STRUCT,
    RADIX_TREE_NODE,
    PID,
    ANON_VMA,
    ANON_VMA_CHAIN,
    CRED_JAR,
    TASK_STRUCT,
    SIGHAND_CACHE,
    SIGNAL_CACHE,
    FILES_CACHE,
    VM_AREA_STRUCT,
    DENTRY,
    INODE_CACHE,
    FILP,
    SHMEM_INODE_CACHE,
    EXT4_INODE_CACHE,
) = range(len(KERNEL_CACHES))
FS_CACHE: Final = ANON_VMA_CHAIN
"""fs_cache (56 bytes, aligned) is an alias of it."""
