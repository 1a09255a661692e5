"""The text of tcmalloc's counts: malloc_stats(), MallocExtension::GetStats (src/tcmalloc.cc).

Forms and numbers are those of DumpStats. A buffer of 16 KiB holds the text, and cuts it off.
"""

from collections.abc import Iterator
from typing import Final

from mmactors.malloc.tcmalloc.layout import MAX_PAGES, PAGE_BYTES
from mmactors.malloc.tcmalloc.report.stats import Stats
from mmactors.units import MIB, ULONG_MAX

BUFFER_BYTES: Final = 16 << 10
_LINE: Final = "------------------------------------------------\n"
_ADDED: Final = "MALLOC: + "
_SUM: Final = "MALLOC:   ------------\n"


def dump_stats(stats: Stats, *, is_detailed: bool) -> str:
    """Return the text, with classes and free spans if it `is_detailed` (level 2), else without."""
    parts = [*_summary(stats)]
    if is_detailed:
        parts += [*_classes(stats), *_spans(stats)]
    return "".join(parts)[: BUFFER_BYTES - 1]


def _mib(nr_bytes: int) -> float:
    return nr_bytes / MIB


def _row(sign: str, nr_bytes: int, what: str) -> str:
    return f"{sign}{nr_bytes:12d} ({_mib(nr_bytes):7.1f} MiB) {what}\n"


def _summary(stats: Stats) -> Iterator[str]:
    virtual = stats.system_bytes + stats.metadata_bytes
    physical = virtual - stats.unmapped_bytes & ULONG_MAX
    yield _LINE
    yield _row("MALLOC:   ", stats.in_use, "Bytes in use by application")
    yield _row(_ADDED, stats.free_bytes, "Bytes in page heap freelist")
    yield _row(_ADDED, stats.central_bytes, "Bytes in central cache freelist")
    yield _row(_ADDED, stats.transfer_bytes, "Bytes in transfer cache freelist")
    yield _row(_ADDED, stats.thread_bytes, "Bytes in thread cache freelists")
    yield _row(_ADDED, stats.metadata_bytes, "Bytes in malloc metadata")
    yield _SUM
    yield _row("MALLOC: = ", physical, "Actual memory used (physical + swap)")
    yield _row(_ADDED, stats.unmapped_bytes, "Bytes released to OS (aka unmapped)")
    yield _SUM
    yield _row("MALLOC: = ", virtual, "Virtual address space used")
    yield "MALLOC:\n"
    yield f"MALLOC:   {stats.spans_in_use:12d}              Spans in use\n"
    yield f"MALLOC:   {stats.heaps_in_use:12d}              Thread heaps in use\n"
    yield f"MALLOC:   {PAGE_BYTES:12d}              Tcmalloc page size\n"
    yield _LINE
    yield "Call ReleaseFreeMemory() to release freelist memory to the OS (via madvise()).\n"
    yield "Bytes released to the OS take up virtual address space but no physical memory.\n"


def _classes(stats: Stats) -> Iterator[str]:
    yield _LINE
    yield "Total size of freelists for per-thread caches,\n"
    yield "transfer cache, and central cache, by size class\n"
    yield _LINE
    all_bytes = all_overhead = 0
    rows = zip(stats.class_sizes, stats.class_counts, stats.class_overheads, strict=True)
    for number, (size, count, overhead) in enumerate(rows):
        if count > 0:
            nr_bytes = count * size
            all_bytes += nr_bytes
            all_overhead += overhead
            yield (
                f"class {number:3d} [ {size:8d} bytes ] : {count:8d} objs; "
                f"{_mib(nr_bytes):5.1f} MiB; {_mib(all_bytes):5.1f} cum MiB; "
                f"{_mib(overhead):8.3f} overhead MiB; "
                f"{_mib(all_overhead):8.3f} cum overhead MiB\n"
            )


def _spans(stats: Stats) -> Iterator[str]:
    nr_sizes = sum(spans.normal + spans.returned > 0 for spans in stats.small)
    yield _LINE
    yield (
        f"PageHeap: {nr_sizes} sizes; {_mib(stats.free_bytes):6.1f} MiB free; "
        f"{_mib(stats.unmapped_bytes):6.1f} MiB unmapped\n"
    )
    yield _LINE
    normal = returned = 0
    for nr_pages, spans in enumerate(stats.small, 1):
        count = spans.normal + spans.returned
        if count > 0:
            normal += nr_pages * spans.normal
            returned += nr_pages * spans.returned
            its_returned = nr_pages * spans.returned
            ends = _ends(nr_pages * count, normal + returned, its_returned, returned)
            yield f"{nr_pages:6d} pages * {count:6d} {ends}"
    large = stats.large
    normal += large.normal
    returned += large.returned
    ends = _ends(large.normal + large.returned, normal + returned, large.returned, returned)
    yield f">{MAX_PAGES:<5d} large * {stats.nr_large:6d} {ends}"


def _ends(pages: int, all_pages: int, returned: int, all_returned: int) -> str:
    mib = [_mib(each * PAGE_BYTES) for each in (pages, all_pages, returned, all_returned)]
    return (
        f"spans ~ {mib[0]:6.1f} MiB; {mib[1]:6.1f} MiB cum; "
        f"unmapped: {mib[2]:6.1f} MiB; {mib[3]:6.1f} MiB cum\n"
    )
