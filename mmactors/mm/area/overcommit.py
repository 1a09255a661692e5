"""How much memory may be promised: Committed_AS and CommitLimit (mm/util.c, Linux 6.1).

Committed_AS is a counter that each CPU changes for itself, up to a batch. A check reads what was
brought together so far, so that it lags; /proc/meminfo sums all parts. Setting mode 2 brings all
together. Left out: memory hotplug, which adapts the reserves.

Invariant: the exact sum is the number of pages of all areas with VM_ACCOUNT, and of the shared
memory objects without VM_NORESERVE.
"""

import errno
from typing import Any, Final

from attrs import define, field, frozen

from mmactors.units import KIB, PAGE_SIZE

OVERCOMMIT_GUESS: Final = 0
OVERCOMMIT_ALWAYS: Final = 1
OVERCOMMIT_NEVER: Final = 2

_MIN_BATCH: Final = 32
_PAGE_KIB: Final = PAGE_SIZE // KIB


@frozen(kw_only=True)
class OvercommitPolicy:
    """The sysctls of /proc/sys/vm."""

    memory: int = OVERCOMMIT_GUESS
    """overcommit_memory: 0 guess, 1 always, 2 never."""
    ratio: int = 50
    """overcommit_ratio: percent of RAM."""
    kbytes: int = 0
    """overcommit_kbytes: this many KiB in place of the ratio; 0: the ratio."""
    user_reserve_kbytes: int = 128 * KIB
    """user_reserve_kbytes: at most so many KiB are kept from a process that is large itself."""
    admin_reserve_kbytes: int = 8 * KIB
    """admin_reserve_kbytes: kept from processes without CAP_SYS_ADMIN."""


@define(eq=False, kw_only=True)
class Overcommit:
    """What a machine has promised, in pages; all address spaces share it."""

    totalram_pages: int | None = None
    """None: there is no limit to what is there."""
    total_swap_pages: int = 0
    hugetlb_total_pages: int = 0
    nr_cpus: int = 1
    policy: OvercommitPolicy = field(factory=OvercommitPolicy)
    _together: int = field(default=0, init=False)
    """The shared count, which checks read."""
    _parts: list[int] = field(init=False)
    """By CPU: what was not brought together yet."""
    _batch: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._parts = [0] * self.nr_cpus
        self._batch = self._mm_compute_batch()

    @property
    def committed(self) -> int:
        """Committed_AS, exact (vm_memory_committed)."""
        return self._together + sum(self._parts)

    def set_committed(self, nr_pages: int) -> None:
        """Begin with `nr_pages` promised, all brought together."""
        self._together = nr_pages
        self._parts = [0] * self.nr_cpus

    def set_policy(self, policy: OvercommitPolicy) -> None:
        """Obey other sysctls from now on (overcommit_policy_handler)."""
        self.policy = policy
        self._batch = self._mm_compute_batch()
        if policy.memory == OVERCOMMIT_NEVER:
            self.set_committed(self.committed)

    def vm_commit_limit(self) -> int:
        """Return CommitLimit."""
        if self.policy.kbytes:
            allowed = self.policy.kbytes // _PAGE_KIB
        else:
            ram = (self.totalram_pages or 0) - self.hugetlb_total_pages
            allowed = ram * self.policy.ratio // 100
        return allowed + self.total_swap_pages

    def vm_acct_memory(self, nr_pages: int, *, cpu: int = 0) -> None:
        """Promise pages without asking; a negative number takes a promise back."""
        part = self._parts[cpu] + nr_pages
        if abs(part) >= self._batch:
            self._together += part
            part = 0
        self._parts[cpu] = part

    def vm_enough_memory(
        self, nr_pages: int, *, total_vm: int, is_admin: bool = True, cpu: int = 0
    ) -> int:
        """Promise `nr_pages` to an address space of `total_vm` pages; return 0 or -ENOMEM."""
        self.vm_acct_memory(nr_pages, cpu=cpu)
        if self._is_enough(nr_pages, total_vm=total_vm, is_admin=is_admin):
            return 0
        self.vm_acct_memory(-nr_pages, cpu=cpu)
        return -errno.ENOMEM

    def snapshot(self) -> tuple[Any, ...]:
        """Return all state."""
        return self.policy, self._batch, self._together, tuple(self._parts)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Put back what `snapshot` returned."""
        self.policy, self._batch, self._together, parts = snapshot
        self._parts[:] = parts

    def _is_enough(self, nr_pages: int, *, total_vm: int, is_admin: bool) -> bool:
        policy = self.policy
        if policy.memory == OVERCOMMIT_ALWAYS:
            return True
        if policy.memory == OVERCOMMIT_GUESS:
            ram = self.totalram_pages
            return ram is None or nr_pages <= ram + self.total_swap_pages
        allowed = self.vm_commit_limit()
        if not is_admin:
            allowed -= policy.admin_reserve_kbytes // _PAGE_KIB
        allowed -= min(total_vm // 32, policy.user_reserve_kbytes // _PAGE_KIB)
        return max(0, self._together) < allowed

    def _mm_compute_batch(self) -> int:
        share = (self.totalram_pages or 0) // self.nr_cpus
        by_memory = share // (256 if self.policy.memory == OVERCOMMIT_NEVER else 4)
        return max(by_memory, self.nr_cpus * 2, _MIN_BATCH)
