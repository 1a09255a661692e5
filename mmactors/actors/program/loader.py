"""Loading a program whose address space is known (fs/exec.c, fs/binfmt_elf.c, Linux 6.1).

A program begins with segments: parts of its file, a heap, a stack, what the kernel adds to every
program ([vvar] and [vdso]), and, if it has been running already, shared memory. Their files lie in
memory (the initramfs) with all of their pages, as those of a program that was unpacked at boot.
Left out: the objects of these files, which boot has made.
"""

from typing import Final

from attrs import frozen

from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.page import PG_DIRTY
from mmactors.errors import Place, Problem, UserError
from mmactors.mm.area.mapped_file import ALLOC_FILE, MappedFile, SpecialMapping
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.task import Task
from mmactors.mm.area.vm_flags import (
    VM_ACCOUNT,
    VM_DATA_DEFAULT_FLAGS,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_IO,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
)
from mmactors.mm.area.vma import Vma
from mmactors.mm.fault.file_fault import shmem_add_to_page_cache
from mmactors.mm.page_alloc.gfp import GFP_HIGHUSER_MOVABLE, GFP_KERNEL, GFP_ZERO
from mmactors.mm.slab.kernel_caches import FILP, VM_AREA_STRUCT
from mmactors.mm.xarray import NO_NODE
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_MAY: Final = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
HEAP: Final = "[heap]"
STACK: Final = "[stack]"
VVAR: Final = "[vvar]"
VDSO: Final = "[vdso]"


@frozen(kw_only=True)
class Segment:
    """One area that a program begins with, as a line of /proc/PID/maps shows it."""

    start: int
    end: int
    is_readable: bool
    is_writable: bool
    is_executable: bool
    is_shared: bool
    offset: int
    """Bytes: where in its file it begins."""
    dev: tuple[int, int]
    inode: int
    name: str
    """Path of its file, or one of HEAP, STACK, VVAR, VDSO."""

    @property
    def vm_flags(self) -> int:
        """What the permissions say."""
        return (
            (VM_READ if self.is_readable else 0)
            | (VM_WRITE if self.is_writable else 0)
            | (VM_EXEC if self.is_executable else 0)
        )


@frozen(kw_only=True)
class ProgramImage:
    """The address space of a program when it begins."""

    segments: tuple[Segment, ...]
    """By address."""
    data_bytes: int
    """Its initialised data, which count against RLIMIT_DATA."""

    @property
    def program(self) -> tuple[Segment, ...]:
        """The segments of the program's own file: the last one is data."""
        return tuple(each for each in self.segments if each.name == self.segments[0].name)

    def named(self, name: str) -> Segment:
        """Return the segment of a name."""
        return next(each for each in self.segments if each.name == name)


def load_program(kernel: Kernel, space: AddressSpace, image: ProgramImage) -> None:
    """Give an empty address space the areas of a program; raise UserError without memory for it."""
    mm = space.mm
    heap, stack = image.named(HEAP), image.named(STACK)
    mm.start_brk = mm.brk = heap.end
    mm.start_data = image.program[-1].start
    mm.end_data = mm.start_data + image.data_bytes
    mm.start_stack = stack.end - PAGE_SIZE
    mm.mmap_base = max(each.end for each in image.segments if each.end < stack.start)
    files: dict[str, MappedFile] = {}
    for segment in image.segments:
        vma = _area(kernel, segment, files)
        mm.insert_vm_struct(vma)
        if vma.vm_flags & VM_ACCOUNT:
            mm.overcommit.vm_acct_memory(vma.nr_pages)


async def alloc_areas(kernel: Kernel, mm: MmStruct) -> bool:
    """Let the areas that a program begins with, and their files, be objects.

    Say whether there was memory; if not, those that have got none are none.
    """
    alloc = kernel.objects.kmem_cache_alloc
    for vma in mm.tree:
        file = vma.vm_file
        if isinstance(file, MappedFile) and not file.thing:
            file.thing = await alloc(FILP, ALLOC_FILE, GFP_KERNEL | GFP_ZERO)
            if not file.thing:
                return False
        vma.thing = await alloc(VM_AREA_STRUCT, "vm_area_alloc")
        if not vma.thing:
            return False
    return True


