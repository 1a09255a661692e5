"""Names of flags and of reasons, as the kernel's tracing prints them (v6.1).

The order of a table matters: what is named first is taken away before the rest is looked at, so
compound names stand before their parts (include/trace/events/mmflags.h).
"""

from typing import Final

from mmactors.mm.page_alloc import gfp

Names = tuple[tuple[int, str], ...]
"""Masks or values, and how they are called."""

GFP_NAMES: Final[Names] = (
    (gfp.GFP_TRANSHUGE, "GFP_TRANSHUGE"),
    (gfp.GFP_TRANSHUGE_LIGHT, "GFP_TRANSHUGE_LIGHT"),
    (gfp.GFP_HIGHUSER_MOVABLE, "GFP_HIGHUSER_MOVABLE"),
    (gfp.GFP_HIGHUSER, "GFP_HIGHUSER"),
    (gfp.GFP_USER, "GFP_USER"),
    (gfp.GFP_KERNEL_ACCOUNT, "GFP_KERNEL_ACCOUNT"),
    (gfp.GFP_KERNEL, "GFP_KERNEL"),
    (gfp.GFP_NOFS, "GFP_NOFS"),
    (gfp.GFP_ATOMIC, "GFP_ATOMIC"),
    (gfp.GFP_NOIO, "GFP_NOIO"),
    (gfp.GFP_NOWAIT, "GFP_NOWAIT"),
    (gfp.GFP_DMA, "GFP_DMA"),
    (gfp.GFP_HIGHMEM, "__GFP_HIGHMEM"),
    (gfp.GFP_DMA32, "GFP_DMA32"),
    (gfp.GFP_HIGH, "__GFP_HIGH"),
    (gfp.GFP_ATOMIC_BIT, "__GFP_ATOMIC"),
    (gfp.GFP_IO, "__GFP_IO"),
    (gfp.GFP_FS, "__GFP_FS"),
    (gfp.GFP_NOWARN, "__GFP_NOWARN"),
    (gfp.GFP_RETRY_MAYFAIL, "__GFP_RETRY_MAYFAIL"),
    (gfp.GFP_NOFAIL, "__GFP_NOFAIL"),
    (gfp.GFP_NORETRY, "__GFP_NORETRY"),
    (gfp.GFP_COMP, "__GFP_COMP"),
    (gfp.GFP_ZERO, "__GFP_ZERO"),
    (gfp.GFP_NOMEMALLOC, "__GFP_NOMEMALLOC"),
    (gfp.GFP_MEMALLOC, "__GFP_MEMALLOC"),
    (gfp.GFP_HARDWALL, "__GFP_HARDWALL"),
    (gfp.GFP_THISNODE, "__GFP_THISNODE"),
    (gfp.GFP_RECLAIMABLE, "__GFP_RECLAIMABLE"),
    (gfp.GFP_MOVABLE, "__GFP_MOVABLE"),
    (gfp.GFP_ACCOUNT, "__GFP_ACCOUNT"),
    (gfp.GFP_WRITE, "__GFP_WRITE"),
    (gfp.GFP_RECLAIM, "__GFP_RECLAIM"),
    (gfp.GFP_DIRECT_RECLAIM, "__GFP_DIRECT_RECLAIM"),
    (gfp.GFP_KSWAPD_RECLAIM, "__GFP_KSWAPD_RECLAIM"),
    (0x800000, "__GFP_ZEROTAGS"),
)
"""__def_gfpflag_names of include/trace/events/mmflags.h."""
TLB_FLUSH_REASONS: Final[Names] = (
    (0, "flush on task switch"),
    (1, "remote shootdown"),
    (2, "local shootdown"),
    (3, "local mm shootdown"),
    (4, "remote ipi send"),
)
"""TLB_FLUSH_REASON of include/trace/events/tlb.h."""
CONTENTION_FLAGS: Final[Names] = (
    (1, "SPIN"),
    (2, "READ"),
    (4, "WRITE"),
    (8, "RT"),
    (16, "PERCPU"),
    (32, "MUTEX"),
)
"""LCB_F_ of include/trace/events/lock.h."""
PF_WRITE: Final = 2
PF_INSTR: Final = 16
"""Bits of an error code of a page fault (arch/x86/include/asm/trap_pf.h)."""
TASK_STATES: Final[Names] = (
    (0x01, "S"),
    (0x02, "D"),
    (0x04, "T"),
    (0x08, "t"),
    (0x10, "X"),
    (0x20, "Z"),
    (0x40, "P"),
    (0x80, "I"),
)
"""What a thread that leaves its CPU is (include/trace/events/sched.h)."""
TASK_STATE_MAX: Final = 0x100
"""It was preempted: it could run on."""


def flag_names(flags: int, names: Names) -> str:
    """Return the names of all flags that are set, the rest as a number (trace_print_flags_seq)."""
    found = []
    for mask, name in names:
        if flags and flags & mask == mask:
            found.append(name)
            flags &= ~mask
    if flags:
        found.append(f"0x{flags:x}")
    return "|".join(found)


def symbol_name(value: int, names: Names) -> str:
    """Return the name of a value, or the value (trace_print_symbols_seq)."""
    return next((name for known, name in names if known == value), f"0x{value:x}")


def gfp_names(flags: int) -> str:
    """Return the text of gfp flags (show_gfp_flags)."""
    return flag_names(flags, GFP_NAMES) if flags else "none"


def task_state(state: int) -> str:
    """Return the letters of a state that a thread leaves its CPU in; `+`: preempted."""
    letters = flag_names(state & (TASK_STATE_MAX - 1), TASK_STATES) or "R"
    return f"{letters}+" if state & TASK_STATE_MAX else letters
