"""The words that a C library wrote into its process's memory, and which of them it touches.

User memory holds tags in this machine (docs/ARCHITECTURE.md), not bytes; what an allocator keeps
in it, headers of chunks, links of free ones, arenas, thread caches, is here, by virtual address:
64-bit words in pages of 512, found by a hash of the page's number. A page that was never written
reads 0. Of what a program writes is kept what it says the bytes of (`memset`, `store`).

All of it is one array: counters, the hash table (open addressing; a key is a page's number,
doubled, plus 1; nobody's is 0), then slots of 512 words. Compiled functions take and give back
slots; the array grows between operations only, so each begins with SPARE_SLOTS free ones, far more
than it writes new pages. Only one that a broken heap leads to a page after the other can find none:
what it writes there is lost (NR_LOST).

Accesses are noted in a second array, if it has room: address, bytes, and whether they are written.
One operation's that are more than LOG_ENTRIES are not noted.

A program may write anything over what its library keeps. So any word may be an address here, or a
length: all arithmetic is that of 64 bits (`to_word`), and walks end (`longest_walk`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.arch.trace import as_signed
from mmactors.units import PAGE_SIZE, ULONG_MAX

SLOT: Final = PAGE_SIZE // 8
"""Words in a page."""
PAGE_BITS: Final = PAGE_SIZE.bit_length() - 1
SPARE_SLOTS: Final = 64
LEAST_SLOTS: Final = 256
LOG_ENTRIES: Final = 1 << 22
"""The host commits of them what is used."""

MASK: Final = 0
"""Entries of the hash table less one: the first words of the array say how it is laid out."""
FIRST_SLOT: Final = 1
"""The place of the first slot, which is nobody's."""
NR_SLOTS: Final = 2
NR_TAKEN: Final = 3
"""How many slots were ever in use."""
FREE_SLOT: Final = 4
"""The place of a slot that was given back, whose first word says the next; 0: none."""
NR_FREE: Final = 5
NR_LOST: Final = 6
"""Writes to pages that found no slot."""
GOES_ROUND: Final = 7
"""What a library keeps of a walk that was cut short, as it would not have ended; 0: of none."""
TABLE: Final = 8

_SPREAD: Final = 0x9E37
_FILLED_AT_ONCE: Final = SPARE_SLOTS // 2 * PAGE_SIZE
"""Bytes, for which there are enough free slots."""
_CHUNK_LEAST: Final = 32
"""Bytes of the smallest chunk that a library links to others."""
_BYTES_MAX: Final = 1 << 60
"""Of one access that is noted: where there are fewer addresses, more are as many."""


