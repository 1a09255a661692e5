"""What happens to objects of the kernel's caches, and what the kernel prints (6.1)."""

from typing import ClassVar

from attrs import define


@define(kw_only=True)
class KmemCacheAlloc:
    """An object of a cache was handed out, or could not be (mm/slab_common.c)."""

    name: ClassVar[str] = "kmem_cache_alloc"
    subsystem: ClassVar[str] = "kmem"

    call_site: str
    """The function that asks; of a module: its program and the operation, such as `p0.kmalloc`."""
    ptr: int
    """The object, in the direct map; 0: there was no memory."""
    bytes_req: int
    bytes_alloc: int
    gfp_flags: int
    node: int
    """-1: any."""
    accounted: bool
    """To a memory cgroup."""


@define(kw_only=True)
class Kmalloc:
    """Bytes were handed out, or could not be (mm/slab_common.c)."""

    name: ClassVar[str] = "kmalloc"
    subsystem: ClassVar[str] = "kmem"

    call_site: str
    """As of kmem_cache_alloc, as the rest."""
    ptr: int
    bytes_req: int
    bytes_alloc: int
    gfp_flags: int
    node: int
    accounted: bool


@define(kw_only=True)
class KmemCacheFree:
    """An object of a cache was freed (mm/slub.c)."""

    name: ClassVar[str] = "kmem_cache_free"
    subsystem: ClassVar[str] = "kmem"

    call_site: str
    """As of kmem_cache_alloc."""
    ptr: int
    name_: str
    """Of the cache."""


@define(kw_only=True)
class Kfree:
    """Bytes are freed (mm/slab_common.c)."""

    name: ClassVar[str] = "kfree"
    subsystem: ClassVar[str] = "kmem"

    call_site: str
    """As of kmem_cache_alloc."""
    ptr: int
    """0: nothing is freed."""


@define(kw_only=True)
class Console:
    """The kernel printed a line (kernel/printk/printk.c)."""

    name: ClassVar[str] = "console"
    subsystem: ClassVar[str] = "printk"

    msg: str
