"""How much memory may be promised: Committed_AS and CommitLimit (mm/util.c, Linux 6.1).

Committed_AS is a counter that each CPU changes for itself, up to a batch. A check reads what was
brought together so far, so that it lags; /proc/meminfo sums all parts. Setting mode 2 brings all
together. Left out: memory hotplug, which adapts the reserves.

Invariant: the exact sum is the number of pages of all areas with VM_ACCOUNT, of what shared memory
has promised (`Mapping.nr_accounted`), and of what 6.1 forgets to take back (`nr_forgotten`).
"""

import errno
from collections.abc import Callable, Hashable
from typing import Any, Final

from attrs import define, evolve, field, frozen

from mmactors.label import Mode
from mmactors.option import option
from mmactors.units import KIB, PAGE_SIZE

OVERCOMMIT_GUESS: Final = 0
OVERCOMMIT_ALWAYS: Final = 1
OVERCOMMIT_NEVER: Final = 2

_MIN_BATCH: Final = 32
_RESERVE_SHARE: Final = 32
_INT_MAX: Final = (1 << 31) - 1
_INT64_MAX: Final = (1 << 63) - 1
_ULONG_MAX: Final = (1 << 64) - 1
_PAGE_KIB: Final = PAGE_SIZE // KIB


def _first_cpu() -> int:
    """Answer for machines with one CPU."""
    return 0


def _nobody_asks(_mode: Mode) -> None:
    """Answer for machines on which nobody asks who touches the count."""


@frozen(kw_only=True)
class OvercommitPolicy:
    """The sysctls of /proc/sys/vm that say how much may be promised."""

    memory: int = option(
        OVERCOMMIT_GUESS,
        doc="vm.overcommit_memory: 0 refuses what is obviously too much, 1 nothing, 2 what "
        "exceeds CommitLimit.",
        minimum=OVERCOMMIT_GUESS,
        maximum=OVERCOMMIT_NEVER,
    )
    ratio: int = option(
        50,
        doc="vm.overcommit_ratio: percent of RAM that count towards CommitLimit.",
        minimum=0,
        maximum=_INT_MAX,
    )
    kbytes: int = option(
        0,
        doc="vm.overcommit_kbytes: so many KiB in place of the ratio; 0: the ratio.",
        minimum=0,
        maximum=_INT64_MAX,
    )
    user_reserve_kbytes: int | None = option(
        None,
        doc="vm.user_reserve_kbytes: at most so many KiB are kept from a process that is large "
        "itself. Default: what boot computes, 1/32 of free memory, at most 128 MiB.",
        minimum=0,
        maximum=_INT64_MAX,
    )
    admin_reserve_kbytes: int | None = option(
        None,
        doc="vm.admin_reserve_kbytes: KiB kept from processes without CAP_SYS_ADMIN. Default: "
        "what boot computes, 1/32 of free memory, at most 8 MiB.",
        minimum=0,
        maximum=_INT64_MAX,
    )

    def after_boot(self, free_pages: int) -> "OvercommitPolicy":
        """Return it with the reserves that boot computes (init_user_reserve, mm/mmap.c)."""
        by_memory = free_pages * _PAGE_KIB // _RESERVE_SHARE
        user, admin = self.user_reserve_kbytes, self.admin_reserve_kbytes
        return evolve(
            self,
            user_reserve_kbytes=min(by_memory, 128 * KIB) if user is None else user,
            admin_reserve_kbytes=min(by_memory, 8 * KIB) if admin is None else admin,
        )


