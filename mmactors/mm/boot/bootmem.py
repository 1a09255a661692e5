"""What the kernel takes from memblock while it boots, in its order (v6.1, x86-64).

arch/x86/kernel/setup.c, mm/sparse.c, mm/percpu.c, mm/page_alloc.c, kernel/dma/swiotlb.c. Sizes
are those of Debian's 6.1 kernel (6.1.192-2) and stand here with their names. Amounts are bytes.

Left out: the tables whose size follows from firmware or from the command line beyond what is
named here, crashkernel, boot-time huge pages, and relocating an initramfs.
"""

from typing import Final

from attrs import define, field

from mmactors.mm.boot.e820 import ABOVE_4G_START, E820Entry
from mmactors.mm.boot.memblock import Memblock
from mmactors.units import GIB, KIB, MIB, PAGE_SHIFT, PAGE_SIZE

KERNEL_START: Final = 16 * MIB
"""Where the kernel image begins: CONFIG_PHYSICAL_START."""
KERNEL_IMAGE_BYTES: Final = 0x3411000
"""Text, rodata, data, init, bss, decrypted bss and brk."""
INITRAMFS_BYTES: Final = 1072 * KIB
SMP_ALTERNATIVES: Final = (0x3306, 0x330F)
"""Page frames the kernel gives back once it knows how many CPUs there are."""
KERNEL_FREED: Final = (
    # Page frames the kernel gives back of its image at the end of boot, in its order.
    (0x4203, 0x4400),  # decrypted bss
    (0x3044, 0x3306),  # initmem
    (0x1E02, 0x2000),  # gap between text and rodata
    (0x28EB, 0x2A00),  # gap between rodata and data
)

_SMP_CACHE_BYTES: Final = 64
_MAX_DMA_ADDRESS: Final = 16 * MIB
_NODE_DATA_BYTES: Final = 0x2B000
_SECTION_BYTES: Final = 128 * MIB
_SECTION_MAP_BYTES: Final = 2 * MIB
_SECTION_USAGE_BYTES: Final = 56
_SECTION_ROOTS_BYTES: Final = 32 * KIB
_ROOT_SPAN_BYTES: Final = 128 * _SECTION_BYTES
_VMEMMAP_PMD_SPAN_BYTES: Final = 64 * GIB
_STRUCT_PAGE_BYTES: Final = 64
_BRK_DIRECT_MAP_GIB: Final = 2
"""So many GiB of direct map need no page tables beyond those in brk (one recording: 5 GiB, 3)."""

_PCPU_UNIT_BYTES: Final = 62 * PAGE_SIZE
"""Static 217088, reserved 8192 and dynamic 28672."""
_PCPU_ATOM_BYTES: Final = 2 * MIB
_PCPU_CHUNK_TABLES: Final = (144, 256, 264, 64, 144, 896, 904, 224)
"""Bitmaps and block tables of the reserved and of the dynamic first chunk."""

_COMMAND_LINE_BYTES: Final = 72
_FIRMWARE_MAP_BYTES: Final = 104
_RESOURCE_BYTES: Final = 64
_NOSAVE_BYTES: Final = 32
_HPET_BYTES, _IO_APIC_BYTES = 73, 75
_NR_BOOTMEM_CPUMASKS: Final = 5
_NR_SPP_PAGES: Final = 3

_LOG_BUF_BYTES: Final = 128 * KIB
_LOG_CPU_BYTES: Final = 4 * KIB
_LOG_RECORD_BYTES, _LOG_DESC_BYTES, _LOG_INFO_BYTES = 32, 24, 88

_DENTRY_SCALE, _INODE_SCALE = 13, 14
_HASH_BUCKET_BYTES: Final = 8
_ADAPT_SCALE_PAGES: Final = 64 * GIB >> PAGE_SHIFT

_SWIOTLB_BYTES: Final = 64 * MIB
_SWIOTLB_SLOT_TABLE_BYTES: Final = 786432


class OutOfBootMemoryError(Exception):
    """Memblock has no room for something without which the kernel does not boot."""

    def __init__(self, what: str, nr_bytes: int) -> None:
        self.what = what
        self.nr_bytes = nr_bytes
        super().__init__(f"no {nr_bytes} bytes for {what}")


