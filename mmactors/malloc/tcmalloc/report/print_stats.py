"""malloc_stats, and what glibc says of its own heap in a process that has tcmalloc instead.

tcmalloc 2.10 has no mallinfo2, malloc_info and malloc_trim: glibc's look at a main arena that
nobody ever used.
"""

from typing import TYPE_CHECKING, Final

from mmactors.malloc.library import HeapNumbers, MallocAbortError
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.tcmalloc.report.dump_stats import BUFFER_BYTES, dump_stats
from mmactors.malloc.tcmalloc.report.stats import extract_stats

if TYPE_CHECKING:
    from mmactors.malloc.tcmalloc.tcmalloc import Tcmalloc

_WORD_BYTES: Final = 8
UNUSED_NUMBERS: Final = HeapNumbers(ordblks=1)
"""mallinfo2 of a heap that was never used: its top counts as a block."""
_NOTHING: Final = """\
<system type="current" size="0"/>
<system type="max" size="0"/>
<aspace type="total" size="0"/>
<aspace type="mprotect" size="0"/>
"""
UNUSED_INFO: Final = f"""\
<malloc version="1">
<heap nr="0">
<sizes>
</sizes>
<total type="fast" count="0" size="0"/>
<total type="rest" count="1" size="0"/>
{_NOTHING}</heap>
<total type="fast" count="0" size="0"/>
<total type="rest" count="1" size="0"/>
<total type="mmap" count="0" size="0"/>
{_NOTHING}</malloc>
"""
"""malloc_info of it."""


def print_stats(library: "Tcmalloc", thread: int) -> MallocSteps[str]:
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
