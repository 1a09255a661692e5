"""Processes, their areas and what their page tables hold."""

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType

from attrs import field, frozen

from mmactors.actors.program.process import Process
from mmactors.actors.state.address_space import AddressSpace
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.mm_struct import (
    MM_ANONPAGES,
    MM_FILEPAGES,
    MM_SHMEMPAGES,
    MM_SWAPENTS,
    MmStruct,
)
from mmactors.mm.area.vma import Vma
from mmactors.observe.counters.read import process_counters
from mmactors.observe.inspection.entry import Entry, entries_to, entry_of
from mmactors.observe.inspection.moment import Moment
from mmactors.observe.inspection.table import Table
from mmactors.observe.proc.process import permissions_text, vm_flag_names


@frozen(kw_only=True)
class Area:
    """One area of an address space (struct vm_area_struct), `[start, end)`."""

    start: int = field(repr=hex)
    end: int = field(repr=hex)
    permissions: str
    """As /proc/PID/maps shows them: `rw-p`."""
    vm_flags: int = field(repr=hex)
    flag_names: tuple[str, ...]
    """As VmFlags of smaps shows them."""
    pgoff: int
    """Pages: offset in the file; of private anonymous memory the address when it was mapped."""
    name: str | None
    """As /proc/PID/maps shows it: a path, `[heap]`, `[stack]`."""
    inode: int | None
    """Of the mapped file or shared memory."""
    anon_vma: int | None
    """The number of its anon_vma; None until the first write fault."""
    anon_vma_chain: tuple[int, ...]
    """The numbers of all anon_vmas that it is linked to, the oldest first."""


@frozen(kw_only=True)
class Memory:
    """The numbers of an address space (struct mm_struct)."""

    ctx_id: int
    total_vm_pages: int
    data_vm_pages: int
    stack_vm_pages: int
    exec_vm_pages: int
    locked_vm_pages: int
    rss_anon_pages: int
    rss_file_pages: int
    rss_shmem_pages: int
    swap_pages: int
    hiwater_rss_pages: int
    hiwater_vm_pages: int
    pgtables_bytes: int
    start_brk: int = field(repr=hex)
    brk: int = field(repr=hex)
    start_stack: int = field(repr=hex)
    pgd_pfn: int = field(repr=hex)
    cpus: tuple[int, ...]
    """mm_cpumask: where it may be in a TLB."""
    tlb_gen: int

    @property
    def rss_pages(self) -> int:
        """Resident pages, as far as its threads have told of them (get_mm_rss)."""
        return self.rss_anon_pages + self.rss_file_pages + self.rss_shmem_pages


@frozen(kw_only=True)
class OpenFile:
    """One open file of a process."""

    name: str
    """In the program."""
    path: str
    inode: int


@frozen(eq=False, kw_only=True)
class ProcessInspection:
    """One process at the moment of its inspection; its memory is read when it is asked for."""

    _moment: Moment = field(repr=False)
    _process: Process = field(repr=False)
    _space: AddressSpace | None = field(repr=False)
    pid: int
    parent_pid: int | None
    comm: str
    threads: tuple[str, ...]
    """Those that ever were, by their names in the program."""
    user_ns: int
    """Time of its threads in user mode."""
    system_ns: int
    """Time of its threads in the kernel, interrupts left out."""
    nvcsw: int
    """Voluntary context switches: a thread slept or ended."""
    nivcsw: int
    """Involuntary ones: a slice was used up, or a thread moved to another CPU."""
    min_flt: int
    maj_flt: int
    killed_by: int | None
    """The fatal signal."""

    @cached_property
    def counters(self) -> Mapping[str, int]:
        """Its counters by name (docs/counters.md), as `process[a].min_flt` of the machine's."""
        process, now_ns = self._process, self._moment.now_ns
        return self._moment.look(lambda: MappingProxyType(process_counters(process, now_ns)))

    @cached_property
    def memory(self) -> Memory | None:
        """Its address space in numbers; None before it begins and after it has ended."""
        space = self._space
        return None if space is None else self._moment.look(lambda: _memory(space.mm))

    @cached_property
    def areas(self) -> Table[Area]:
        """Its areas, lowest first; none if it has no address space."""
        space = self._space
        if space is None:
            return Table()
        mm = space.mm
        return self._moment.look(lambda: Table(_area(mm, vma) for vma in mm.tree))

    @cached_property
    def names(self) -> Mapping[str, tuple[int, int]]:
        """What names in its program stand for: address and bytes."""
        return self._moment.look(lambda: MappingProxyType(dict(self._process.bindings)))

    @cached_property
    def files(self) -> Table[OpenFile]:
        """Its open files."""
        return self._moment.look(
            lambda: Table(
                OpenFile(name=name, path=file.path, inode=file.mapping.inode)
                for name, file in self._process.files.items()
            )
        )

    def area(self, address: int) -> Area | None:
        """Return the area in which an address lies."""
        return next((area for area in self.areas if area.start <= address < area.end), None)

    def walk(self, address: int) -> Table[Entry]:
        """Return the entries that a walk to `address` reads, the top one first.

        It ends at the lowest level, or above it where no table hangs below or a larger page is
        mapped. Empty without an address space.
        """
        space = self._space
        if space is None:
            return Table()
        return self._moment.look(lambda: Table(entries_to(space.mm.page_table, address)))

    def entry(self, address: int) -> Entry | None:
        """Return the PTE of `address`, whatever it holds; None: there is no table for it."""
        path = self.walk(address)
        return path[-1] if path and path[-1].level == "PTE" else None

    def mapped(self, start: int, end: int) -> Table[Entry]:
        """Return the present PTEs of `[start, end)`, lowest first."""
        space = self._space
        if space is None:
            return Table()
        return self._moment.look(lambda: Table(_mapped(space.mm, start, end)))


