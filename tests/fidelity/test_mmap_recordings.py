"""Recorded address spaces: places, merging, errors, fault counts and table sizes are Linux's."""

import json
from pathlib import Path

import pytest
from attrs import define

from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.pte import PRESENT, RW, SPECIAL
from mmactors.mm.area import mman
from mmactors.mm.area.anon_vma_chain import anon_vma_prepare, unlink_anon_vmas
from mmactors.mm.area.mm_config import MmConfig
from mmactors.mm.area.mm_struct import MM_ANONPAGES, MmStruct
from mmactors.mm.area.pgprot import access_error, anonymous_pte, zero_page_pte
from mmactors.mm.area.vm_flags import (
    VM_ACCOUNT,
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
    page_align,
)
from mmactors.mm.area.vma import Vma
from mmactors.mm.page_table.page_table import AllocTable, PageTable
from mmactors.mm.syscall import mmap
from mmactors.mm.syscall.brk import do_brk
from mmactors.mm.syscall.munmap import UnmapRegion, do_munmap
from mmactors.units import PAGE_SIZE, parse_bytes

CASES = Path(__file__).parents[1] / "reference/linux-6.1/userland/mmap"
ZERO_PFN = 1
PGD_PFN = 2
FLAGS = {
    "private": mman.MAP_PRIVATE,
    "shared": mman.MAP_SHARED,
    "anon": mman.MAP_ANONYMOUS,
    "fixed": mman.MAP_FIXED,
    "noreplace": mman.MAP_FIXED_NOREPLACE,
}
PROTS = {"r": mman.PROT_READ, "w": mman.PROT_WRITE, "x": mman.PROT_EXEC}


@pytest.mark.parametrize("path", sorted(CASES.glob("*.json")), ids=lambda path: path.stem)
def test_operations_give_what_linux_gave(path):
    """Every result, maps text, fault count, size and table count equals the recorded one."""
    case = json.loads(path.read_text())
    process = Process.of_maps(case["begin_maps"])
    expected = []
    actual = []

    for op in case["ops"]:
        ret = op["ret"] if isinstance(op["ret"], int) else int(op["ret"], 16)
        expected.append((op["op"], ret, op["minflt"]))
        actual.append((op["op"], *process.run(op["op"])))
        if "maps" in op:
            expected.append(op["maps"])
            actual.append(process.maps())
        if "status_kb" in op:
            new_kb = op["anonymous_kb"] - case["ops"][0]["anonymous_kb"]
            expected.append((op["status_kb"], new_kb))
            actual.append((process.status_kb(), process.new_anonymous_kb()))

    assert expected == actual


