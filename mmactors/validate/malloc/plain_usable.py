"""Usable sizes of blocks that are no larger than they must be, which recordings leave out.

Rules of tests/reference/malloc/README.md: glibc's chunks; of the others the smallest class that is
large enough.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.malloc.config import JEMALLOC, TCMALLOC

_TC_ALIGNMENT: Final = 8
_TC_PAGE: Final = 8192
_TC_MAX_SIZE: Final = 256 * 1024
_JE_LARGEST: Final = 1 << 62


def plain_usable(library: str, size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the usable size of blocks of so many bytes."""
    usable: NDArray[np.int64]
    if library == TCMALLOC:
        classes = tcmalloc_classes()
        nth = np.minimum(np.searchsorted(classes, size), len(classes) - 1)
        pages = (size + _TC_PAGE - 1) & -_TC_PAGE
        usable = np.where((size >= 0) & (size <= _TC_MAX_SIZE), classes[nth], pages)
    elif library == JEMALLOC:
        classes = jemalloc_classes()
        nth = np.minimum(np.searchsorted(classes, size), len(classes) - 1)
        usable = classes[nth]
    else:
        usable = np.maximum((size + 23) & ~15, 32) - 8
    return usable


def jemalloc_classes() -> NDArray[np.int64]:
    """Return the classes of jemalloc: 8, multiples of 16 to 64, then four a doubling."""
    classes = [8, 16, 32, 48, 64]
    while classes[-1] < _JE_LARGEST:
        step = classes[-1] // 4
        classes += [classes[-1] + step * nth for nth in (1, 2, 3, 4)]
    return np.array(classes, np.int64)


def tcmalloc_classes() -> NDArray[np.int64]:
    """Return the classes of tcmalloc (SizeMap::Init of gperftools 2.10), up to 256 KiB.

    A size is one if a span of as few pages as waste no more than an eighth, and have blocks enough
    to be moved a quarter at a time, has not as many blocks of a larger one.
    """
    classes: list[int] = []
    spans: list[int] = []
    size = _TC_ALIGNMENT
    while size <= _TC_MAX_SIZE:
        span = _tcmalloc_span(size)
        if classes and span == spans[-1] and span // size == span // classes[-1]:
            classes[-1] = size
        else:
            classes.append(size)
            spans.append(span)
        size += _tcmalloc_alignment(size)
    return np.array(classes, np.int64)


def _tcmalloc_span(size: int) -> int:
    moved = max(2, min(32, 64 * 1024 // size)) // 4
    span = 0
    while True:
        span += _TC_PAGE
        while span % size > span >> 3:
            span += _TC_PAGE
        if span // size >= moved:
            return span


def _tcmalloc_alignment(size: int) -> int:
    if size > _TC_MAX_SIZE:
        return _TC_PAGE
    if size >= 128:
        return min((1 << size.bit_length() - 1) // 8, _TC_PAGE)
    return 16 if size >= 16 else _TC_ALIGNMENT