@compiled
def to_word(number: int) -> int:
    """Return a sum as 64 bits with a sign: what C has of it, and what compiled code makes of it."""
    high = (number >> 32 & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000
    return high << 32 | number & 0xFFFF_FFFF


@compiled
def longest_walk(words: Words) -> int:
    """Return how many chunks there is room for: who follows more links than that goes round."""
    return int(words[NR_TAKEN]) * (PAGE_SIZE // _CHUNK_LEAST)


@compiled
def _home_of(words: Words, page: int) -> int:
    """Return where the search for a page begins: pages side by side are side by side in the table.

    Heaps begin at multiples of 64 MiB, and are spread.
    """
    return int((page + (page >> 14) * _SPREAD) & words[MASK])


@compiled
def _slot_of(words: Words, page: int) -> int:
    """Return the place of a page's words; 0: it has none."""
    mask = words[MASK]
    key = 2 * page + 1
    index = _home_of(words, page)
    while True:
        found = words[TABLE + 2 * index]
        if found == key:
            return int(words[TABLE + 2 * index + 1])
        if found == 0:
            return 0
        index = (index + 1) & mask


@compiled
def new_slot(words: Words, page: int) -> int:
    """Give a page, which has none, a slot of zeros."""
    if words[NR_FREE] == 0:
        words[NR_LOST] += 1
        return int(words[FIRST_SLOT])
    words[NR_FREE] -= 1
    slot = int(words[FREE_SLOT])
    if slot:
        words[FREE_SLOT] = words[slot]
        words[slot] = 0
    else:
        slot = int(words[FIRST_SLOT]) + SLOT * int(words[NR_TAKEN])
        words[NR_TAKEN] += 1
    mask = words[MASK]
    index = _home_of(words, page)
    while words[TABLE + 2 * index]:
        index = (index + 1) & mask
    words[TABLE + 2 * index] = 2 * page + 1
    words[TABLE + 2 * index + 1] = slot
    return slot


@compiled
def note_access(log: Words, address: int, nr_bytes: int, is_store: int) -> None:
    """Note that bytes are read (0) or written (1), if anybody wants to know.

    A negative number of them is one without sign, as memcpy takes it.
    """
    if log.shape[0]:
        end = 2 * log[0] + 1
        if end + 1 < log.shape[0]:
            if nr_bytes < 0 or nr_bytes > _BYTES_MAX:
                nr_bytes = _BYTES_MAX
            log[end] = to_word(address)
            log[end + 1] = nr_bytes << 1 | is_store
            log[0] += 1


@compiled
def peek_word(words: Words, address: int) -> int:
    """Return the word at an address, which nobody accesses."""
    slot = _slot_of(words, to_word(address) >> PAGE_BITS)
    return int(words[slot + (address >> 3 & SLOT - 1)]) if slot else 0


@compiled
def load_word(words: Words, log: Words, address: int) -> int:
    """Return the word at an address, whose low three bits do not count."""
    note_access(log, address, 8, 0)
    return peek_word(words, address)


@compiled
def store_word(words: Words, log: Words, address: int, value: int) -> None:
    """Write the word at an address."""
    note_access(log, address, 8, 1)
    page = to_word(address) >> PAGE_BITS
    slot = _slot_of(words, page)
    if not slot:
        slot = new_slot(words, page)
    words[slot + (address >> 3 & SLOT - 1)] = to_word(value)


@compiled
def add_to(words: Words, log: Words, address: int, number: int) -> None:
    """Add to the word at an address."""
    store_word(words, log, address, load_word(words, log, address) + number)


@compiled
def load_bits(words: Words, log: Words, address: int, nr_bytes: int) -> int:
    """Return a number without sign of 1, 2 or 4 bytes, within a word."""
    note_access(log, address, nr_bytes, 0)
    slot = _slot_of(words, to_word(address) >> PAGE_BITS)
    word = int(words[slot + (address >> 3 & SLOT - 1)]) if slot else 0
    return word >> (address & 7) * 8 & (1 << nr_bytes * 8) - 1


@compiled
def store_bits(words: Words, log: Words, address: int, nr_bytes: int, value: int) -> None:
    """Write a number of 1, 2 or 4 bytes, within a word."""
    note_access(log, address, nr_bytes, 1)
    page = to_word(address) >> PAGE_BITS
    slot = _slot_of(words, page)
    if not slot:
        slot = new_slot(words, page)
    place = slot + (address >> 3 & SLOT - 1)
    shift = (address & 7) * 8
    bits = (1 << nr_bytes * 8) - 1
    high = int(words[place]) >> shift & ~bits | value & bits
    low = int(words[place]) & (1 << shift) - 1
    if shift:
        # The bits that a shift to the left would lose are cut off, so that the sign is the word's.
        high = (high & (1 << 64 - shift) - 1 ^ 1 << 63 - shift) - (1 << 63 - shift)
    words[place] = (high << shift) | low


@compiled
def clear_words(words: Words, log: Words, address: int, nr_bytes: int) -> None:
    """Write zeros to whole words."""
    note_access(log, address, nr_bytes, 1)
    offset = 0
    while offset < nr_bytes:
        each = to_word(address + offset)
        first = each >> 3 & SLOT - 1
        count = min(SLOT - first, (nr_bytes - offset + 7) >> 3)
        slot = _slot_of(words, each >> PAGE_BITS)
        if slot:
            for place in range(slot + first, slot + first + count):
                words[place] = 0
        offset += 8 * count


@compiled
def fill_bytes(words: Words, log: Words, address: int, nr_bytes: int, byte: int) -> None:
    """Write one byte again and again; `byte`: a word of it."""
    end = address + nr_bytes
    while address < end:
        if address & 7 == 0 and end - address >= 8:
            store_word(words, log, address, byte)
            address += 8
        else:
            store_bits(words, log, address, 1, byte & 255)
            address += 1


@compiled
def _drop_entry(words: Words, index: int) -> None:
    """Give back the slot of an entry of the table, and close the gap there."""
    slot = int(words[TABLE + 2 * index + 1])
    for each in range(slot, slot + SLOT):
        words[each] = 0
    words[slot] = words[FREE_SLOT]
    words[FREE_SLOT] = slot
    words[NR_FREE] += 1
    mask = words[MASK]
    gap = index
    behind = index
    while True:
        behind = (behind + 1) & mask
        key = words[TABLE + 2 * behind]
        if key == 0:
            break
        if ((behind - _home_of(words, int(key >> 1))) & mask) >= ((behind - gap) & mask):
            words[TABLE + 2 * gap] = key
            words[TABLE + 2 * gap + 1] = words[TABLE + 2 * behind + 1]
            gap = behind
    words[TABLE + 2 * gap] = 0


@compiled
def discard_pages(words: Words, first: int, end: int) -> None:
    """Let the pages from number `first` to before `end` read 0 again."""
    mask = int(words[MASK])
    if end - first > mask:
        for index in range(mask + 1):
            while (
                words[TABLE + 2 * index] != 0
                and first <= words[TABLE + 2 * index] >> 1
                and words[TABLE + 2 * index] >> 1 < end
            ):
                _drop_entry(words, index)
        return
    for page in range(first, end):
        index = _home_of(words, page)
        while words[TABLE + 2 * index] != 0 and words[TABLE + 2 * index] != 2 * page + 1:
            index = (index + 1) & mask
        if words[TABLE + 2 * index]:
            _drop_entry(words, index)


UNWATCHED: Final = np.zeros(0, dtype=np.int64)
"""The log of who notes no accesses."""


def _laid_out(nr_slots: int) -> NDArray[np.int64]:
    """Return an array with room for `nr_slots`, a power of two, all free but the first."""
    table = 4 * nr_slots
    words = np.zeros(TABLE + table + nr_slots * SLOT, dtype=np.int64)
    words[MASK] = table // 2 - 1
    words[FIRST_SLOT] = TABLE + table
    words[NR_SLOTS] = nr_slots
    words[NR_TAKEN] = 1
    words[NR_FREE] = nr_slots - 1
    return words


class UserWords:
    """One process's words, and the accesses to them that nobody has taken yet."""

    def __init__(self) -> None:
        self.words: NDArray[np.int64] = _laid_out(LEAST_SLOTS)
        """For compiled functions; another array after a `make_room`."""
        self.log: NDArray[np.int64] = UNWATCHED
        """For compiled functions: how many accesses, then two words for each."""

    def make_room(self) -> None:
        """Let an operation begin with enough free slots."""
        words = self.words
        if words[NR_FREE] >= SPARE_SLOTS:
            return
        table = words[TABLE : words[FIRST_SLOT]].reshape(-1, 2)
        grown = _laid_out(2 * int(words[NR_SLOTS]))
        for key, slot in table[table[:, 0] != 0].tolist():
            place = new_slot(grown, key >> 1)
            grown[place : place + SLOT] = words[slot : slot + SLOT]
        self.words = grown

    def load(self, address: int) -> int:
        """Return the word at an address."""
        return load_word(self.words, self.log, as_signed(address & ULONG_MAX))

    def peek(self, address: int) -> int:
        """Return the word at an address, which nobody accesses."""
        return peek_word(self.words, as_signed(address & ULONG_MAX))

    def store(self, address: int, value: int) -> None:
        """Write the word at an address."""
        self.make_room()
        store_word(
            self.words, self.log, as_signed(address & ULONG_MAX), as_signed(value & ULONG_MAX)
        )

    def put(self, address: int, value: int) -> None:
        """Write a word that nobody accesses: its page has moved there."""
        self.make_room()
        store_word(
            self.words, UNWATCHED, as_signed(address & ULONG_MAX), as_signed(value & ULONG_MAX)
        )

    def fill(self, start: int, nr_bytes: int, byte: int) -> None:
        """Write one byte again and again, as a program does."""
        word = int.from_bytes(bytes([byte] * 8), "little", signed=True)
        for first in range(start, start + nr_bytes, _FILLED_AT_ONCE):
            self.make_room()
            length = min(_FILLED_AT_ONCE, start + nr_bytes - first)
            fill_bytes(self.words, UNWATCHED, first, length, word)

    def put_bytes(self, address: int, data: bytes) -> None:
        """Write a few bytes, as a program does."""
        self.make_room()
        for place, byte in enumerate(data, address):
            store_bits(self.words, UNWATCHED, place, 1, byte)

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Let somebody look who is no part of the program: no access is noted."""
        log, self.log = self.log, UNWATCHED
        try:
            yield
        finally:
            self.log = log

    def pages(self) -> list[int]:
        """Return the numbers of the pages that have words, the lowest first."""
        keys = self.words[TABLE : self.words[FIRST_SLOT] : 2]
        return sorted((keys[keys != 0] >> 1).tolist())

    def discard(self, start: int, end: int) -> None:
        """Let pages from `start` to `end` read 0 again: they are unmapped, or given back.

        As the kernel takes it: a `start` within a page is refused, and an `end` there is of all of
        the page. What is not an address of programs has no pages.
        """
        if start % PAGE_SIZE == 0 and 0 <= start < end <= _BYTES_MAX:
            discard_pages(self.words, start >> PAGE_BITS, end + PAGE_SIZE - 1 >> PAGE_BITS)

    def content(self) -> tuple[tuple[int, bytes], ...]:
        """Return all words as a value: each page's number, and what was written there."""
        words = self.words
        table = words[TABLE : words[FIRST_SLOT]].reshape(-1, 2)
        entries = sorted(table[table[:, 0] != 0].tolist())
        return tuple([(key >> 1, words[slot : slot + SLOT].tobytes()) for key, slot in entries])

    def watch(self, *, on: bool) -> None:
        """Begin or cease to note accesses; those noted are forgotten."""
        # np.empty: the host commits no page of the log before it is written.
        self.log = np.empty(1 + 2 * LOG_ENTRIES, dtype=np.int64) if on else UNWATCHED
        self.log[:1] = 0

    def take_accesses(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the accesses noted, in order, and forget them.

        Their addresses, and their bytes << 1, plus 1 if they write.
        """
        nr_entries = int(self.log[0]) if self.log.size else 0
        entries = self.log[1 : 1 + 2 * nr_entries].reshape(-1, 2)
        self.log[:1] = 0
        return entries[:, 0].copy(), entries[:, 1].copy()

    def copy(self) -> Self:
        """Return the words of a child that was forked; its accesses are noted if ours are."""
        child = type(self)()
        child.words = self.words.copy()
        child.watch(on=bool(self.log.size))
        return child
