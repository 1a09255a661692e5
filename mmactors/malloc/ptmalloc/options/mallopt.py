"""What sets malloc's parameters: tunables at its start, then mallopt (malloc/malloc.c).

A value that is too large is not taken: mallopt returns 0 then, and a tunable goes without a word.
A negative int of mallopt's is a very large size_t, as in C.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.label import Label, Mode
from mmactors.malloc.mman import MAP_HUGE_SHIFT, MAP_HUGETLB
from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.chunk import ALIGN_MASK, MINSIZE, SIZE_SZ, request2size
from mmactors.malloc.ptmalloc.malloc_consolidate import malloc_consolidate
from mmactors.malloc.ptmalloc.malloc_par import (
    ARENA_MAX,
    ARENA_TEST,
    GLOBAL_MAX_FAST,
    HP_FLAGS,
    HP_PAGESIZE,
    MAX_FAST_SIZE,
    MMAP_THRESHOLD,
    N_MMAPS_MAX,
    NO_DYN_THRESHOLD,
    PERTURB_BYTE,
    TCACHE_BINS,
    TCACHE_COUNT,
    TCACHE_MAX_BYTES,
    TCACHE_UNSORTED_LIMIT,
    THP_PAGESIZE,
    TOP_PAD,
    TRIM_THRESHOLD,
)
from mmactors.malloc.ptmalloc.messages import check
from mmactors.malloc.ptmalloc.options.tunables import MAX_TCACHE_COUNT, MAX_TCACHE_SIZE, TUNABLES
from mmactors.malloc.ptmalloc.tcache import csize2tidx
from mmactors.malloc.request import MallocSteps
from mmactors.units import MIB, ULONG_MAX

M_MXFAST: Final = 1
M_TRIM_THRESHOLD: Final = -1
M_TOP_PAD: Final = -2
M_MMAP_THRESHOLD: Final = -3
M_MMAP_MAX: Final = -4
M_CHECK_ACTION: Final = -5
M_PERTURB: Final = -6
M_ARENA_TEST: Final = -7
M_ARENA_MAX: Final = -8

Par = NDArray[np.int64]


@frozen(kw_only=True)
class HugePages:
    """What /sys and /proc/meminfo tell a program of huge pages."""

    thp_pagesize: int = 2 * MIB
    """transparent_hugepage/hpage_pmd_size, if transparent_hugepage/enabled is madvise; else 0."""
    default_bytes: int = 2 * MIB
    """Hugepagesize; 0: there are none."""
    sizes: tuple[int, ...] = (2 * MIB,)
    """Those of /sys/kernel/mm/hugepages, in bytes."""


_Setter = Callable[[Par, int], bool]
"""Sets a parameter to a size_t and says whether it did: the do_set_ functions."""


def _signed(value: int) -> int:
    """Return a 64-bit number as an array of int64 holds it."""
    return (value & ULONG_MAX ^ 1 << 63) - (1 << 63)


def _sets(index: int, *, fixes_thresholds: bool = False) -> _Setter:
    """Make what sets a parameter to any value, and ends that frees change the thresholds."""

    def set_parameter(par: Par, value: int) -> bool:
        par[index] = _signed(value)
        if fixes_thresholds:
            par[NO_DYN_THRESHOLD] = 1
        return True

    return set_parameter


def _set_tcache_max(par: Par, value: int) -> bool:
    if value > MAX_TCACHE_SIZE:
        return False
    par[TCACHE_MAX_BYTES] = value
    par[TCACHE_BINS] = csize2tidx(request2size(value)) + 1
    return True


def _set_tcache_count(par: Par, value: int) -> bool:
    if value > MAX_TCACHE_COUNT:
        return False
    par[TCACHE_COUNT] = value
    return True


def _set_mxfast(par: Par, value: int) -> bool:
    if value > MAX_FAST_SIZE:
        return False
    is_off = value <= ALIGN_MASK - SIZE_SZ
    # What no chunk is small enough for.
    par[GLOBAL_MAX_FAST] = MINSIZE // 2 if is_off else value + SIZE_SZ & ~ALIGN_MASK
    return True


_SETTERS: Final[Mapping[str, _Setter]] = {
    "top_pad": _sets(TOP_PAD, fixes_thresholds=True),
    "perturb": _sets(PERTURB_BYTE),
    "mmap_threshold": _sets(MMAP_THRESHOLD, fixes_thresholds=True),
    "trim_threshold": _sets(TRIM_THRESHOLD, fixes_thresholds=True),
    "mmap_max": _sets(N_MMAPS_MAX, fixes_thresholds=True),
    "arena_max": _sets(ARENA_MAX),
    "arena_test": _sets(ARENA_TEST),
    "tcache_max": _set_tcache_max,
    "tcache_count": _set_tcache_count,
    "tcache_unsorted_limit": _sets(TCACHE_UNSORTED_LIMIT),
    "mxfast": _set_mxfast,
}
"""By tunable."""

_PARAMETERS: Final[Mapping[int, str]] = {
    M_MXFAST: "mxfast",
    M_TRIM_THRESHOLD: "trim_threshold",
    M_TOP_PAD: "top_pad",
    M_MMAP_THRESHOLD: "mmap_threshold",
    M_MMAP_MAX: "mmap_max",
    M_PERTURB: "perturb",
    M_ARENA_TEST: "arena_test",
    M_ARENA_MAX: "arena_max",
}
"""By parameter of mallopt the tunable of the same meaning; M_CHECK_ACTION does nothing."""


def set_tunables(par: Par, values: Mapping[str, int], huge_pages: HugePages) -> None:
    """Set what the environment says (ptmalloc_init); `values` are by name (tunables.py)."""
    for name in (tunable.name for tunable in TUNABLES if tunable.name in values):
        if name == "hugetlb":
            _set_hugetlb(par, values[name], huge_pages)
        elif name in _SETTERS:
            _SETTERS[name](par, values[name])


def _set_hugetlb(par: Par, value: int, huge_pages: HugePages) -> None:
    """Let memory be asked for in huge pages: 1: THP; 2: of hugetlbfs; else such of a size."""
    if value == 1:
        par[THP_PAGESIZE] = huge_pages.thp_pagesize
    elif value >= 2:
        size = huge_pages.default_bytes if value == 2 else value
        if size and (value == 2 or size in huge_pages.sizes):
            par[HP_PAGESIZE] = size
            par[HP_FLAGS] = MAP_HUGETLB | size.bit_length() - 1 << MAP_HUGE_SHIFT


def mallopt(arenas: Arenas, parameter: int, value: int) -> MallocSteps[int]:
    """Set a parameter to an int; return 0 if malloc does not take it, 1 if so or if it is unknown.

    The main arena's fastbins are emptied first, as the largest size in them may change.
    """
    main = arenas.main_arena
    yield arenas.lock(main)
    if arenas.wants_step():
        yield Label("empty the fastbins", arenas.touches_all_of(main, Mode.WRITE))
    check(malloc_consolidate(arenas.words.words, arenas.words.log, main))
    is_taken = True
    name = _PARAMETERS.get(parameter)
    if name is not None and (value > 0 or name not in {"arena_max", "arena_test"}):
        is_taken = _SETTERS[name](arenas.par, value & ULONG_MAX)
    yield arenas.unlock(main)
    return int(is_taken)
