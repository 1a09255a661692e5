"""What a run directory says of a process's heap: the library's own texts, and a map of its pages.

Made when the process ends, or the run: a look from outside that takes no lock and is no access. Of
a heap that is broken the library's texts are what it would say before it aborts.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import numpy as np
import orjson

from mmactors.actors.program.malloc.user_heap import UserHeap
from mmactors.actors.program.process import Process
from mmactors.arch.pte import PRESENT
from mmactors.malloc.library import MallocAbortError
from mmactors.malloc.ptmalloc.ptmalloc import Ptmalloc
from mmactors.malloc.ptmalloc.replay_rows import LIVE_BYTES, LIVE_USABLE
from mmactors.malloc.ptmalloc.report.heap_map import Segment, heap_map
from mmactors.malloc.ptmalloc.report.mallinfo import mallinfo2, malloc_stats
from mmactors.malloc.ptmalloc.report.malloc_info import malloc_info
from mmactors.malloc.request import MallocSteps
from mmactors.mm.page_table.page_table import PageTable
from mmactors.observe.heap_view import HEAD, HEAP_MAP
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

T = TypeVar("T")
_TABLE_PAGES: Final = 512


def heap_texts(process: Process) -> dict[str, str]:
    """Return the texts of a process's heap, by name; none if it never called its library."""
    heap = process.heap
    if not isinstance(heap, UserHeap) or not isinstance(heap.library, Ptmalloc):
        return {}
    library, space = heap.library, process.space
    with library.words.unwatched():
        numbers = _told(lambda: mallinfo2(library.arenas))
        return {
            "mallinfo2": str(numbers),
            "malloc_info.xml": str(_told(lambda: malloc_info(library.arenas))),
            "malloc_stats": str(_told(lambda: malloc_stats(library.arenas))),
            HEAP_MAP: _map(process, heap, library, None if space is None else space.mm.page_table),
        }


def _told(call: Callable[[], MallocSteps[T]]) -> T | str:
    """Return what a call tells; its locks are nobody's, as nobody runs."""
    steps = call()
    try:
        while True:
            next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    except MallocAbortError as error:
        return f"{error.message}\n"


def _map(process: Process, heap: UserHeap, library: Ptmalloc, table: PageTable | None) -> str:
    segments = heap_map(library)
    names: dict[int, list[str]] = {}
    for name, (address, _) in process.names.items():
        names.setdefault(address, []).append(name)
    value = {
        **HEAD,
        "process": process.label,
        "pid": process.pid,
        "asked_bytes": int(heap.live[LIVE_BYTES]),
        "asked_usable_bytes": int(heap.live[LIVE_USABLE]),
        "segments": [_segment(segment, table, names) for segment in segments],
    }
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE).decode()


def _segment(
    segment: Segment, table: PageTable | None, names: dict[int, list[str]]
) -> dict[str, Any]:
    pin = segment.pin()
    first = segment.start >> PAGE_SHIFT
    by_page = segment.bytes_by_page()
    resident = _resident(table, first, len(by_page))
    return {
        "what": segment.what,
        "arena": segment.arena,
        "start": segment.start,
        "end": segment.end,
        "broken_at": segment.broken_at,
        "top_bytes": segment.top,
        "pin": None
        if pin is None
        else {"address": pin[0], "usable_bytes": pin[1], "names": names.get(pin[0], [])},
        "pages": list(_runs(np.column_stack([by_page, resident]).tolist())),
    }


def _runs(rows: list[list[int]]) -> Iterator[list[int]]:
    """Yield pages that are alike as one: how many, then what they are."""
    count = 0
    for nth, row in enumerate(rows):
        count += 1
        if nth + 1 == len(rows) or rows[nth + 1] != row:
            yield [count, *row]
            count = 0


def _resident(table: PageTable | None, first: int, nr_pages: int) -> "np.ndarray[Any, Any]":
    """Return for each page 1 if it is mapped, else 0."""
    resident = np.zeros(nr_pages, dtype=np.int64)
    page = first
    while table is not None and page < first + nr_pages:
        stop = min((page // _TABLE_PAGES + 1) * _TABLE_PAGES, first + nr_pages)
        level, index = table.walk(page * PAGE_SIZE)
        view = table.memory.view
        if level == 1:
            for nth in range(page, stop):
                resident[nth - first] = view[index + nth - page] & PRESENT
        else:
            resident[page - first : stop - first] = view[index] & PRESENT
        page = stop
    return resident