def map_elsewhere(space: AddressSpace, start: int) -> list[int]:
    """Let one more process, of which nothing else is known, use what is mapped at `start`.

    Return the pages, whose mapcounts and references the caller raises.
    """
    vma = space.mm.tree.find_vma(start)
    assert vma is not None, f"nothing is mapped at {start:#x}"
    if vma.special is not None:
        return list(vma.special.pages)
    assert isinstance(vma.vm_file, MappedFile), f"{vma} maps no file"
    vma.vm_file.mapping.nr_users += 1
    return list(vma.vm_file.mapping.pages.values())


def _area(kernel: Kernel, segment: Segment, files: dict[str, MappedFile]) -> Vma:
    vma = Vma(
        vm_start=segment.start,
        vm_end=segment.end,
        vm_flags=segment.vm_flags | _MAY,
        vm_pgoff=segment.start >> PAGE_SHIFT,
    )
    match segment.name:
        case "[vvar]" | "[vdso]":
            vma.vm_pgoff = 0
            vma.name = segment.name
            vma.vm_flags |= VM_DONTEXPAND
            if segment.name == VVAR:
                vma.vm_flags |= VM_IO | VM_PFNMAP | VM_DONTDUMP
                vma.vm_flags &= ~(VM_MAYWRITE | VM_MAYEXEC)
            # The rest of [vvar] is for paravirtual clocks and for time namespaces.
            nr_pages = 1 if segment.name == VVAR else vma.nr_pages
            frames = tuple(_alloc_page(kernel) for _ in range(nr_pages))
            vma.special = SpecialMapping(name=segment.name, pages=frames)
        case "[heap]":
            vma.vm_flags = VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT
        case "[stack]":
            vma.vm_flags |= VM_GROWSDOWN | VM_ACCOUNT
        case _:
            file = _file(kernel, segment, files)
            file.get()
            vma.vm_file, vma.name = file, segment.name
            vma.vm_pgoff = segment.offset >> PAGE_SHIFT
            if segment.is_shared:
                vma.vm_flags |= VM_SHARED | VM_MAYSHARE
            elif segment.is_writable:
                vma.vm_flags |= VM_ACCOUNT
    return vma


def _file(kernel: Kernel, segment: Segment, files: dict[str, MappedFile]) -> MappedFile:
    """Return the file of a segment: all of it is in the page cache."""
    file = files.get(segment.name)
    if file is None:
        mapping = kernel.file_system.add_inode(dev=segment.dev, inode=segment.inode)
        # Pages of a program in the initramfs are mapped one by one, those of shared memory in
        # groups: ramfs has no map_pages (recorded).
        file = MappedFile(mapping=mapping, path=segment.name, has_map_pages=segment.is_shared)
        mapping.nr_users += not segment.is_shared
        files[segment.name] = file
    mapping = file.mapping
    mapping.size_bytes = max(mapping.size_bytes, segment.offset + segment.end - segment.start)
    context = kernel.new_fault_context(kernel.cpus[0], Task())
    for index in range(mapping.nr_pages):
        if index not in mapping.pages:
            pfn = _alloc_page(kernel)
            while mapping.i_pages.missing(index) != NO_NODE:
                mapping.i_pages.add_node(index, 0)
            shmem_add_to_page_cache(context, file, index, pfn)
            if not segment.is_shared:
                # The program was written there when the machine started.
                kernel.pages.flags_view[pfn] |= PG_DIRTY
    return file


def _alloc_page(kernel: Kernel) -> int:
    """Allocate a page as boot did, before any actor runs."""
    allocator = kernel.allocator
    pfn = allocator.perform(allocator.alloc_pages(0, 0, GFP_HIGHUSER_MOVABLE))
    if pfn is None:
        raise UserError(
            Problem(
                place=Place("machine.memory"),
                found="the memory does not hold the program",
                legal="expected free pages for all of its files",
                advice="raise size",
            )
        )
    kernel.pages.refcount_view[pfn] = 1
    return pfn