@define
class Process:
    """A process with one thread that runs the recorded operations on the mechanisms."""

    mm: MmStruct
    memory: PhysicalMemory
    names: dict
    headers: dict
    next_pfn: int = PGD_PFN
    nr_anonymous_at_begin: int = 0

    @classmethod
    def of_maps(cls, maps):
        """Build the address space that a maps text shows, all of it touched but vvar and vdso."""
        memory = PhysicalMemory(1 << 16)
        mm = MmStruct(config=MmConfig(), page_table=PageTable(memory, pgd_pfn=PGD_PFN))
        process = cls(mm, memory, {}, {})
        files = {}
        for line in maps.splitlines():
            process.add_area(line, files)
        process.nr_anonymous_at_begin = mm.rss[MM_ANONPAGES]
        return process

    def add_area(self, line, files):
        start, end, perms, name = _parse_maps_line(line)
        flags = sum(bit for bit, char in zip((1, 2, 4), perms, strict=False) if char != "-")
        flags |= VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
        is_file = "/" in name
        pgoff = int(line.split()[2], 16) // PAGE_SIZE if is_file else start // PAGE_SIZE
        vma = Vma(vm_start=start, vm_end=end, vm_flags=flags, vm_pgoff=pgoff)
        if is_file:
            vma.vm_file = files.setdefault(name, object())
            self.headers[vma.vm_file] = " ".join(line.split()[3:5])
            vma.name = name
        if perms[3] == "s":
            vma.vm_flags |= VM_SHARED | VM_MAYSHARE
        elif flags & VM_WRITE:
            vma.vm_flags |= VM_ACCOUNT
        if name == "[heap]":
            self.mm.start_brk = self.mm.brk = end
        elif name == "[stack]":
            vma.vm_flags |= VM_GROWSDOWN
            self.mm.start_stack = end - PAGE_SIZE
        elif name in ("[vvar]", "[vdso]"):
            vma.name = name
            vma.vm_flags |= VM_DONTEXPAND | (VM_IO | VM_PFNMAP if name == "[vvar]" else 0)
        self.mm.insert_vm_struct(vma)
        if name not in ("[vvar]", "[vdso]"):
            for address in range(start, end, PAGE_SIZE):
                self.fault(vma, address, is_write=bool(flags & VM_WRITE))

    def run(self, op):
        """Return result and number of faults."""
        verb, *words = op.split()
        if verb == "touch":
            return self.touch(*words)
        return getattr(self, verb)(*words), 0

    def mmap(self, name, length, *options):
        options = dict(option.split("=", 1) for option in options)
        flags = sum(FLAGS[flag] for flag in options.get("flags", "private,anon").split(","))
        prot = options.get("prot", "rw")
        ret = self.perform(
            mmap.do_mmap(
                self.mm,
                address=self.place(options["addr"]) if "addr" in options else 0,
                length=parse_bytes(length),
                prot=0 if prot == "none" else sum(PROTS[char] for char in prot),
                flags=flags,
            )
        )
        if ret >= 0:
            self.names[name] = (ret, page_align(parse_bytes(length)))
        return ret

    def munmap(self, *region):
        if region[0][0] != "@" and region[0] not in self.names:
            return -22
        start, length = self.region(*region)
        return self.perform(do_munmap(self.mm, start=start, length=length, may_downgrade=True))

    def brk(self, change):
        if change == "0":
            return self.mm.brk
        before = self.mm.brk
        size = parse_bytes(change[1:])
        self.perform(do_brk(self.mm, before + (size if change[0] == "+" else -size)))
        return self.mm.brk - before

    def alias(self, name, place, length):
        self.names[name] = (self.place(place), parse_bytes(length))
        return self.names[name][0]

    def get(self, _file):
        return 0

    def nop(self):
        return 0

    def touch(self, *words):
        kind = next(index for index, word in enumerate(words) if word in ("read", "write"))
        start, length = self.region(*words[:kind])
        options = dict(option.split("=") for option in words[kind + 1 :])
        addresses = list(range(start, start + length, PAGE_SIZE * int(options.get("step", "1"))))
        if options.get("order") == "rev":
            addresses.reverse()
        faults = 0
        for address in addresses:
            index = self.mm.page_table.pte_offset(address)
            entry = 0 if index is None else self.memory.view[index]
            if not entry & PRESENT or (words[kind] == "write" and not entry & RW):
                self.fault(self.mm.find_vma(address), address, is_write=words[kind] == "write")
                faults += 1
        return len(addresses), faults

    def fault(self, vma, address, *, is_write):
        assert not access_error(vma.vm_flags, is_write=is_write, is_protection=False)
        index = self.perform(self.mm.page_table.alloc(address))
        if is_write and not vma.vm_flags & VM_SHARED:
            self.perform(anon_vma_prepare(self.mm, vma))
            self.memory.view[index] = anonymous_pte(self.new_page(), vma.vm_flags)
            self.mm.add_mm_counter(MM_ANONPAGES, 1)
        else:
            self.memory.view[index] = zero_page_pte(ZERO_PFN, vma.vm_flags)

    def new_page(self):
        self.next_pfn += 1
        return self.next_pfn

    def perform(self, steps):
        """Answer the requests of a mechanism."""
        answer = None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = None
            if isinstance(request, AllocTable):
                answer = self.new_page()
            elif isinstance(request, UnmapRegion):
                self.unmap_region(request)

    def unmap_region(self, request):
        table = self.mm.page_table
        entries = table.clear_range(request.start, request.end).entries
        nr_pages = int(((entries & SPECIAL) == 0).sum())
        self.mm.add_mm_counter(MM_ANONPAGES, -nr_pages)
        for vma in request.areas:
            self.perform(unlink_anon_vmas(vma))
        areas, floor, ceiling = request.areas, request.floor, request.ceiling
        for freed in table.free_pgtables(areas, floor=floor, ceiling=ceiling):
            table.release(freed)

    def place(self, expression):
        """Return the address of `NAME`, `brk` or a number, with `+SIZE` or `-SIZE`."""
        sign = 1
        for operator in "+-":
            if operator in expression:
                expression, offset = expression.split(operator)
                sign = 1 if operator == "+" else -1
                return self.place(expression) + sign * parse_bytes(offset)
        if expression == "brk":
            return self.mm.brk
        return self.names[expression][0] if expression in self.names else int(expression, 0)

    def region(self, first, pages=None):
        if first[0] == "@":
            place, length = first[1:].split(":")
            return self.place(place), parse_bytes(length)
        start, length = self.names[first]
        if pages is None:
            return start, length
        begin, end = (int(number) for number in pages.split(".."))
        return start + begin * PAGE_SIZE, (end - begin) * PAGE_SIZE

    def maps(self):
        return "".join(self.maps_line(vma) for vma in self.mm.tree)

    def maps_line(self, vma):
        flags = vma.vm_flags
        perms = "".join(
            char if flags & bit else "-"
            for char, bit in (("r", VM_READ), ("w", VM_WRITE), ("x", VM_EXEC))
        ) + ("s" if flags & VM_MAYSHARE else "p")
        name = vma.name
        if name is None and vma.vm_start <= self.mm.brk and vma.vm_end >= self.mm.start_brk:
            name = "[heap]"
        elif name is None and vma.vm_start <= self.mm.start_stack <= vma.vm_end:
            name = "[stack]"
        offset = 0 if vma.vm_file is None else vma.vm_pgoff * PAGE_SIZE
        device = self.headers.get(vma.vm_file, "00:00 0")
        head = f"{vma.vm_start:08x}-{vma.vm_end:08x} {perms} {offset:08x} {device} "
        return head + "\n" if name is None else f"{head:<73}{name}\n"

    def status_kb(self):
        mm = self.mm
        return {
            "VmPeak": max(mm.hiwater_vm, mm.total_vm) * 4,
            "VmSize": mm.total_vm * 4,
            "VmData": mm.data_vm * 4,
            "VmStk": mm.stack_vm * 4,
            "VmPTE": mm.pgtables_bytes // 1024,
        }

    def new_anonymous_kb(self):
        return (self.mm.rss[MM_ANONPAGES] - self.nr_anonymous_at_begin) * 4


def _parse_maps_line(line):
    limits, perms, _offset, _device, _inode, *name = line.split(maxsplit=5)
    start, end = (int(limit, 16) for limit in limits.split("-"))
    return start, end, perms, name[0].strip() if name else ""
