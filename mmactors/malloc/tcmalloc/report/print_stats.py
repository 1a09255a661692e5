"""malloc_stats, as tcmalloc 2.10 has it."""

from typing import Final, Protocol

from mmactors.malloc.library import MallocAbortError
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.tcmalloc.report.dump_stats import BUFFER_BYTES, dump_stats
from mmactors.malloc.tcmalloc.report.stats import Counted, extract_stats

_WORD_BYTES: Final = 8


class Heap(Counted, Protocol):
    """A process's tcmalloc, as far as it prints (`Tcmalloc`)."""

    def malloc(self, thread: int, size: int) -> MallocSteps[int]:
        """malloc(size)."""

    def free(self, thread: int, address: int) -> MallocSteps[None]:
        """free(address)."""


def print_stats(library: Heap, thread: int) -> MallocSteps[str]:
    """Return the text that malloc_stats prints (PrintStats): its buffer is a block like others.

    Raises MallocAbortError if there is none: C++'s new throws, and nobody catches it.
    """
    buffer = yield from library.malloc(thread, BUFFER_BYTES)
    if not buffer:
        raise MallocAbortError("terminate called after throwing an instance of 'std::bad_alloc'")
    text = dump_stats((yield from extract_stats(library, is_detailed=False)), is_detailed=False)
    written = text.encode() + b"\0"
    for place in range(0, len(written), _WORD_BYTES):
        word = written[place : place + _WORD_BYTES].ljust(_WORD_BYTES, b"\0")
        library.words.store(buffer + place, int.from_bytes(word, "little"))
    yield from library.free(thread, buffer)
    return text