@define(eq=False, kw_only=True)
class EarlyBoot:
    """The boot up to the page allocator: each method is one stage, called in this order."""

    entries: tuple[E820Entry, ...]
    cpu_node: tuple[int, ...]
    nr_nodes: int
    memblock: Memblock = field(factory=Memblock)

    def setup_arch(
        self,
        *,
        kernel_image: int,
        initramfs: tuple[int, int],
        reserved: tuple[tuple[int, int], ...],
    ) -> None:
        """Enter the firmware's map; take the first MiB, the kernel, the initramfs and `reserved`.

        The first page and what the firmware keeps below 1 MiB is no memory.
        """
        memblock = self.memblock
        for entry in self.entries:
            if entry.usable:
                memblock.add(max(entry.start, PAGE_SIZE), entry.end)
        memblock.trim_memory()
        memblock.reserve(0, MIB)
        memblock.reserve(KERNEL_START, KERNEL_START + kernel_image)
        memblock.reserve(*initramfs)
        for start, end in reserved:
            memblock.reserve(start, end)
        usable = memblock.memory.regions
        gib_touched = {gib for r in usable for gib in range(r.start // GIB, (r.end - 1) // GIB + 1)}
        table_pages = len(gib_touched) - _BRK_DIRECT_MAP_GIB
        if table_pages > 0:
            self._take("page tables", table_pages * PAGE_SIZE, align=PAGE_SIZE)

    def init_nodes(self, node_ranges: tuple[tuple[tuple[int, int], ...], ...]) -> None:
        """Say which memory is on which node and place each node's pg_data_t there."""
        for node, ranges in enumerate(node_ranges):
            for start, end in ranges:
                self.memblock.memory.set_node(start, end, node=node)
        for node in range(self.nr_nodes):
            self._take("pg_data_t", _NODE_DATA_BYTES, node=node)

    def sparse_init(self) -> None:
        """Place the memmap: 64 bytes a page, in pieces of 2 MiB for each section of 128 MiB."""
        self._take("section roots", _SECTION_ROOTS_BYTES)
        sections = [self._sections(node) for node in range(self.nr_nodes)]
        roots: set[int] = set()
        for node in range(self.nr_nodes):
            for root in dict.fromkeys(
                s * _SECTION_BYTES // _ROOT_SPAN_BYTES for s in sections[node]
            ):
                if root not in roots:
                    roots.add(root)
                    self._take("a section root", PAGE_SIZE, node=node)
        vmemmap_tables: set[int] = set()
        for node in range(self.nr_nodes):
            self._take("section usage", _SECTION_USAGE_BYTES * len(sections[node]), node=node)
            self._take(
                "the memmap",
                _SECTION_MAP_BYTES * len(sections[node]),
                align=_SECTION_MAP_BYTES,
                start=_MAX_DMA_ADDRESS,
                node=node,
            )
            spans = {s * _SECTION_BYTES // _VMEMMAP_PMD_SPAN_BYTES for s in sections[node]}
            new_spans = spans - vmemmap_tables
            nr_tables = len(new_spans) + (0 if vmemmap_tables else 1)  # the first needs a PUD, too
            vmemmap_tables |= new_spans
            for _ in range(nr_tables):
                self._take("vmemmap page tables", PAGE_SIZE, align=PAGE_SIZE, node=node)

    def setup_resources(self) -> None:
        """Take the small tables that describe the machine."""
        nr_memory_gaps = sum(entry.usable for entry in self.entries)
        sizes = [_HPET_BYTES, _IO_APIC_BYTES, _RESOURCE_BYTES * (len(self.entries) + 1)]
        sizes += [_FIRMWARE_MAP_BYTES] * len(self.entries)
        sizes += [_NOSAVE_BYTES] * nr_memory_gaps
        sizes += [_COMMAND_LINE_BYTES] * 2
        for size in sizes:
            self._take("resource tables", size)

    def setup_per_cpu_areas(self) -> None:
        """Take the first chunk: units of all CPUs of a node share pieces of 2 MiB.

        What a unit does not need of its share is given back (pcpu_embed_first_chunk).
        """
        by_node: dict[int, int] = {}
        for node in self.cpu_node:
            by_node[node] = by_node.get(node, 0) + 1
        units_per_alloc = _units_per_alloc(list(by_node.values()), nr_cpus=len(self.cpu_node))
        unit_bytes = _PCPU_ATOM_BYTES // units_per_alloc
        scratch = [
            self._take("per-CPU group table", PAGE_SIZE, align=align)
            for align in (PAGE_SIZE, _SMP_CACHE_BYTES)
        ]
        for node, nr_cpus in by_node.items():
            nr_units = -(-nr_cpus // units_per_alloc) * units_per_alloc
            area = self._take(
                "per-CPU areas",
                nr_units * unit_bytes,
                align=_PCPU_ATOM_BYTES,
                start=_MAX_DMA_ADDRESS,
                node=node,
            )
            for unit in range(nr_units):
                used = _PCPU_UNIT_BYTES if unit < nr_cpus else 0
                at = area + unit * unit_bytes
                self.memblock.phys_free(at + used, at + unit_bytes)
        nr_cpus, nr_groups = len(self.cpu_node), len(by_node)
        slots_bytes = 16 * (unit_bytes.bit_length() + 1)
        tables = (8 * nr_groups, 8 * nr_groups, 4 * nr_cpus, 8 * nr_cpus, slots_bytes)
        for size in (*tables, *_PCPU_CHUNK_TABLES):
            self._take("per-CPU chunk tables", size)
        for at in scratch:
            self.memblock.phys_free(at, at + PAGE_SIZE)
        for _ in range(_NR_BOOTMEM_CPUMASKS):
            self._take("CPU masks", -(-nr_cpus // 64) * 8)

    def setup_log_buf(self) -> None:
        """Take a larger log buffer if 4 KiB for each further CPU exceed half the static one."""
        extra = (len(self.cpu_node) - 1) * _LOG_CPU_BYTES
        if extra <= _LOG_BUF_BYTES // 2:
            return
        nr_bytes = 1 << (extra + _LOG_BUF_BYTES - 1).bit_length()
        nr_records = nr_bytes // _LOG_RECORD_BYTES
        for size in (nr_bytes, nr_records * _LOG_DESC_BYTES, nr_records * _LOG_INFO_BYTES):
            self._take("the log buffer", size, align=8)

    def mm_init(self, *, nr_kernel_pages: int) -> None:
        """Take dentry and inode hash tables, late page tables and the bounce buffer.

        On several nodes the hash tables come from vmalloc later; the bounce buffer is only
        needed with memory above 4 GiB.
        """
        if self.nr_nodes == 1:
            for scale in (_DENTRY_SCALE, _INODE_SCALE):
                self._take("hash tables", _large_system_hash_bytes(nr_kernel_pages, scale=scale))
        for _ in range(_NR_SPP_PAGES):
            self._take("fixmap page tables", PAGE_SIZE, align=PAGE_SIZE)
        if self.memblock.end_of_memory() > ABOVE_4G_START:
            self._take("bounce buffer", _SWIOTLB_BYTES, align=PAGE_SIZE, end=ABOVE_4G_START - 1)
            self._take("bounce buffer slots", _SWIOTLB_SLOT_TABLE_BYTES, align=PAGE_SIZE)

    def _sections(self, node: int) -> list[int]:
        """Return the sections of 128 MiB in which `node` has memory, rising."""
        touched = (
            section
            for region in self.memblock.memory.regions
            if region.node == node
            for section in range(
                region.start // _SECTION_BYTES, (region.end - 1) // _SECTION_BYTES + 1
            )
        )
        return list(dict.fromkeys(touched))

    def _take(
        self,
        what: str,
        nr_bytes: int,
        *,
        align: int = _SMP_CACHE_BYTES,
        start: int = 0,
        end: int | None = None,
        node: int | None = None,
    ) -> int:
        at = self.memblock.alloc(nr_bytes, align=align, start=start, end=end, node=node)
        if at is None:
            raise OutOfBootMemoryError(what, nr_bytes)
        return at


def percpu_pages(cpu_node: tuple[int, ...]) -> int:
    """Return the pages of the first chunk of per-CPU areas, by CPU its node given.

    Units without a CPU count like others (pcpu_setup_first_chunk).
    """
    by_node = [cpu_node.count(node) for node in dict.fromkeys(cpu_node)]
    units_per_alloc = _units_per_alloc(by_node, nr_cpus=len(cpu_node))
    nr_units = sum(-(-cpus // units_per_alloc) * units_per_alloc for cpus in by_node)
    return nr_units * (_PCPU_UNIT_BYTES >> PAGE_SHIFT)


def memmap_pages(*, spanned: int, present: int) -> int:
    """Return the pages of struct page the kernel counts for a zone (calc_memmap_size)."""
    pages = present if spanned > present + (present >> 4) else spanned
    return -(-pages * _STRUCT_PAGE_BYTES // PAGE_SIZE)


def _units_per_alloc(group_cpus: list[int], *, nr_cpus: int) -> int:
    """Return how many CPUs share 2 MiB: as many as waste at most a third (mm/percpu.c)."""
    best, last_allocs = 1, None
    for units in range(_PCPU_ATOM_BYTES // _PCPU_UNIT_BYTES, 0, -1):
        if _PCPU_ATOM_BYTES % (units * PAGE_SIZE):
            continue
        allocs = sum(-(-cpus // units) for cpus in group_cpus)
        wasted = sum(-(-cpus // units) * units - cpus for cpus in group_cpus)
        if wasted > nr_cpus // 3:
            continue
        if last_allocs is not None and allocs > last_allocs:
            break
        best, last_allocs = units, allocs
    return best


def _large_system_hash_bytes(nr_kernel_pages: int, *, scale: int) -> int:
    """Return the size of a table with a bucket for each 2^scale bytes of memory.

    Every fourfold of 64 GiB halves its share; it never exceeds 1/16 of memory.
    """
    pages_per_mib = MIB // PAGE_SIZE
    entries = -(-nr_kernel_pages // pages_per_mib) * pages_per_mib
    adapt = _ADAPT_SCALE_PAGES
    while adapt < entries:
        scale += 1
        adapt <<= 2
    entries = max(entries >> (scale - PAGE_SHIFT), PAGE_SIZE // _HASH_BUCKET_BYTES)
    entries = 1 << (entries - 1).bit_length()
    most = (nr_kernel_pages << PAGE_SHIFT) // 16 // _HASH_BUCKET_BYTES
    return _HASH_BUCKET_BYTES << (min(entries, most).bit_length() - 1)
