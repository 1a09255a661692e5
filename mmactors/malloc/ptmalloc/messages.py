"""What ptmalloc writes when it finds its heap broken, before it aborts (malloc_printerr, assert).

A compiled path cannot raise: it returns the number of a message, negative, which `check` raises.
Results of paths: an address, 0 for NULL, or one of the negative codes here. Left out is what can
only be found if two threads change an arena at once (`malloc(): corrupted unsorted chunks 3`).
"""

from typing import Final

from mmactors.arch.jit import compiled
from mmactors.malloc.library import MallocAbortError, MallocCircleError, MallocFaultError
from mmactors.malloc.ptmalloc.chunk import CHUNK_HDR_SZ
from mmactors.malloc.user_words import to_word

NEEDS_SYSMALLOC: Final = -1
"""The top chunk is too small."""
NEEDS_TRIM: Final = -2
"""A chunk was freed, and the top of its arena may be given back."""
NEEDS_LOCK: Final = -3
"""The arena must be locked to go on."""
NEEDS_TRIM_THEN_TAIL: Final = -4
"""As NEEDS_TRIM, after which memalign has more to free."""
NEEDS_FASTBIN: Final = -5
"""A chunk is to be put into a fastbin."""
FIRST_MESSAGE: Final = -16

CIRCLE: Final = -7
"""Links lead round: the call would never return."""
SEGMENTATION_FAULT: Final = "Segmentation fault"
"""No message of the library's: it follows a pointer that leads nowhere."""
MESSAGES: Final = (
    "malloc(): unaligned tcache chunk detected",
    "malloc(): unaligned fastbin chunk detected",
    "malloc(): unaligned fastbin chunk detected 2",
    "malloc(): unaligned fastbin chunk detected 3",
    "malloc(): memory corruption (fast)",
    "malloc(): smallbin double linked list corrupted",
    "malloc(): invalid size (unsorted)",
    "malloc(): invalid next size (unsorted)",
    "malloc(): mismatching next->prev_size (unsorted)",
    "malloc(): unsorted double linked list corrupted",
    "malloc(): invalid next->prev_inuse (unsorted)",
    "malloc(): largebin double linked list corrupted (nextsize)",
    "malloc(): largebin double linked list corrupted (bk)",
    "malloc(): corrupted unsorted chunks",
    "malloc(): corrupted unsorted chunks 2",
    "malloc(): corrupted top size",
    "corrupted size vs. prev_size",
    "corrupted double-linked list",
    "corrupted double-linked list (not small)",
    "free(): invalid pointer",
    "free(): invalid size",
    "free(): too many chunks detected in tcache",
    "free(): unaligned chunk detected in tcache 2",
    "free(): double free detected in tcache 2",
    "free(): invalid next size (fast)",
    "double free or corruption (fasttop)",
    "invalid fastbin entry (free)",
    "double free or corruption (top)",
    "double free or corruption (out)",
    "double free or corruption (!prev)",
    "free(): invalid next size (normal)",
    "corrupted size vs. prev_size while consolidating",
    "free(): corrupted unsorted chunks",
    "malloc_consolidate(): unaligned fastbin chunk detected",
    "malloc_consolidate(): invalid chunk size",
    "corrupted size vs. prev_size in fastbins",
    "realloc(): invalid old size",
    "realloc(): invalid next size",
    "int_mallinfo(): unaligned fastbin chunk detected",
    "__malloc_info(): unaligned fastbin chunk detected",
    (
        "Fatal glibc error: malloc assertion failure in _int_malloc:"
        " (unsigned long) (size) >= (unsigned long) (nb)"
    ),
    SEGMENTATION_FAULT,
)


def number_of(message: str) -> int:
    """Return what a compiled path returns for a message."""
    return FIRST_MESSAGE - MESSAGES.index(message)


LOST: Final = number_of(SEGMENTATION_FAULT)


@compiled
def block_of(chunk: int) -> int:
    """Return a chunk's block (chunk2mem); LOST: no program has such addresses."""
    block = to_word(chunk + CHUNK_HDR_SZ)
    return block if block > 0 else LOST


def check(result: int) -> int:
    """Return a path's result; MallocAbortError if it is the number of a message, or CIRCLE."""
    if result == CIRCLE:
        raise MallocCircleError
    if result <= FIRST_MESSAGE:
        message = MESSAGES[FIRST_MESSAGE - result]
        raise MallocFaultError if message == SEGMENTATION_FAULT else MallocAbortError(message)
    return result


def malloc_assert(holds: bool, function: str, text: str) -> None:  # noqa: FBT001 - as C's assert
    """Raise MallocAbortError if what malloc takes for granted does not hold (__malloc_assert)."""
    if not holds:
        message = f"Fatal glibc error: malloc assertion failure in {function}: {text}"
        raise MallocAbortError(message)
