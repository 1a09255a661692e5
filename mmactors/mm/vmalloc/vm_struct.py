"""What the kernel knows of an area that is in use (struct vm_struct; Linux 6.1).

Left out: pages of higher orders (VM_ALLOW_HUGE_VMAP), VM_MAP_PUT_PAGES, the list of early areas.
"""

from typing import Final

from attrs import define, frozen

from mmactors.units import PAGE_SIZE

VM_IOREMAP: Final = 0x1
VM_ALLOC: Final = 0x2
VM_MAP: Final = 0x4
VM_USERMAP: Final = 0x8
VM_DMA_COHERENT: Final = 0x10
VM_UNINITIALIZED: Final = 0x20
VM_NO_GUARD: Final = 0x40
VM_FLUSH_RESET_PERMS: Final = 0x100

VM_STRUCT_SIZE: Final = 64
"""Bytes of its object."""


@define(eq=False, kw_only=True)
class VmStruct:
    """One area."""

    address: int
    """Signed."""
    size: int
    """Bytes, with the guard page."""
    flags: int
    caller: str | None
    """The function that asked for it."""
    thing: int
    """The address of its object."""
    pages: tuple[int, ...] | list[int] = ()
    """PFNs of the pages that are freed with it."""
    pages_address: int = 0
    """Where its array of pages lies; 0: there is none."""
    nr_pages: int = 0
    phys_addr: int = 0

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.size

    @property
    def area_size(self) -> int:
        """Bytes without the guard page (get_vm_area_size)."""
        return self.size if self.flags & VM_NO_GUARD else self.size - PAGE_SIZE


@frozen(kw_only=True)
class PcpuAreas:
    """Areas that a chunk of per-CPU memory has together."""

    vms: tuple[VmStruct, ...]
    thing: int
    """The address of the array of them."""