def inspect_process(moment: Moment, process: Process) -> ProcessInspection:
    """Return the process at `moment`."""
    parent, usage = process.parent, process.usage()
    return ProcessInspection(
        moment=moment,
        process=process,
        space=process.space,
        pid=process.pid,
        parent_pid=None if parent is None else parent.pid,
        comm=process.comm,
        threads=tuple(process.threads),
        user_ns=usage.user_ns,
        system_ns=usage.system_ns,
        nvcsw=process.nvcsw,
        nivcsw=process.nivcsw,
        min_flt=process.min_flt,
        maj_flt=process.maj_flt,
        killed_by=process.killed_by,
    )


def _memory(mm: MmStruct) -> Memory:
    mask = mm.mm_cpumask
    return Memory(
        ctx_id=mm.ctx_id,
        total_vm_pages=mm.total_vm,
        data_vm_pages=mm.data_vm,
        stack_vm_pages=mm.stack_vm,
        exec_vm_pages=mm.exec_vm,
        locked_vm_pages=mm.locked_vm,
        rss_anon_pages=mm.rss[MM_ANONPAGES],
        rss_file_pages=mm.rss[MM_FILEPAGES],
        rss_shmem_pages=mm.rss[MM_SHMEMPAGES],
        swap_pages=mm.rss[MM_SWAPENTS],
        hiwater_rss_pages=mm.hiwater_rss,
        hiwater_vm_pages=mm.hiwater_vm,
        pgtables_bytes=mm.pgtables_bytes,
        start_brk=mm.start_brk,
        brk=mm.brk,
        start_stack=mm.start_stack,
        pgd_pfn=mm.page_table.pgd_pfn,
        cpus=tuple(cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1),
        tlb_gen=mm.tlb_gen,
    )


def _area(mm: MmStruct, vma: Vma) -> Area:
    file = vma.vm_file if isinstance(vma.vm_file, MappedFile) else None
    return Area(
        start=vma.vm_start,
        end=vma.vm_end,
        permissions=permissions_text(vma.vm_flags),
        vm_flags=vma.vm_flags,
        flag_names=vm_flag_names(vma.vm_flags),
        pgoff=vma.vm_pgoff,
        name=mm.vma_name(vma),
        inode=None if file is None else file.mapping.inode,
        anon_vma=None if vma.anon_vma is None else vma.anon_vma.number,
        anon_vma_chain=tuple(link.anon_vma.number for link in vma.anon_vma_chain),
    )


def _mapped(mm: MmStruct, start: int, end: int) -> list[Entry]:
    table = mm.page_table
    found = table.read_range(start, end)
    entries = []
    for address, word in zip(found.addresses.tolist(), found.entries.tolist(), strict=True):
        place = table.path(address)[-1]
        entries.append(entry_of(word, address=address, level="PTE", place=place))
    return entries
