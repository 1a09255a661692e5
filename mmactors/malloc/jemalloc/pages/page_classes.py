"""Classes of sizes of extents: multiples of pages, four a doubling (jemalloc 5.3.0, sz.h, sz.c)."""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.par import LARGE_PAD
from mmactors.malloc.jemalloc.size_classes import LARGE_MAXCLASS, lg_floor
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

NR_PAGE_CLASSES: Final = 199
"""SC_NPSIZES; as a class: larger than all."""


@compiled
def page_class_of(size: int) -> int:
    """Return the smallest class of at least so many bytes (sz_psz2ind)."""
    if size > LARGE_MAXCLASS:
        return NR_PAGE_CLASSES
    if size <= 4 * PAGE_SIZE:
        return max(size - 1, 0) >> PAGE_SHIFT
    group = lg_floor(size - 1) - PAGE_SHIFT - 1
    return (group << 2) + ((size - 1 >> PAGE_SHIFT + group - 1) & 3)


@compiled
def bytes_of_class(index: int) -> int:
    """Return the bytes of a class (sz_pind2sz)."""
    if index >= NR_PAGE_CLASSES:
        return LARGE_MAXCLASS + PAGE_SIZE
    group = index >> 2
    place = (index & 3) + 1
    if group == 0:
        return place << PAGE_SHIFT
    return (4 << PAGE_SHIFT + group - 1) + (place << PAGE_SHIFT + group - 1)


@compiled
def quantize_floor(par: Words, size: int) -> int:
    """Return the largest size that serves a class and is no larger (sz_psz_quantize_floor)."""
    pad = int(par[LARGE_PAD])
    index = page_class_of(size - pad + 1)
    return size if index == 0 else bytes_of_class(index - 1) + pad


@compiled
def quantize_ceil(par: Words, size: int) -> int:
    """Return the smallest size that serves a class and is no smaller (sz_psz_quantize_ceil)."""
    quantized = quantize_floor(par, size)
    if quantized < size:
        pad = int(par[LARGE_PAD])
        quantized = bytes_of_class(page_class_of(quantized - pad + 1)) + pad
    return quantized
