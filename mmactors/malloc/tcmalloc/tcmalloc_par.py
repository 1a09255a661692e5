"""The parameters of a process's tcmalloc: what it is set to, and static variables of no account.

They are one array, which compiled steps read. No accesses are noted: these variables are set once,
or lie with what only the system allocator uses, under the page heap's lock.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.malloc.tcmalloc.layout import PAGE_SHIFT
from mmactors.malloc.tcmalloc.options.settings import Settings

DATA_AT: Final = 0
"""Where the library's writable data lies (layout.py)."""
RELEASE_MANTISSA: Final = 1
"""Pages freed before memory is released again, for each that was: a double, as a whole number..."""
RELEASE_EXPONENT: Final = 2
"""... and a power of two. A mantissa of 0: nothing is ever released."""
HEAP_LIMIT_PAGES: Final = 3
"""TCMALLOC_HEAP_LIMIT_MB, in pages of 8 KiB; 0: no limit."""
SKIP_SBRK: Final = 4
SKIP_MMAP: Final = 5
DISABLE_RELEASE: Final = 6
"""TCMALLOC_DISABLE_MEMORY_RELEASE."""
AGGRESSIVE: Final = 7
"""TCMALLOC_AGGRESSIVE_DECOMMIT, which the page heap takes over when it begins."""
TRANSFER_NUM_OBJ: Final = 8
OVERALL_CACHE_BYTES: Final = 9
"""TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES as it was set; 0: not."""

CURBRK: Final = 16
"""Where the C library takes the program break to be (__curbrk); 0: it has not asked yet."""
SBRK_FAILED: Final = 17
MMAP_FAILED: Final = 18
SYSTEM_TAKEN: Final = 19
"""TCMalloc_SystemTaken, bytes."""
METADATA_AT: Final = 20
METADATA_AVAIL: Final = 21
METADATA_BYTES: Final = 22
"""metadata_system_bytes_."""
IS_INITIALIZED: Final = 23
"""phinited: the module is (ThreadCache::InitModule)."""
TSD_INITED: Final = 24
"""Threads find their caches in variables of their own."""
IS_STARTED: Final = 25
"""The process's own start has used the heap, before main()."""
NR_PARAMETERS: Final = 32

_DOUBLE_BITS: Final = 53
RELEASE_RATE_LEAST: Final = 1e-6
PAGES_PER_RATE: Final = 1000.0
MAX_RELEASE_DELAY: Final = 1 << 20
DEFAULT_RELEASE_DELAY: Final = 1 << 18
MAX_THREAD_CACHE_SIZE: Final = 4 << 20
MIN_THREAD_CACHE_SIZE: Final = 512 * 1024
DEFAULT_OVERALL_CACHE_SIZE: Final = 8 * MAX_THREAD_CACHE_SIZE
STEAL_AMOUNT: Final = 1 << 16


def tcmalloc_par(*, data_at: int, settings: Settings) -> NDArray[np.int64]:
    """Return the parameters of a process before the library's constructors have run.

    Until then only what is read with the first block is set: no memory is released.
    """
    par = np.zeros(NR_PARAMETERS, dtype=np.int64)
    par[DATA_AT] = data_at
    par[TRANSFER_NUM_OBJ] = settings.transfer_num_obj
    par[AGGRESSIVE] = settings.aggressive_decommit
    par[OVERALL_CACHE_BYTES] = settings.max_total_thread_cache_bytes or 0
    return par


def set_at_construction(par: NDArray[np.int64], settings: Settings) -> None:
    """Set what the library's constructors read from the environment (its flags)."""
    par[HEAP_LIMIT_PAGES] = max(settings.heap_limit_mb, 0) << 20 - PAGE_SHIFT
    par[SKIP_SBRK] = settings.skip_sbrk
    par[SKIP_MMAP] = settings.skip_mmap
    par[DISABLE_RELEASE] = not settings.releases
    if settings.release_rate > RELEASE_RATE_LEAST:
        mantissa, exponent = math.frexp(PAGES_PER_RATE / settings.release_rate)
        par[RELEASE_MANTISSA] = int(mantissa * (1 << _DOUBLE_BITS))
        par[RELEASE_EXPONENT] = exponent - _DOUBLE_BITS
