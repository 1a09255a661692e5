"""Changing areas one after another, as mlock and mprotect do (mm/mlock.c, mm/mprotect.c, 6.1)."""

import errno
from collections.abc import Callable, Generator
from typing import TypeVar

from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vma import Vma

R = TypeVar("R")
Fixup = Callable[[Vma, Vma | None, int, int], Generator[R, int | None, tuple[Vma, int]]]
"""Changes what of an area lies in a range, `(vma, before, start, end)`; ends with the area that it
is then, perhaps one with its neighbours, and 0 or minus the errno."""


def change_areas(
    mm: MmStruct, vma: Vma, *, start: int, end: int, fixup: Fixup[R]
) -> Generator[R, int | None, int]:
    """Let `fixup` change the areas of `[start, end)`, the first of which is `vma`; end with 0.

    Or with minus the errno: what `fixup` says, ENOMEM for a gap. Areas before that are changed.
    """
    before = vma if start > vma.vm_start else mm.tree.neighbours(vma)[0]
    position = start
    while True:
        stop = min(vma.vm_end, end)
        before, error = yield from fixup(vma, before, position, stop)
        if error:
            return error
        position = max(stop, before.vm_end)
        if position >= end:
            return 0
        following = mm.tree.find_vma(before.vm_end)
        if following is None or following.vm_start != position:
            return -errno.ENOMEM
        vma = following