@define(eq=False, kw_only=True)
class Overcommit:
    """What a machine has promised, in pages; all address spaces share it."""

    totalram_pages: int | None = None
    """None: there is no limit to what is there."""
    total_swap_pages: int = 0
    hugetlb_total_pages: int = 0
    nr_cpus: int = 1
    smp_processor_id: Callable[[], int] = _first_cpu
    """Says which CPU counts."""
    touch: Callable[[Mode], None] = _nobody_asks
    """Told how the running step touches the count (label.VM_COMMITTED_AS)."""
    policy: OvercommitPolicy = field(factory=OvercommitPolicy)
    _together: int = field(default=0, init=False)
    """The shared count, which checks read."""
    _parts: list[int] = field(init=False)
    """By CPU: what was not brought together yet."""
    nr_forgotten: int = field(default=0, init=False)
    """Promises that nobody will take back: see `forget`."""
    _batch: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._parts = [0] * self.nr_cpus
        self._batch = self._mm_compute_batch()

    @property
    def committed(self) -> int:
        """Committed_AS, exact (vm_memory_committed)."""
        return self._together + sum(self._parts)

    def key(self) -> Hashable:
        """Return what later checks depend on: the parts only matter where somebody compares."""
        if self.policy.memory == OVERCOMMIT_NEVER:
            return (self.policy, self._together, tuple(self._parts))
        return (self.policy, self.committed)

    def set_committed(self, nr_pages: int) -> None:
        """Begin with `nr_pages` promised, all brought together."""
        self._together = nr_pages
        self._parts = [0] * self.nr_cpus

    def set_reserve(self, *, user_reserve_kbytes: int) -> None:
        """Keep so many KiB from processes that are large themselves."""
        self.policy = evolve(self.policy, user_reserve_kbytes=user_reserve_kbytes)

    def set_policy(self, policy: OvercommitPolicy) -> None:
        """Obey other sysctls from now on."""
        self.touch(Mode.WRITE)
        self.policy = policy

    def set_mode(self, mode: int) -> None:
        """Do what a write to overcommit_memory does, also of the same value.

        Another mode has another batch; before mode 2 all parts are brought together
        (overcommit_policy_handler, mm_compute_batch, sync_overcommit_as).
        """
        self.set_policy(evolve(self.policy, memory=mode))
        self._batch = self._mm_compute_batch()
        if mode == OVERCOMMIT_NEVER:
            self.set_committed(self.committed)

    def forget(self, nr_pages: int) -> None:
        """Note promises that 6.1 loses sight of: they stay in Committed_AS for ever.

        Growth of a stack that is not VM_ACCOUNT (acct_stack_growth asks always), and a move that
        failed halfway, whose new area is unmapped with VM_ACCOUNT concealed (move_vma).
        """
        self.nr_forgotten += nr_pages

    def set_totalram(self, nr_pages: int) -> None:
        """Have other memory from now on: some came online or went (mm_compute_batch_notifier)."""
        self.totalram_pages = nr_pages
        self._batch = self._mm_compute_batch()

    def vm_commit_limit(self) -> int:
        """Return CommitLimit."""
        if self.policy.kbytes:
            allowed = self.policy.kbytes // _PAGE_KIB
        else:
            ram = (self.totalram_pages or 0) - self.hugetlb_total_pages
            # An unsigned long in C, which a negative ratio makes huge.
            allowed = (ram * self.policy.ratio & _ULONG_MAX) // 100
        return allowed + self.total_swap_pages

    def vm_acct_memory(self, nr_pages: int) -> None:
        """Promise pages without asking; a negative number takes a promise back.

        Adds commute, but for one thing: what stays in a part and what is brought together
        depends on their order, which only mode 2 looks at.
        """
        self.touch(Mode.WRITE if self.policy.memory == OVERCOMMIT_NEVER else Mode.ADD)
        cpu = self.smp_processor_id()
        part = self._parts[cpu] + nr_pages
        if abs(part) >= self._batch:
            self._together += part
            part = 0
        self._parts[cpu] = part

    def vm_enough_memory(self, nr_pages: int, *, total_vm: int, is_admin: bool = True) -> int:
        """Promise `nr_pages` to an address space of `total_vm` pages; return 0 or -ENOMEM."""
        self.vm_acct_memory(nr_pages)
        if self._is_enough(nr_pages, total_vm=total_vm, is_admin=is_admin):
            return 0
        self.vm_acct_memory(-nr_pages)
        return -errno.ENOMEM

    def snapshot(self) -> tuple[Any, ...]:
        """Return all state."""
        return self.policy, self._batch, self._together, self.nr_forgotten, tuple(self._parts)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Put back what `snapshot` returned."""
        self.policy, self._batch, self._together, self.nr_forgotten, parts = snapshot
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
            allowed -= (policy.admin_reserve_kbytes or 0) // _PAGE_KIB
        allowed -= min(total_vm // 32, (policy.user_reserve_kbytes or 0) // _PAGE_KIB)
        return max(0, self._together) < allowed

    def _mm_compute_batch(self) -> int:
        share = (self.totalram_pages or 0) // self.nr_cpus
        by_memory = share // (256 if self.policy.memory == OVERCOMMIT_NEVER else 4)
        return max(by_memory, self.nr_cpus * 2, _MIN_BATCH)
