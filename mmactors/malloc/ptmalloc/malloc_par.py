"""The parameters of a process's malloc (malloc_par and malloc's static variables, malloc/malloc.c).

They are one array, which compiled paths read; what they hand back besides their result is in its
last places, to be read at once. These variables lie in libc's own data: no accesses are noted.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.malloc.ptmalloc.chunk import SIZE_SZ

TRIM_THRESHOLD: Final = 0
TOP_PAD: Final = 1
MMAP_THRESHOLD: Final = 2
ARENA_TEST: Final = 3
ARENA_MAX: Final = 4
THP_PAGESIZE: Final = 5
HP_PAGESIZE: Final = 6
HP_FLAGS: Final = 7
N_MMAPS: Final = 8
N_MMAPS_MAX: Final = 9
MAX_N_MMAPS: Final = 10
NO_DYN_THRESHOLD: Final = 11
MMAPPED_MEM: Final = 12
MAX_MMAPPED_MEM: Final = 13
SBRK_BASE: Final = 14
TCACHE_BINS: Final = 15
TCACHE_MAX_BYTES: Final = 16
TCACHE_COUNT: Final = 17
TCACHE_UNSORTED_LIMIT: Final = 18
GLOBAL_MAX_FAST: Final = 19
PERTURB_BYTE: Final = 20
TCACHE_KEY: Final = 21
MAIN_ARENA: Final = 22
"""The address of main_arena."""
SINGLE_THREAD: Final = 23
"""1: the process never had a second thread (SINGLE_THREAD_P)."""
RESULT: Final = 24
"""The block that a path returns once what it asks for is done."""
OLD_TOP: Final = 25
OLD_TOP_SIZE: Final = 26
"""calloc's: the top chunk before it took memory, and the bytes of it that may be dirty."""
NR_PARAMETERS: Final = 32

DEFAULT_TRIM_THRESHOLD: Final = 128 * 1024
DEFAULT_TOP_PAD: Final = 131072
DEFAULT_MMAP_THRESHOLD: Final = 128 * 1024
DEFAULT_MMAP_THRESHOLD_MAX: Final = 4 * 1024 * 1024 * 8
DEFAULT_MMAP_MAX: Final = 65536
HEAP_MAX_SIZE: Final = 2 * DEFAULT_MMAP_THRESHOLD_MAX
TCACHE_MAX_BINS: Final = 64
TCACHE_FILL_COUNT: Final = 7
NARENAS_PER_CPU: Final = 8
MAX_FAST_SIZE: Final = 80 * SIZE_SZ // 4
DEFAULT_MXFAST: Final = 64 * SIZE_SZ // 4


def malloc_par(*, main_arena: int, tcache_key: int) -> NDArray[np.int64]:
    """Return the parameters before any was set."""
    par = np.zeros(NR_PARAMETERS, dtype=np.int64)
    par[TRIM_THRESHOLD] = DEFAULT_TRIM_THRESHOLD
    par[TOP_PAD] = DEFAULT_TOP_PAD
    par[MMAP_THRESHOLD] = DEFAULT_MMAP_THRESHOLD
    par[ARENA_TEST] = NARENAS_PER_CPU
    par[N_MMAPS_MAX] = DEFAULT_MMAP_MAX
    par[TCACHE_BINS] = TCACHE_MAX_BINS
    par[TCACHE_MAX_BYTES] = 1032
    par[TCACHE_COUNT] = TCACHE_FILL_COUNT
    par[GLOBAL_MAX_FAST] = 128
    par[TCACHE_KEY] = tcache_key
    par[MAIN_ARENA] = main_arena
    par[SINGLE_THREAD] = 1
    return par
