"""What is fixed when a kernel is built: one table for all its boots.

Debian's 6.1.0-56-amd64 (6.1.192-2): where its parts lie, and the sizes of its structures. Bytes.
"""

from typing import Final, NamedTuple

from mmactors.units import KIB, MIB, PAGE_SIZE

PfnRange = tuple[int, int]
"""`[start_pfn, end_pfn)`"""


class KernelImage(NamedTuple):
    """A built kernel, and what its boot loader and firmware put beside it."""

    text_start: int = 16 * MIB
    """Where it begins: CONFIG_PHYSICAL_START."""
    text_end: int = 0x1E01D32
    rodata_start: int = 0x2000000
    rodata_end: int = 0x28EB000
    data_start: int = 0x2A00000
    data_end: int = 0x2C48980
    bss_start: int = 0x3310000
    bss_end: int = 0x4400000
    brk_start: int = 0x4400000
    """Up to here text, data, init and bss; then what boot extends by the page."""
    brk_used: int = 17 * PAGE_SIZE
    image_end: int = 0x4430000
    """_end: with all of brk."""
    brk_page_tables: int = 16
    """Pages of brk for the first page tables (early_alloc_pgt_buf), its first ones."""

    real_mode_bytes: int = 28672
    node_data_bytes: int = 174208
    """pg_data_t."""
    percpu_static_bytes: int = 217088
    percpu_reserved_bytes: int = 8 * KIB
    percpu_dynamic_bytes: int = 28 * KIB
    percpu_chunk_bytes: int = 136
    """struct pcpu_chunk."""
    percpu_block_bytes: int = 32
    """struct pcpu_block_md."""
    section_bytes: int = 32
    """struct mem_section."""
    section_usage_bytes: int = 56
    struct_page_bytes: int = 64
    resource_bytes: int = 64
    firmware_map_bytes: int = 104
    nosave_bytes: int = 32
    hpet_name_bytes: int = 9
    io_apic_name_bytes: int = 11
    hash_bucket_bytes: int = 8
    log_buf_bytes: int = 128 * KIB
    """CONFIG_LOG_BUF_SHIFT 17."""
    log_cpu_bytes: int = 4 * KIB
    """CONFIG_LOG_CPU_MAX_BUF_SHIFT 12."""
    log_record_bytes: int = 32
    log_desc_bytes: int = 24
    log_info_bytes: int = 88
    swiotlb_slot_bytes: int = 24
    swiotlb_area_bytes: int = 16
    entry_area_pages: int = 59
    """struct cpu_entry_area, of each CPU."""
    entry_area_mapped_pages: int = 19
    """From its beginning to the last exception stack."""

    smp_alternatives: PfnRange = (0x3306, 0x330F)
    """Given back once it is known that one CPU stays alone, or that there are more."""
    freed: tuple[PfnRange, ...] = (
        (0x4203, 0x4400),  # decrypted bss
        (0x3044, 0x3306),  # initmem
        (0x1E02, 0x2000),  # gap between text and rodata
        (0x28EB, 0x2A00),  # gap between rodata and data
    )
    """Given back at the end of boot, in this order."""
    bios_start: int = 0x9F000
    """From here to 1 MiB the firmware says that it keeps memory."""
    mp_table: int = 0xF5BA0
    """Where the firmware has its table of processors."""
    mp_config_bytes: int = 200
    code_kib: int = 14343
    rwdata_kib: int = 2338
    rodata_kib: int = 9132
    init_kib: int = 2824
    bss_kib: int = 17344

    @property
    def kernel_end(self) -> int:
        """Where it ends, with what it uses of brk."""
        return self.brk_start + self.brk_used

    def sized(self, nr_bytes: int) -> "KernelImage":
        """Return a kernel of another size, which ends with what it uses of brk."""
        brk_used = min(self.brk_used, nr_bytes)
        return self._replace(brk_start=self.text_start + nr_bytes - brk_used, brk_used=brk_used)

    @property
    def percpu_bytes(self) -> int:
        """The part of a CPU's unit that is used."""
        return self.percpu_static_bytes + self.percpu_reserved_bytes + self.percpu_dynamic_bytes


KERNEL_IMAGE_BYTES: Final = 0x3411000
"""Text, rodata, data, init, bss, decrypted bss and the part of brk in use."""
INITRAMFS_BYTES: Final = 1072 * KIB
DEBIAN_6_1: Final = KernelImage()
