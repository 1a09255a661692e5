"""A map of a heap agrees with mallinfo2, whatever was done before."""

import random

import numpy as np
import pytest
from ptmallocs import Guest

from mmactors.malloc.heap_map import KINDS
from mmactors.units import PAGE_SIZE

SIZES = (1, 24, 100, 1000, 1040, 5000, 70000, 140000, 300000)


@pytest.mark.parametrize("seed", range(4))
def test_each_byte_is_one_thing_and_free_ones_are_those_of_mallinfo2(seed):
    rng = random.Random(seed)
    guest = Guest()
    library = guest.library
    threads = [0, library.new_thread()]
    live = []
    for _ in range(300):
        thread = rng.choice(threads)
        if live and rng.random() < 0.5:
            guest.call(library.free(thread, live.pop(rng.randrange(len(live)))))
        else:
            live.append(guest.call(library.malloc(thread, rng.choice(SIZES))))
    words_before = library.words.words.copy()
    segments = library.heap_map()
    numbers = guest.call(library.mallinfo2(0))

    assert (words_before == library.words.words).all(), "a look changes nothing"
    blocks = set()
    for segment in segments:
        borders = segment.page_borders()
        pages = segment.bytes_of_pages(np.arange(borders[0], borders[-1]))
        alike = np.repeat(segment.bytes_of_pages(borders[:-1]), np.diff(borders), axis=0)
        assert (alike == pages).all(), "between two borders all pages hold the same"
        assert segment.broken_at is None
        assert pages.sum() == segment.end - segment.start
        assert (pages >= 0).all()
        assert (pages.sum(axis=1) <= PAGE_SIZE).all()
        blocks |= {chunk + 16 for chunk, _, kind in segment.chunks.tolist() if kind == 0}
    assert set(live) <= blocks
    heaps = [segment for segment in segments if segment.what != "mapped"]
    in_lists = sum(
        size
        for segment in heaps
        for _, size, kind in segment.chunks.tolist()
        if KINDS[kind] in ("free", "top")
    )
    assert numbers.fordblks - numbers.fsmblks == in_lists
    assert numbers.hblks == len(segments) - len(heaps)
