"""A call of tcmalloc's under way: the step that comes next, and what its steps hand on.

tcmalloc takes and gives back locks, and asks the system, deep within loops. So all that it does is
steps: a compiled function does one, notes in the task which comes next, and returns a code. Who
drives the task answers requests, or leaves out those for locks if nobody else calls the library.

A task is an array: what a step knows of a call is in its places. A procedure of several steps has
places for its arguments, its result, and the step that comes after it. None is ever called within
itself, so one place each is enough.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.user_words import GOES_ROUND, NR_TAKEN, SLOT, note_access

GO_ON: Final = 0
"""The next step may follow at once."""
DONE: Final = 1
LOCK: Final = 2
"""A lock is needed: REQUEST is its word."""
UNLOCK: Final = 3
BRK: Final = 4
"""The break is to be at REQUEST; 0: where is it?"""
MMAP: Final = 5
"""REQUEST_BYTES are to be mapped."""
MUNMAP: Final = 6
MADVISE: Final = 7
"""REQUEST_BYTES from REQUEST on are not needed (MADV_DONTNEED)."""
SAY_FAILED: Final = 8
"""A line is to be written: there are no REQUEST_BYTES for a span."""
LOOK: Final = 9
"""What follows looks at all classes without a lock, which matters to who tries all orders."""
ASKS_NOTHING: Final = 0
"""Nobody else calls the library: nothing is asked for but what the system has to do."""
ASKS_LOCKS: Final = 1
ASKS_STEPS: Final = 2
"""Locks are asked for, and it is said before what is done without one."""

CIRCLE: Final = -7
"""Links lead round: the call would never return."""
FAULT: Final = -8
"""A pointer is followed that leads nowhere."""
OUT_OF_METADATA: Final = -9
"""There is no memory for tcmalloc's own structures: REQUEST_BYTES each is large."""
INVALID_FREE: Final = -10
"""REQUEST is no block."""
INVALID_REALLOC: Final = -11

STEP: Final = 0
ANSWER: Final = 1
REQUEST: Final = 2
REQUEST_BYTES: Final = 3

CACHE: Final = 4
"""The calling thread's cache; 0: it has none."""
THREAD: Final = 5
BLOCK: Final = 6
"""The block that the call is about."""
SIZE: Final = 7
ARGUMENT: Final = 8
RESULT: Final = 9
AFTER_MALLOC: Final = 10
AFTER_FREE: Final = 11
OLD_BYTES: Final = 12
"""realloc's: usable bytes of the block, and how many the program wants."""
NEW_BYTES: Final = 13
CLASS: Final = 14
"""That of the block which malloc or free is about."""
AFTER_CREATE: Final = 15

SYS_SIZE: Final = 16
SYS_ALIGNMENT: Final = 17
SYS_RESULT: Final = 18
SYS_ACTUAL: Final = 19
SYS_PLACE: Final = 20
AFTER_SYS: Final = 21
META_BYTES: Final = 22
META_RESULT: Final = 23
AFTER_META: Final = 24
OBJ_ALLOCATOR: Final = 25
OBJ_BYTES: Final = 26
OBJ: Final = 27
AFTER_OBJ: Final = 28

NEW_PAGES: Final = 32
NEW_SPAN: Final = 33
AFTER_NEW: Final = 34
NEW_ROUND: Final = 35
SEARCH_PAGES: Final = 36
CARVE_LOCATION: Final = 37
GROW_PAGES: Final = 38
GROW_PLACE: Final = 39
GROW_LEAF_NUMBER: Final = 40
DELETE_SPAN: Final = 41
DELETE_PAGES: Final = 42
AFTER_DELETE: Final = 43
MERGE_SPAN: Final = 44
MERGE_OTHER: Final = 45
AFTER_MERGE: Final = 46
PREPEND_SPAN: Final = 47
PREPEND_PARENT: Final = 48
PREPEND_LEFT: Final = 49
AFTER_PREPEND: Final = 50
DECOMMIT_SPAN: Final = 51
DECOMMITTED: Final = 52
AFTER_DECOMMIT: Final = 53
RELEASE_WANTED: Final = 54
RELEASED: Final = 55
RELEASE_LISTS: Final = 56
"""How many lists this round has looked at."""
RELEASE_SPAN: Final = 57
RELEASE_PAGES: Final = 58
AFTER_RELEASE: Final = 59
LIMIT_PAGES: Final = 60
LIMIT_RELEASES: Final = 61
LIMIT_TAKEN: Final = 62
LIMIT_OK: Final = 63
AFTER_LIMIT: Final = 64

FETCH_WANTED: Final = 68
FETCH_COUNT: Final = 69
FETCH_START: Final = 70
FETCH_END: Final = 71
INSERT_CLASS: Final = 72
INSERT_START: Final = 73
INSERT_END: Final = 74
INSERT_COUNT: Final = 75
AFTER_INSERT: Final = 76
EVICT_CLASS: Final = 77
EVICT_FORCE: Final = 78
EVICTED: Final = 79
CHAIN_CLASS: Final = 80
CHAIN: Final = 81
CHAIN_SPAN: Final = 82
AFTER_CHAIN: Final = 83
DROP_CLASS: Final = 84
DROP_LEFT: Final = 85
DROP_BYTES: Final = 86
AFTER_DROP: Final = 87
SCAVENGE_CLASS: Final = 88
ALIGN_SPAN: Final = 89
NR_STEPS: Final = 90
"""How many steps of a call were done."""
NR_PLACES: Final = 96


Task = NDArray[np.int64]


def new_task() -> Task:
    """Return a task for one call after the other."""
    return np.zeros(NR_PLACES, dtype=np.int64)


@compiled
def lock(task: Words, word: int, then: int) -> int:
    """Ask for a lock, and go on with a step when it is held."""
    task[REQUEST] = word
    task[STEP] = then
    return LOCK


@compiled
def unlock(task: Words, word: int, then: int) -> int:
    """Give back a lock, and go on with a step."""
    task[REQUEST] = word
    task[STEP] = then
    return UNLOCK


@compiled
def longest_list(words: Words) -> int:
    """Return how many blocks there is room for: who follows more links than that goes round."""
    return int(words[NR_TAKEN]) * SLOT + SLOT


@compiled
def goes_on(words: Words, left: int) -> bool:
    """Return whether a walk may go on; if not, the call ends with CIRCLE."""
    if left <= 0:
        words[GOES_ROUND] = CIRCLE
    return left > 0


@compiled
def leads_nowhere(words: Words, log: Words, address: int) -> None:
    """Let the call end with FAULT, as it goes to an address near 0."""
    note_access(log, address, 8, 1)
    words[GOES_ROUND] = FAULT
