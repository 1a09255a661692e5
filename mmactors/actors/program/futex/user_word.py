"""Words of 32 bits in a program's memory, as its threads and the kernel access them.

An access of a word goes through TLBs, caches and page faults like any other; at the moment at which
it is done it reads or changes what stands there (arch/frame_words.py), so that a locked instruction
is one step. A plain store may wait in the store buffer of its CPU where a search lets it.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from mmactors.actors.program.thread import UserThread
from mmactors.actors.program.uaccess import copy_from_user_atomic
from mmactors.actors.program.user_access import signal_beyond
from mmactors.arch.frame_words import WORD_BYTES
from mmactors.arch.pte import pte_pfn
from mmactors.arch.trace import LOAD, MODIFY, SIZE_SHIFT, STORE, Trace, as_signed
from mmactors.label import data
from mmactors.units import PAGE_MASK, PAGE_SIZE

_META: Final = {
    kind: np.array([kind | WORD_BYTES << SIZE_SHIFT], np.int64) for kind in (LOAD, STORE, MODIFY)
}


async def load_word(thread: UserThread, address: int) -> int | None:
    """Load a word; return it, None: a signal has come instead."""
    return await _access(thread, address, LOAD, lambda _: None)


async def store_word(thread: UserThread, address: int, value: int) -> int | None:
    """Store a word without any barrier; return what it was, None: a signal has come instead."""
    return await _access(thread, address, STORE, lambda _: value)


async def change_word(thread: UserThread, address: int, change: Callable[[int], int]) -> int | None:
    """Let a word be what `change` makes of it, in one locked instruction.

    Return what it was, None: a signal has come instead.
    """
    return await _access(thread, address, MODIFY, change)


async def get_word_nofault(thread: UserThread, address: int) -> int | None:
    """Read an aligned word for the kernel; None: its page is not there, and no fault is served."""
    if not await copy_from_user_atomic(thread, address):
        return None
    return _read(thread, _parts(thread, address))


async def _access(
    thread: UserThread, address: int, kind: int, change: Callable[[int], int | None]
) -> int | None:
    """Access a word; where `change` makes a value of it, that is stored."""
    seen: int | None = None

    def reach() -> None:
        nonlocal seen
        parts = _parts(thread, address)
        seen = _read(thread, parts)
        value = change(seen)
        if value is not None:
            _write(thread, parts, value, is_locked=kind == MODIFY)

    canonical_end = thread.space.mm.task_size + PAGE_SIZE
    if address + WORD_BYTES > canonical_end:
        if not thread.must_end:
            thread.receive_signal(signal_beyond(as_signed(address), canonical_end))
        return None
    trace = Trace(address=np.array([address], np.int64), meta=_META[kind])
    await thread.access(trace, reach)
    return seen


Part = tuple[int, int, int]
"""Page, offset and bytes of a part of a word."""


def _read(thread: UserThread, parts: list[Part]) -> int:
    """Return what a word holds."""
    words = thread.process.kernel.frame_words
    value = shift = 0
    for pfn, offset, nr_bytes in parts:
        value |= words.load(pfn, offset, nr_bytes) << shift
        shift += 8 * nr_bytes
    return value


def _write(thread: UserThread, parts: list[Part], value: int, *, is_locked: bool) -> None:
    """Let a word hold a value; without a lock its CPU may keep it in its store buffer."""
    kernel = thread.process.kernel
    for pfn, offset, nr_bytes in parts:
        if is_locked:
            kernel.frame_words.store(pfn, offset, value, nr_bytes)
        else:
            store = partial(kernel.frame_words.store, pfn, offset, value, nr_bytes)
            kernel.engine.store(data(pfn), store)
        value >>= 8 * nr_bytes


def _parts(thread: UserThread, address: int) -> list[Part]:
    """Return the parts of the word that the thread's CPU has just accessed: mostly one."""
    left = WORD_BYTES
    hardware = thread.process.kernel.hardware
    parts = []
    for start, entry in hardware.last_translations(thread.cpu.index, address, WORD_BYTES):
        offset = start & ~PAGE_MASK
        nr_bytes = min(left, PAGE_SIZE - offset)
        parts.append((pte_pfn(entry), offset, nr_bytes))
        left -= nr_bytes
    return parts
