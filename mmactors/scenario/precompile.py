"""The first machine ever compiles for several seconds; two processes share the work.

`python -m mmactors.scenario.precompile` compiles the translation of addresses and the page
allocator, which then are on disk. The machine's own process meanwhile compiles the caches; what
joins all of it is compiled when it first runs.
"""

import subprocess
import sys
from typing import Final

import numpy as np

from mmactors.arch.arena import Arena
from mmactors.arch.jit import is_cached, precompile
from mmactors.arch.page import PageColumns
from mmactors.hw.private import reference_code, reference_data, reference_one_miss
from mmactors.hw.translate import translate
from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.gfp import GFP_HIGHUSER_MOVABLE
from mmactors.units import MIB

_WORDS: Final = np.zeros(1, np.int64)
_GENERATION: Final = np.zeros(1, np.int32)
_NR_PAGES: Final = 512


def precompile_machine() -> None:
    """Compile most of what a machine needs, on two processors, if that was never done here."""
    if is_cached(translate):
        return
    command = [sys.executable, "-m", __name__]
    # S603: the command is our own module under our own interpreter.
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ):
        precompile(reference_data, _WORDS, 0, 0, 0, False)
        precompile(reference_code, _WORDS, 0, 0)
        precompile(reference_one_miss, _WORDS, 0, 0, 0, 0, 0)


def _main() -> None:
    precompile(translate, _WORDS, _WORDS, _GENERATION, None, 0, 0, 0, 0, 0, False)
    _allocate_and_free()


def _allocate_and_free() -> None:
    layout = boot_memory(MemoryConfig(size=128 * MIB), 1)
    arena = Arena()
    allocator = PageAllocator.of_layout(layout, 1, arena, PageColumns(arena, layout.nr_frames))
    # So many that freeing them drains the CPU's list.
    steps = (allocator.alloc_pages(0, 0, GFP_HIGHUSER_MOVABLE) for _ in range(_NR_PAGES))
    pfns = [pfn for pfn in map(allocator.perform, steps) if pfn is not None]
    allocator.perform(allocator.free_page_list(0, pfns))


if __name__ == "__main__":
    _main()
