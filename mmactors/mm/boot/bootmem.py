"""What the kernel takes from memblock while it boots, call by call, in its order (v6.1, x86-64).

init/main.c and arch/x86/kernel/setup.c say the order; what is taken follows from the firmware, the
command line, and what is fixed when the kernel is built (kernel_image.py). Amounts are bytes.

Left out: EFI, setup data of the boot loader, and machines with devices that reserve memory.
"""

from collections.abc import Iterator
from typing import Final

from attrs import Factory, define, field

from mmactors.mm.boot.cmdline import BootArguments, apply_map_changes
from mmactors.mm.boot.crashkernel import reserve_crashkernel
from mmactors.mm.boot.direct_map import ISA_END, DirectMap
from mmactors.mm.boot.e820 import E820_SOFT_RESERVED, E820Entry, E820Table
from mmactors.mm.boot.firmware import Firmware
from mmactors.mm.boot.kernel_image import DEBIAN_6_1, KernelImage
from mmactors.mm.boot.memblock import Memblock, OutOfBootMemoryError
from mmactors.mm.boot.numa_init import NumaNodes, numa_init
from mmactors.mm.boot.percpu_chunk import embed_first_chunk
from mmactors.mm.boot.sparse import MAX_DMA_ADDRESS, sparse_init
from mmactors.units import GIB, KIB, MIB, PAGE_SHIFT, PAGE_SIZE

_LOW_64K: Final = 64 * KIB
_LOG_ALIGN: Final = 8
_POINTER_BYTES, _LONG_BITS = 8, 64
_DENTRY_SCALE, _INODE_SCALE = 13, 14
_ADAPT_SCALE_PAGES: Final = 64 * GIB >> PAGE_SHIFT
_HASH_MAX: Final = 0x8000_0000
_NR_CPU_MASKS: Final = 4
"""Of CPUs that are initialised, called in, called out, and have siblings."""
_TABLE_ENTRIES: Final = 512
_SLAB_SHIFT: Final = 11
_SEGMENT_SLABS: Final = 128
_SWIOTLB_BYTES, _SWIOTLB_LEAST = 64 * MIB, 1 * MIB
_LOW_LIMIT: Final = 4 * GIB - 1


