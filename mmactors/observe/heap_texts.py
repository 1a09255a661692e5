"""What a run directory says of a process's heap: the library's own texts, and a map of its pages.

Made when the process ends, or the run: a look from outside that takes no lock and is no access. Of
a heap that is broken the library's texts are what it would say before it aborts.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from mmactors.actors.program.malloc.user_heap import UserHeap
from mmactors.actors.program.process import Process
from mmactors.arch.pte import PRESENT
from mmactors.malloc.heap_map import Segment
from mmactors.malloc.library import MallocAbortError
from mmactors.malloc.replay_rows import LIVE_BYTES, LIVE_USABLE
from mmactors.malloc.request import ClockGettime, MallocRequest, MallocSteps, TrylockMutex
from mmactors.mm.page_table.page_table import PageTable
from mmactors.mm.perform import perform
from mmactors.observe.heap_view import HEAD, HEAP_MAP
from mmactors.units import JIFFY_NS, PAGE_SIZE

_TABLE_PAGES: Final = 512


def heap_texts(process: Process, now_ns: int) -> dict[str, str]:
    """Return the texts of a process's heap, by name; none if it never called its library.

    `now_ns` is the time of the machine's clock.
    """
    heap = process.heap
    if not isinstance(heap, UserHeap):
        return {}
    library, space = heap.library, process.space
    table = None if space is None else space.mm.page_table
    now_ns = process.kernel.engine.now_ns
    with library.words.unwatched():
        texts = {name: _told(call, now_ns) for name, call in library.reports().items()}
        return {**texts, HEAP_MAP: _map(process, heap, table)}


def _told(call: Callable[[], MallocSteps[object]], now_ns: int) -> str:
    """Return what a call tells; its locks are nobody's, as nobody runs."""

    def answer(request: MallocRequest) -> int | None:
        match request:
            case ClockGettime():
                return now_ns // JIFFY_NS * JIFFY_NS
            case TrylockMutex():
                return 1
            case _:
                return None

    try:
        return str(perform(call(), answer))
    except MallocAbortError as error:
        return f"{error.message}\n"


def _map(process: Process, heap: UserHeap, table: PageTable | None) -> str:
    segments = heap.library.heap_map()
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
    pin = segment.pin
    borders = segment.page_borders()
    resident = _resident(table, int(borders[0]), int(borders[-1]))
    pages = np.union1d(borders[:-1], resident[:-1, 0])
    is_resident = resident[np.searchsorted(resident[:, 0], pages, side="right") - 1, 1]
    counts = np.diff(np.append(pages, borders[-1]))
    rows = np.column_stack([counts, segment.bytes_of_pages(pages), is_resident])
    return {
        "what": segment.what,
        "arena": segment.arena,
        "start": segment.start,
        "end": segment.end,
        "broken_at": segment.broken_at,
        "top_bytes": segment.top_bytes,
        "pin": None
        if pin is None
        else {"address": pin[0], "usable_bytes": pin[1], "names": names.get(pin[0], [])},
        "pages": list(_runs(rows.tolist())),
    }


def _runs(rows: list[list[int]]) -> Iterator[list[int]]:
    """Yield pages that are alike as one: how many, then what they are."""
    count = 0
    for nth, (nr_pages, *what) in enumerate(rows):
        count += nr_pages
        if nth + 1 == len(rows) or rows[nth + 1][1:] != what:
            yield [count, *what]
            count = 0


def _resident(table: PageTable | None, first: int, last: int) -> NDArray[np.int64]:
    """Return from which page on pages are mapped (1) or not (0), as far as to before `last`.

    The last row is that of `last`.
    """
    rows: list[tuple[int, int]] = []
    page = first
    while table is not None and page < last:
        level, index = table.walk(page * PAGE_SIZE)
        view = table.memory.view
        # What an entry of this level is about, if it is none of pages.
        span = _TABLE_PAGES ** max(level - 1, 1)
        stop = min((page // span + 1) * span, last)
        if level == 1:
            rows += [(nth, view[index + nth - page] & PRESENT) for nth in range(page, stop)]
        else:
            rows.append((page, view[index] & PRESENT))
        page = stop
    changes = [row for nth, row in enumerate(rows) if not nth or rows[nth - 1][1] != row[1]]
    return np.array([*(changes or [(first, 0)]), (last, 0)], dtype=np.int64)
