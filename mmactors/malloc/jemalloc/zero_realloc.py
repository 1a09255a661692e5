"""How often a program calls realloc with a size of 0 for a block (jemalloc 5.3.0, jemalloc.c)."""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.par import DATA_AT
from mmactors.malloc.jemalloc.statics import ZERO_REALLOCS
from mmactors.malloc.user_words import add_to


@compiled
def count_zero_realloc(words: Words, log: Words, par: Words) -> None:
    """Count a call (do_realloc_nonnull_zero)."""
    add_to(words, log, int(par[DATA_AT]) + ZERO_REALLOCS, 1)
