"""The recordings' interpreter: its address space, its start, and what a fork costs it.

One static program, without libc, runs every case. Its address space before the first operation is
recorded; which of its pages are present is a fact about the program: text, data, bss, the top of
its stack, and a shared control mapping that is populated. A child reads all of them anew and
writes its data and stack; then the parent does.
"""

from typing import Final

from attrs import frozen

from mmactors.arch.page import PG_DIRTY
from mmactors.mm.area.mapped_file import MappedFile, Mapping, SpecialMapping
from mmactors.mm.area.task import Task as FaultTask
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
from mmactors.units import PAGE_SHIFT, PAGE_SIZE
from mmactors.validate.userland.userland_machine import UserlandMachine
from mmactors.validate.userland.userland_task import Task

_MAY: Final = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
_STACK_PAGES: Final = 3
"""How much of its stack it touches."""
_DATA_BYTES: Final = 8
"""Its initialised data."""


@frozen
class MapsLine:
    """One line of /proc/pid/maps."""

    start: int
    end: int
    permissions: str
    offset: int
    dev: tuple[int, int]
    inode: int
    name: str

    @classmethod
    def parse(cls, line: str) -> "MapsLine":
        """Return what a line says."""
        limits, permissions, offset, dev, inode, *name = line.split(maxsplit=5)
        start, end = (int(limit, 16) for limit in limits.split("-"))
        major, minor = (int(number, 16) for number in dev.split(":"))
        place = int(offset, 16)
        text = name[0].strip() if name else ""
        return cls(start, end, permissions, place, (major, minor), int(inode), text)

    @property
    def vm_flags(self) -> int:
        """What the permissions say."""
        bits = zip("rwx", (VM_READ, VM_WRITE, VM_EXEC), strict=True)
        return sum(bit for letter, bit in bits if letter in self.permissions)


@frozen(kw_only=True)
class InterpreterLayout:
    """Where the interpreter's own pages are; `[start, end)` each."""

    text: tuple[int, int]
    data: tuple[int, int]
    control: tuple[int, int]
    stack_top: int

    def start_up(self, machine: UserlandMachine, task: Task) -> None:
        """Do what a new child does before its first operation."""
        machine.access(task, self.stack_top - 1, is_write=True)
        self._touch(machine, task, self.control, is_write=False)
        self._touch(machine, task, self.text, is_write=False)
        self.settle(machine, task)

    def settle(self, machine: UserlandMachine, task: Task) -> None:
        """Write every page of data, bss and stack, so that no later operation copies one."""
        self._touch(machine, task, self.data, is_write=True)
        stack = (self.stack_top - _STACK_PAGES * PAGE_SIZE, self.stack_top)
        self._touch(machine, task, stack, is_write=True)

    @staticmethod
    def _touch(
        machine: UserlandMachine, task: Task, limits: tuple[int, int], *, is_write: bool
    ) -> None:
        for address in range(*limits, PAGE_SIZE):
            machine.access(task, address, is_write=is_write)


def begin_interpreter(machine: UserlandMachine, maps: str) -> tuple[Task, InterpreterLayout]:
    """Make the process that the recorded maps show, with its pages present and no fault counted."""
    lines = [MapsLine.parse(line) for line in maps.splitlines()]
    by_name = {line.name: line for line in lines}
    program = [line for line in lines if line.name == lines[0].name]
    data, control = program[-1], next(line for line in lines if line.permissions.endswith("s"))
    bss, stack = by_name["[heap]"], by_name["[stack]"]
    task = machine.new_task()
    mm = task.mm
    mm.start_brk = mm.brk = bss.end
    mm.start_data, mm.end_data = data.start, data.start + _DATA_BYTES
    mm.start_stack = stack.end - PAGE_SIZE
    mm.mmap_base = max(line.end for line in lines if line.end < stack.start)
    files: dict[str, MappedFile] = {}
    for line in lines:
        mm.insert_vm_struct(_area(machine, line, files))
    # The recorder's first process maps the control memory, too.
    shared = files[control.name].mapping
    shared.nr_users += 1
    machine.lru.drain()
    for pfn in shared.pages.values():
        machine.pages.refcount_view[pfn] += 1
        machine.pages.mapcount_view[pfn] += 1
        machine.lru.mlock_page(pfn)
    machine.lru.drain()
    layout = InterpreterLayout(
        text=(lines[0].start, data.start),
        data=(data.start, bss.end),
        control=(control.start, control.end),
        stack_top=stack.end,
    )
    layout.start_up(machine, task)
    task.faults = FaultTask()
    return task, layout


def _area(machine: UserlandMachine, line: MapsLine, files: dict[str, MappedFile]) -> Vma:
    vma = Vma(
        vm_start=line.start,
        vm_end=line.end,
        vm_flags=line.vm_flags | _MAY,
        vm_pgoff=line.start >> PAGE_SHIFT,
    )
    if line.name in ("[vvar]", "[vdso]"):
        return _special_area(machine, vma, line)
    if line.name == "[heap]":
        vma.vm_flags = VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT
    elif line.name == "[stack]":
        vma.vm_flags |= VM_GROWSDOWN | VM_ACCOUNT
    else:
        file = _file(machine, line, files)
        file.mapping.nr_users += 1
        vma.vm_file, vma.name, vma.vm_pgoff = file, line.name, line.offset >> PAGE_SHIFT
        if line.permissions.endswith("s"):
            vma.vm_flags |= VM_SHARED | VM_MAYSHARE
        elif vma.vm_flags & VM_WRITE:
            vma.vm_flags |= VM_ACCOUNT
    return vma


def _special_area(machine: UserlandMachine, vma: Vma, line: MapsLine) -> Vma:
    vma.vm_pgoff = 0
    vma.name = line.name
    vma.vm_flags |= VM_DONTEXPAND
    frames: tuple[int, ...] = ()
    if line.name == "[vvar]":
        vma.vm_flags |= VM_IO | VM_PFNMAP | VM_DONTDUMP
        vma.vm_flags &= ~(VM_MAYWRITE | VM_MAYEXEC)
    else:
        frames = tuple(machine.alloc_page() for _ in range(vma.nr_pages))
        for pfn in frames:
            machine.pages.refcount_view[pfn] = 1
    vma.special = SpecialMapping(name=line.name, pages=frames)
    return vma


def _file(machine: UserlandMachine, line: MapsLine, files: dict[str, MappedFile]) -> MappedFile:
    """Return the file of a line: all of it lies in tmpfs, and is in the page cache."""
    last = line.offset + line.end - line.start
    file = files.get(line.name)
    if file is None:
        mapping = Mapping(dev=line.dev, inode=line.inode, size_bytes=0, is_shmem=True)
        # Recorded: pages of the program are mapped one by one, those of the control memory in
        # groups.
        is_program = not line.permissions.endswith("s")
        file = MappedFile(mapping=mapping, path=line.name, has_map_pages=not is_program)
        mapping.nr_users += is_program
        files[line.name] = file
    mapping = file.mapping
    mapping.size_bytes = max(mapping.size_bytes, last)
    for index in range(mapping.nr_pages):
        if index not in mapping.pages:
            pfn = machine.alloc_page()
            shmem_add_to_page_cache(machine.context, file, index, pfn)
            if not file.has_map_pages:
                # The program was written there when the machine started.
                machine.pages.flags_view[pfn] |= PG_DIRTY
    return file
