"""Protection keys of areas (arch/x86/mm/pkeys.c, arch/x86/include/asm/pkeys.h, Linux 6.1).

Each area has one of 16 keys, which stands in its flags and in its entries: 0 for nearly all. One
the kernel takes by itself, for memory that may be executed only: the CPU then refuses to read and
write it. Left out: pkey_alloc, pkey_free, pkey_mprotect and WRPKRU. So PKRU is always what exec
gave it (init_pkru_value), which denies data accesses by all keys but 0.
"""

from typing import Final

from attrs import evolve, frozen

from mmactors.arch.pte import PKEY_SHIFT
from mmactors.mm.area.vm_flags import ARCH_VM_PKEY_FLAGS, VM_PKEY_SHIFT

ARCH_DEFAULT_PKEY: Final = 0
ARCH_MAX_PKEY: Final = 16


@frozen(kw_only=True)
class Pkeys:
    """What an address space knows of its keys (mm_context_t); a change makes a new object."""

    allocation_map: int = 1 << ARCH_DEFAULT_PKEY
    """Bit by key: it is in use."""
    execute_only: int | None = None
    """The key of memory that may be executed only; None: there was none yet."""

    def with_execute_only(self) -> "Pkeys":
        """Return the keys with one for execute-only memory, if one is left (execute_only_pkey)."""
        if self.execute_only is not None:
            return self
        free = [key for key in range(ARCH_MAX_PKEY) if not self.allocation_map >> key & 1]
        if not free:
            return self
        return evolve(self, allocation_map=self.allocation_map | 1 << free[0], execute_only=free[0])


def vma_pkey(vm_flags: int) -> int:
    """Return the key of an area."""
    return (vm_flags & ARCH_VM_PKEY_FLAGS) >> VM_PKEY_SHIFT


def vm_pkey_flags(pkey: int) -> int:
    """Return the area flags of a key (arch_calc_vm_prot_bits)."""
    return pkey << VM_PKEY_SHIFT


def pte_pkey_flags(vm_flags: int) -> int:
    """Return the bits of a key in the entries of an area."""
    return vma_pkey(vm_flags) << PKEY_SHIFT


def arch_vma_access_permitted(vm_flags: int, *, is_fetch: bool) -> bool:
    """Say whether PKRU lets the process itself use an area; keys do not concern fetches."""
    return is_fetch or vma_pkey(vm_flags) == ARCH_DEFAULT_PKEY
