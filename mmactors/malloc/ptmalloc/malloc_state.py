"""An arena's state (malloc_state of malloc/malloc.c): where its fields are, and its begin."""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.chunk import BK, FD
from mmactors.malloc.ptmalloc.malloc_par import MAIN_ARENA
from mmactors.malloc.user_words import load_bits, load_word, store_bits, store_word

MUTEX: Final = 0
FLAGS: Final = 4
HAVE_FASTCHUNKS: Final = 8
FASTBINS: Final = 0x10
TOP: Final = 0x60
LAST_REMAINDER: Final = 0x68
BINS: Final = 0x70
BINMAP: Final = 0x860
NEXT: Final = 0x870
NEXT_FREE: Final = 0x878
ATTACHED_THREADS: Final = 0x880
SYSTEM_MEM: Final = 0x888
MAX_SYSTEM_MEM: Final = 0x890
STATE_SIZE: Final = 0x898

NONCONTIGUOUS_BIT: Final = 2
NFASTBINS: Final = 10
NBINS: Final = 128
UNSORTED: Final = 1
"""The bin of chunks that have not had their chance yet (unsorted_chunks)."""


@compiled
def bin_at(av: int, index: int) -> int:
    """Return a bin as a chunk, of which only the links exist."""
    return av + BINS + (index - 1) * 16 - FD


@compiled
def top_of(words: Words, log: Words, av: int) -> int:
    """Return the chunk at the arena's end."""
    return load_word(words, log, av + TOP)


@compiled
def set_top(words: Words, log: Words, av: int, chunk: int) -> None:
    """Let another chunk be the arena's end."""
    store_word(words, log, av + TOP, chunk)


@compiled
def system_mem_of(words: Words, log: Words, av: int) -> int:
    """Return the bytes that the arena has from the system."""
    return load_word(words, log, av + SYSTEM_MEM)


@compiled
def have_fastchunks(words: Words, log: Words, av: int) -> int:
    """Return whether fastbins may hold chunks."""
    return load_bits(words, log, av + HAVE_FASTCHUNKS, 4)


@compiled
def set_have_fastchunks(words: Words, log: Words, av: int, value: int) -> None:
    """Say whether fastbins may hold chunks."""
    store_bits(words, log, av + HAVE_FASTCHUNKS, 4, value)


@compiled
def is_contiguous(words: Words, log: Words, av: int) -> bool:
    """Return whether what sbrk gives joins what it gave before."""
    return load_bits(words, log, av + FLAGS, 4) & NONCONTIGUOUS_BIT == 0


@compiled
def set_noncontiguous(words: Words, log: Words, av: int) -> None:
    """Say that what the system gives does not join what it gave before."""
    flags = load_bits(words, log, av + FLAGS, 4)
    store_bits(words, log, av + FLAGS, 4, flags | NONCONTIGUOUS_BIT)


@compiled
def malloc_init_state(words: Words, log: Words, par: Words, av: int) -> None:
    """Make all bins of an arena empty, and its first one the top."""
    for index in range(1, NBINS):
        bin_ = bin_at(av, index)
        store_word(words, log, bin_ + FD, bin_)
        store_word(words, log, bin_ + BK, bin_)
    if av != par[MAIN_ARENA]:
        set_noncontiguous(words, log, av)
    set_have_fastchunks(words, log, av, 0)
    store_word(words, log, av + TOP, bin_at(av, UNSORTED))
