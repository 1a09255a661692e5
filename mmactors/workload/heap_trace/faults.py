"""What can be wrong with a row of a heap trace, after those before it, and how it is told.

An object is allocated once, reallocated, and freed once; a thread acts between its begin and its
end, if they are recorded. A program that frees an object twice, frees what nobody has allocated, or
reallocates what it has freed does something wrong, and the trace that says so is right. A trace
that allocates an object twice, or in which a thread acts after its end, is wrong itself.
`workload/heap_trace/lives.py` finds both.
"""

from enum import IntEnum
from typing import Final

from attrs import frozen


class Wrong(IntEnum):
    """What is wrong with a row."""

    FREED_TWICE = 1
    FREED_UNSEEN = 2
    REALLOCATED_FREED = 3
    ALLOCATED_TWICE = 4
    ACTS_AFTER_END = 5
    BEGINS_TWICE = 6


FAULTS: Final = {
    Wrong.FREED_TWICE: "is freed, and was freed before",
    Wrong.FREED_UNSEEN: "is freed, and nobody has allocated it",
    Wrong.REALLOCATED_FREED: "is reallocated, and was freed before",
}
"""What the program did wrong with an object."""

_NUMBER_THREADS: Final = "number the threads 0, 1, 2 as they appear, the main thread first"
MISTAKES: Final = {
    Wrong.ALLOCATED_TWICE: (
        "object {id} is allocated, and its number was used before",
        "expected a new number for each object, also when the one before it was freed",
        "number the objects 0, 1, 2 as they are allocated; realloc keeps the number",
    ),
    Wrong.ACTS_AFTER_END: (
        "thread {tid} acts after its end",
        "expected a thread to act between its thread_begin and its thread_end",
        _NUMBER_THREADS,
    ),
    Wrong.BEGINS_TWICE: (
        "thread {tid} begins, and has begun before",
        "expected thread_begin to be the first of a thread",
        _NUMBER_THREADS,
    ),
}
"""What is wrong with the trace: what was found, what is legal, what to try."""


@frozen
class HeapFault:
    """What the program that was recorded did wrong."""

    row: int
    """Number of the operation, from 0."""
    object: int
    wrong: Wrong
    place: str
    """`file:line`, of an archive `file[row]`."""

    def __str__(self) -> str:
        return f"{self.place}: object {self.object} {FAULTS[self.wrong]}"
