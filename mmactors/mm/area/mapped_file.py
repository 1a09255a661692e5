"""What areas map besides anonymous memory: files, shared memory, pages of the kernel.

struct file, and the parts of struct inode and struct address_space that mappings ask for
(include/linux/fs.h), shared anonymous memory (mm/shmem.c, shmem_zero_setup), and special mappings
such as the vdso (mm/mmap.c, _install_special_mapping); Linux 6.1. Left out: everything that reads
or writes a file.

Two opens of one file are two MappedFiles with one Mapping: areas merge only within one of them,
pages are shared between both.
"""

from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.slab.kernel_caches import FILP
from mmactors.mm.slab.object_cache import ObjectAlloc, ObjectCaches, kmem_cache_alloc
from mmactors.mm.xarray import XArray
from mmactors.units import PAGE_SHIFT

if TYPE_CHECKING:
    from mmactors.mm.area.vma import Vma

FMODE_READ: Final = 1
FMODE_WRITE: Final = 2
ALLOC_FILE: Final = "__alloc_file"

RA_PAGES: Final = 32
"""Pages that are read at once: 128 KiB (VM_READAHEAD_PAGES)."""


@define
class FileRaState:
    """What an open file knows of how it is read (struct file_ra_state). Sizes are pages."""

    start: int = 0
    size: int = 0
    async_size: int = 0
    """So many pages before its end the window has its mark."""
    ra_pages: int = RA_PAGES
    """The largest window."""
    mmap_miss: int = 0
    """How many faults missed, less those that hit."""
    prev_pos: int = -1
    """Where the last read ended, in bytes."""
    is_random: bool = False
    """FMODE_RANDOM: only what is asked for is read (POSIX_FADV_RANDOM)."""

    def note_hits(self, nr_pages: int) -> None:
        """Note that faults found pages in the cache."""
        self.mmap_miss = max(0, self.mmap_miss - nr_pages)

    def key(self) -> tuple[int, ...]:
        """Return the state as numbers."""
        window = (self.start, self.size, self.async_size)
        return (*window, self.ra_pages, self.mmap_miss, self.prev_pos, self.is_random)


@define(eq=False, kw_only=True)
class Mapping:
    """The pages of one file (struct address_space), and what its inode says."""

    dev: tuple[int, int]
    """Major and minor number of the device."""
    inode: int
    size_bytes: int
    is_shmem: bool = False
    """Memory is all it has: its pages are shared memory, made when they are first touched."""
    thing: int = 0
    """Address of the object of its inode; 0: it is none of the machine's, or nobody has looked the
    file up."""
    dentry: int = 0
    """Address of the object of its name; 0 as well."""
    is_pseudo: bool = False
    """Nobody could ever look its name up (DCACHE_NORCU)."""
    is_unlinked: bool = False
    """It had a name that was removed."""
    is_noreserve: bool = False
    """Shared memory that promises each page when it is made (VM_NORESERVE, as all files of a tmpfs
    are), not all of its size at once."""
    alloced: int = 0
    """Pages that were made and not given back yet (shmem_inode_info)."""
    nr_users: int = 0
    """Areas and open files of it."""
    pages: dict[int, int] = field(factory=dict)
    """The page cache: PFN by index."""
    i_pages: XArray = field(init=False, repr=False)
    """The nodes in which they lie."""
    i_mmap: "dict[Vma, None]" = field(factory=dict, repr=False)
    """The areas that map it; see mm/area/i_mmap.py."""

    def __attrs_post_init__(self) -> None:
        self.i_pages = XArray(self.pages)

    @property
    def nr_pages(self) -> int:
        """The size in pages, a started one included: beyond is SIGBUS."""
        return -(-self.size_bytes >> PAGE_SHIFT)

    @property
    def nr_accounted(self) -> int:
        """Pages of it that count towards Committed_AS."""
        if not self.is_shmem:
            return 0
        return self.alloced if self.is_noreserve else self.nr_pages


@define(eq=False, kw_only=True)
class MappedFile:
    """An open file (struct file), compared by identity."""

    mapping: Mapping
    path: str
    """As /proc/pid/maps shows it."""
    mode: int = FMODE_READ | FMODE_WRITE
    aligns_huge: bool = False
    """Its file system wants mappings to be aligned for huge pages (ext4: thp_get_unmapped_area)."""
    has_map_pages: bool = True
    """A read fault also maps pages around (vm_ops->map_pages)."""
    may_be_written: bool = True
    """The process owns the file or could open it for writing, whatever it opened it for."""
    wants_writenotify: bool = False
    """Its file system wants to know when a shared page is first written (page_mkwrite)."""
    f_ra: FileRaState = field(factory=FileRaState)
    f_count: int = 0
    """Areas that map it, and tables of open files that have it."""
    thing: int = 0
    """Address of the object; 0: it is none of the machine's."""

    def get(self) -> None:
        """Let there be one more user (get_file)."""
        self.f_count += 1
        self.mapping.nr_users += 1

    def put(self) -> bool:
        """Let there be one user less; say whether that was the last (fput)."""
        assert self.f_count > 0, f"{self.path} has no users"
        self.f_count -= 1
        self.mapping.nr_users -= 1
        return not self.f_count


@frozen(eq=False, kw_only=True)
class SpecialMapping:
    """Pages of the kernel that are mapped as a whole: [vvar] and [vdso]."""

    name: str
    pages: tuple[int, ...] = ()
    """Their frames; behind them is SIGBUS, as in the parts of [vvar] that only some guests have."""


def alloc_empty_file(caches: ObjectCaches) -> ObjectAlloc:
    """End with the address of an open file, 0: there is no memory (fs/file_table.c)."""
    return kmem_cache_alloc(caches, FILP, ALLOC_FILE, GFP_KERNEL | GFP_ZERO)


def file_free(caches: ObjectCaches, file: MappedFile) -> None:
    """Give an open file back that nobody uses, when those that read it under RCU have left."""
    if file.thing:
        caches.free_by_rcu(FILP, file.thing, "file_free_rcu")


def shmem_zero_file(length: int, *, is_noreserve: bool, thing: int = 0) -> MappedFile:
    """Return the file at `thing` behind `length` bytes of new shared anonymous memory.

    The device is that of the kernel's own tmpfs, and it has no name any more. Unless
    `is_noreserve`, the caller has promised all of it.
    """
    mapping = Mapping(
        dev=(0, 1), inode=0, size_bytes=length, is_shmem=True, is_noreserve=is_noreserve
    )
    return MappedFile(mapping=mapping, path="/dev/zero (deleted)", thing=thing)