@define(eq=False, repr=False, kw_only=True)
class EarlyBoot:
    """The boot up to the page allocator: each method is one stage, called in this order."""

    firmware: Firmware
    arguments: BootArguments
    image: KernelImage = DEBIAN_6_1
    reserved: tuple[tuple[int, int], ...] = ()
    memblock: Memblock = Factory(Memblock)
    e820: E820Table = Factory(E820Table)
    initramfs: tuple[int, int] = field(init=False)
    nodes: NumaNodes = field(init=False)
    crash_ranges: tuple[tuple[int, int], ...] = field(default=(), init=False)
    debug_from: int = field(default=0, init=False)
    """Calls before `memblock=debug` was read: they are not printed."""
    dma_reserve_pages: int = field(default=0, init=False)
    """Pages of the first 16 MiB that are taken when the zones are sized."""
    max_pfn: int = field(default=0, init=False)
    user_map: tuple[E820Entry, ...] = field(default=(), init=False)
    """The map as the command line has changed it."""
    hash_tables: list[tuple[str, int]] = field(factory=list, init=False)
    """Name and buckets of those that boot takes itself."""
    percpu_areas: tuple[int, ...] = field(default=(), init=False)
    """Where the units of each group of near CPUs begin."""
    _has_log_buf: bool = field(default=False, init=False)

    def run_setup_arch(self) -> None:
        """Do what the architecture does before zones are sized (setup_arch).

        Raises OutOfBootMemoryError.
        """
        self.initramfs = self.firmware.initramfs
        memblock = self.memblock
        self._early_reserve_memory()
        self._setup_map()
        self._find_smp_config()
        self._reserve_brk()
        memblock.current_limit = ISA_END
        self._e820_memblock_setup()
        self._reserve_real_mode()
        direct_map = DirectMap(memblock=memblock, image=self.image)
        direct_map.init_mem_mapping(self.max_pfn << PAGE_SHIFT)
        memblock.current_limit = direct_map.max_mapped
        if self.arguments.log_buf_len:
            self._setup_log_buf(self.arguments.log_buf_len)
        self._reserve_initrd(direct_map)
        tables = () if self.arguments.is_acpi_off else self.firmware.acpi_tables()
        for start, end in tables:
            memblock.reserve(start, end, caller="acpi_reserve_initial_tables")
        self.nodes = numa_init(
            memblock,
            self.firmware,
            is_off=self.arguments.is_numa_off or self.arguments.is_acpi_off,
            fake=self.arguments.numa_fake,
            end=self.max_pfn << PAGE_SHIFT,
            max_mapped=direct_map.max_mapped,
            node_data_bytes=self.node_data_bytes,
        )
        self.crash_ranges = reserve_crashkernel(
            memblock, self.arguments, swiotlb_bytes=self._swiotlb_bytes()
        )
        self.dma_reserve_pages = self._find_dma_reserve()

    def run_paging_init(self) -> None:
        """Place the struct pages, then describe the machine: tables whose sizes it says."""
        sparse_init(self.memblock, self.image, node_data=self.node_data)
        image = self.image
        for node in self.nodes.possible:
            if node not in self.node_data:
                self._take(image.node_data_bytes, caller="free_area_init")
        if not self.arguments.is_acpi_off and self.firmware.acpi_tables():
            self._take(image.resource_bytes + image.hpet_name_bytes, caller="acpi_parse_hpet")
        self._take(image.resource_bytes + image.io_apic_name_bytes, caller="io_apic_init_mappings")
        self._take(image.resource_bytes * len(self.e820.entries), caller="e820__reserve_resources")
        for _ in self.firmware.entries:
            self._take(image.firmware_map_bytes, caller="firmware_map_add_early")
        for _ in self._nosave_regions():
            self._take(image.nosave_bytes, caller="register_nosave_region")

    def run_start_kernel(self) -> None:
        """Keep the command line, set up per-CPU areas and the log, and print what is unknown."""
        for _ in ("saved", "static"):
            self._take(len(self.arguments.text) + 1, caller="start_kernel")
        nodes = self.possible_cpu_nodes
        self.percpu_areas = embed_first_chunk(self.memblock, self.image, nodes)
        nr_longs = -(-self.nr_possible_cpus // _LONG_BITS)
        for _ in range(self.nr_nodes + _NR_CPU_MASKS):
            self._take(nr_longs * _POINTER_BYTES, caller="alloc_bootmem_cpumask_var")
        if self.arguments.unknown:
            nr_bytes = 1 + sum(1 + len(word) for word in self.arguments.unknown)
            at = self._take(nr_bytes, caller="start_kernel")
            self.memblock.phys_free(at, at + nr_bytes, caller="start_kernel")
        extra = (self.nr_possible_cpus - 1) * self.image.log_cpu_bytes
        if not self._has_log_buf and extra > self.image.log_buf_bytes // 2:
            self._setup_log_buf(extra + self.image.log_buf_bytes)

    def run_mm_init(self, *, nr_kernel_pages: int) -> None:
        """Take hash tables, page tables of the CPUs' entry areas, and the bounce buffer.

        On several nodes hash tables come from vmalloc, later; the bounce buffer is only needed
        with memory above 4 GiB, also if mem= leaves that out but SRAT names it.
        """
        arguments = self.arguments
        is_spread = arguments.is_hash_distributed is not False and len(self.node_data) > 1
        if not is_spread:
            for name, scale, entries in (
                ("Dentry cache", _DENTRY_SCALE, arguments.dentry_entries),
                ("Inode-cache", _INODE_SCALE, arguments.inode_entries),
            ):
                buckets = _large_system_hash(nr_kernel_pages, scale=scale, entries=entries)
                self.hash_tables.append((name, self._take_hash(buckets)))
        for _ in range(self._nr_entry_area_tables()):
            self._take(PAGE_SIZE, align=PAGE_SIZE, caller="spp_getpage")
        is_needed = self.nodes.end_of_memory > 4 * GIB or arguments.is_swiotlb_forced
        if is_needed and not arguments.is_swiotlb_off:
            self._take_swiotlb()

    @property
    def node_data_bytes(self) -> int:
        """The pages of a pg_data_t of a node with memory."""
        return -(-self.image.node_data_bytes // PAGE_SIZE) * PAGE_SIZE

    @property
    def node_data(self) -> dict[int, int]:
        """By node with memory: where its pg_data_t lies."""
        return self.nodes.node_data

    @property
    def nr_nodes(self) -> int:
        """One more than the highest node that can be, with memory or not (nr_node_ids)."""
        return self.nodes.possible[-1] + 1

    @property
    def nr_possible_cpus(self) -> int:
        """CPUs that may ever be there."""
        possible = self.arguments.possible_cpus or len(self.firmware.cpu_node)
        return min(possible, self.arguments.nr_cpus)

    @property
    def nr_online_cpus(self) -> int:
        """CPUs that run when it has booted."""
        present = min(len(self.firmware.cpu_node), self.nr_possible_cpus)
        return max(min(present, self.arguments.maxcpus), 1)

    @property
    def possible_cpu_nodes(self) -> tuple[int, ...]:
        """By CPU: its node; one of which nobody knows gets the next node with memory in turn."""
        online = sorted(self.node_data)
        known = self.nodes.cpu_node[: self.nr_possible_cpus]
        nr_others = self.nr_possible_cpus - len(known)
        return known + tuple(online[turn % len(online)] for turn in range(nr_others))

    def cpus_of_node(self, nr_cpus: int) -> dict[int, int]:
        """Return how many of so many CPUs each node has; fake nodes share those of the real one.

        Source: numa_add_cpu.
        """
        found: dict[int, int] = {}
        physical = self.nodes.physical_of
        for node in self.possible_cpu_nodes[:nr_cpus]:
            if node not in physical:
                found[node] = found.get(node, 0) + 1
                continue
            for other, place in physical.items():
                if place == physical[node]:
                    found[other] = found.get(other, 0) + 1
        return found

    @property
    def online_nodes(self) -> list[int]:
        """Nodes with memory or a CPU."""
        return sorted({*self.node_data, *self.possible_cpu_nodes})

    def _early_reserve_memory(self) -> None:
        memblock, caller = self.memblock, "early_reserve_memory"
        memblock.reserve(self.image.text_start, self.image.brk_start, caller=caller)
        memblock.reserve(0, _LOW_64K, caller=caller)
        if self.initramfs[0] < self.initramfs[1]:
            memblock.reserve(*self.initramfs, caller=caller)
        memblock.reserve(self.image.bios_start, ISA_END, caller="reserve_bios_regions")
        for start, end in self.reserved:
            memblock.reserve(start, end, caller=caller)

    def _setup_map(self) -> None:
        """Copy the firmware's map and change it as arguments and the PC's history say."""
        self.e820.entries[:] = self.firmware.entries
        self.e820.update()
        apply_map_changes(self.e820, self.arguments)
        self.user_map = tuple(self.e820.entries)
        if self.arguments.is_movable_node:
            self.memblock.bottom_up = self.memblock.is_movable_node = True
        self.debug_from = len(self.memblock.calls)
        self.e820.add_kernel_range(self.image.text_start, self.image.kernel_end)
        self.e820.trim_bios_range()
        self.max_pfn = self.e820.end_of_ram_pfn()

    def _find_smp_config(self) -> None:
        at, caller = self.image.mp_table, "smp_scan_config"
        self.memblock.reserve(at, at + 16, caller=caller)
        self.memblock.reserve(at + 16, at + 16 + self.image.mp_config_bytes, caller=caller)

    def _reserve_brk(self) -> None:
        if self.image.brk_used:
            self.memblock.reserve(self.image.brk_start, self.image.kernel_end, caller="setup_arch")

    def _e820_memblock_setup(self) -> None:
        self.memblock.can_resize = True
        for entry in self.e820.entries:
            if entry.type == E820_SOFT_RESERVED:
                self.memblock.reserve(entry.start, entry.end, caller="e820__memblock_setup")
            if entry.usable:
                self.memblock.add(entry.start, entry.end, caller="e820__memblock_setup")
        self.memblock.trim_memory()
        self.memblock.dump_all()

    def _reserve_real_mode(self) -> None:
        self.memblock.phys_alloc_range(
            self.image.real_mode_bytes,
            align=PAGE_SIZE,
            start=0,
            end=ISA_END,
            caller="reserve_real_mode",
        )
        self.memblock.reserve(0, ISA_END, caller="setup_arch")

    def _setup_log_buf(self, nr_bytes: int) -> None:
        """Take a larger log buffer: text, and for each record a descriptor and information."""
        nr_bytes = 1 << (nr_bytes - 1).bit_length()
        if nr_bytes <= self.image.log_buf_bytes:
            return
        nr_records = nr_bytes // self.image.log_record_bytes
        taken: list[tuple[int, int]] = []
        for size in (
            nr_bytes,
            nr_records * self.image.log_desc_bytes,
            nr_records * self.image.log_info_bytes,
        ):
            at = self.memblock.alloc(size, align=_LOG_ALIGN, caller="setup_log_buf")
            if at is None:
                for start, end in reversed(taken):
                    self.memblock.phys_free(start, end, caller="setup_log_buf")
                return
            taken.append((at, at + size))
        self._has_log_buf = True

    def _reserve_initrd(self, direct_map: DirectMap) -> None:
        """Move the initramfs to where the kernel can reach it, if it cannot."""
        start, end = self.initramfs
        if start >= end or direct_map.is_mapped(start, end):
            return
        caller = "setup_arch"
        at = self.memblock.phys_alloc_range(
            end - start, align=PAGE_SIZE, start=0, end=direct_map.max_mapped, caller=caller
        )
        if at is None:
            raise OutOfBootMemoryError("the initramfs", end - start)
        self.initramfs = (at, at + end - start)
        self.memblock.phys_free(start, end, caller=caller)

    def _find_dma_reserve(self) -> int:
        """Return the pages of the first 16 MiB that are taken (memblock_find_dma_reserve)."""
        limit = MAX_DMA_ADDRESS >> PAGE_SHIFT
        nr_pages = sum(
            min(region.end >> PAGE_SHIFT, limit) - min(-(-region.start // PAGE_SIZE), limit)
            for region in self.memblock.memory.regions
        )
        nr_free = 0
        for region in self.memblock.free_ranges():
            start, end = -(-region.start // PAGE_SIZE), min(region.end >> PAGE_SHIFT, limit)
            nr_free += max(end - start, 0)
        return nr_pages - nr_free

    def _nosave_regions(self) -> Iterator[tuple[int, int]]:
        """Yield what hibernation does not save: the pages between memory, to its end."""
        last_end = 0
        ranges = [(e.start, e.end) for e in self.e820.entries if e.usable]
        found = []
        for start, end in [*ranges, (self.max_pfn << PAGE_SHIFT, 0)]:
            low, high = last_end >> PAGE_SHIFT, -(-start // PAGE_SIZE)
            if last_end < start and low < high:
                found.append((low, high))
            last_end = end
        previous = -1
        for low, high in found:
            if low != previous:
                yield low, high
            previous = high

    def _take_hash(self, buckets: int) -> int:
        """Take a hash table, a smaller one if need be; return its buckets."""
        while True:
            nr_bytes = buckets * self.image.hash_bucket_bytes
            if self.memblock.alloc(nr_bytes, caller="alloc_large_system_hash") is not None:
                return buckets
            if nr_bytes <= PAGE_SIZE:
                raise OutOfBootMemoryError("hash tables", nr_bytes)
            buckets >>= 1

    def _nr_entry_area_tables(self) -> int:
        """Return the page tables that map the CPUs' entry areas, behind a page for the IDT."""
        pages = set()
        for cpu in range(self.nr_possible_cpus):
            first = 1 + cpu * self.image.entry_area_pages
            last = first + self.image.entry_area_mapped_pages - 1
            pages |= {first // _TABLE_ENTRIES, last // _TABLE_ENTRIES}
        return 1 + len({page // _TABLE_ENTRIES for page in pages}) + len(pages)

    def _swiotlb_slabs(self) -> int:
        slabs = self.arguments.swiotlb_slabs
        if not slabs:
            return _SWIOTLB_BYTES >> _SLAB_SHIFT
        return -(-slabs // _SEGMENT_SLABS) * _SEGMENT_SLABS

    def _swiotlb_bytes(self) -> int:
        return self._swiotlb_slabs() << _SLAB_SHIFT

    def _take_swiotlb(self) -> None:
        """Take the bounce buffer, a smaller one if need be, and its tables."""
        caller = "swiotlb_init_remap"
        nr_areas = 1 << (self.nr_possible_cpus - 1).bit_length()
        slabs = max(self._swiotlb_slabs(), _SEGMENT_SLABS * nr_areas)
        slabs = 1 << (slabs - 1).bit_length()
        while True:
            nr_bytes = slabs << _SLAB_SHIFT
            at = self.memblock.alloc(nr_bytes, align=PAGE_SIZE, end=_LOW_LIMIT, caller=caller)
            if at is not None:
                break
            if nr_bytes <= _SWIOTLB_LEAST:
                return
            slabs = -(-(slabs >> 1) // _SEGMENT_SLABS) * _SEGMENT_SLABS
        nr_bytes = slabs * self.image.swiotlb_slot_bytes
        nr_bytes = -(-nr_bytes // PAGE_SIZE) * PAGE_SIZE
        if self.memblock.alloc(nr_bytes, align=PAGE_SIZE, caller=caller) is not None:
            self.memblock.alloc(nr_areas * self.image.swiotlb_area_bytes, caller=caller)

    def _take(self, nr_bytes: int, *, caller: str, align: int = 64) -> int:
        at = self.memblock.alloc(nr_bytes, align=align, caller=caller)
        if at is None:
            raise OutOfBootMemoryError("tables of the booting kernel", nr_bytes)
        return at


def memmap_pages(*, spanned: int, present: int) -> int:
    """Return the pages of struct page the kernel counts for a zone (calc_memmap_size)."""
    pages = present if spanned > present + (present >> 4) else spanned
    return -(-pages * DEBIAN_6_1.struct_page_bytes // PAGE_SIZE)


def _large_system_hash(nr_kernel_pages: int, *, scale: int, entries: int) -> int:
    """Return the buckets of a table: as asked for, or one for each 2^scale bytes of memory.

    Every fourfold of 64 GiB halves its share; it never exceeds 1/16 of memory.
    """
    bucket = DEBIAN_6_1.hash_bucket_bytes
    if not entries:
        pages_per_mib = MIB // PAGE_SIZE
        entries = -(-nr_kernel_pages // pages_per_mib) * pages_per_mib
        adapt = _ADAPT_SCALE_PAGES
        while adapt < entries:
            scale += 1
            adapt <<= 2
        entries = max(entries >> (scale - PAGE_SHIFT), PAGE_SIZE // bucket)
    entries = 1 << (entries - 1).bit_length()
    most = min((nr_kernel_pages << PAGE_SHIFT) // 16 // bucket, _HASH_MAX)
    return 1 << (max(min(entries, most), 1).bit_length() - 1)
