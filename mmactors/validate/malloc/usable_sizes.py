"""Recorded usable sizes: of every request up to 65536 bytes, and of samples above.

Each request was made alone: malloc, then free. What the kernel answered is not recorded; it decides
nothing here. Nor is in which order the samples were asked for, and what else: of a size above the
threshold the first request is mapped, later ones are not (up to 32 MiB), so that a sample is right
that is either.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.arch.heap_trace import FREE, MALLOC, HeapOperations
from mmactors.malloc.ptmalloc.malloc_par import (
    DEFAULT_MMAP_THRESHOLD,
    DEFAULT_MMAP_THRESHOLD_MAX,
)
from mmactors.units import PAGE_SIZE
from mmactors.validate.form import Problems
from mmactors.validate.limits import HEAP_OPERATIONS_MAX
from mmactors.validate.malloc.heap_run import HeapRun
from mmactors.validate.malloc.linked import linked
from mmactors.validate.malloc.recording import ADVICE
from mmactors.validate.malloc.willing_kernel import WillingKernel
from mmactors.validate.result import CaseResult
from mmactors.workload.trace.archive import ArchiveForm, open_columns

_ALL: Final = "usable_0_65536"
_REQUESTS: Final = "sample_request"
_SAMPLES: Final = "sample_usable"
_LARGEST_REQUEST: Final = 1 << 40


def validate_usable_sizes(path: Path) -> Iterator[CaseResult]:
    """Make each request; raise UserError for a file that is no such recording."""
    for library in _PROCESSES:
        yield from _validate_library(path, library)


def _validate_library(path: Path, library: str) -> Iterator[CaseResult]:
    arrays = {name: f"{library}.{name}" for name in (_ALL, _REQUESTS, _SAMPLES)}
    form = ArchiveForm(
        dtypes=dict.fromkeys(arrays.values(), ("<u4", "<u8", "<i8")),
        optional=frozenset(),
        legal=f"expected a numpy archive with {', '.join(arrays.values())}",
        advice=ADVICE,
    )
    with open_columns(path, form) as columns:
        for column in columns.values():
            if column.length > HEAP_OPERATIONS_MAX // 2:
                raise form.error(path, f"{column.name} has {column.length:,} entries")
        every, requests, samples = (
            columns[name].take(columns[name].length).astype(np.int64) for name in arrays.values()
        )
        for column in columns.values():
            column.finish()
    problems = Problems(path=path, advice=ADVICE)
    if len(requests) != len(samples):
        found = f"{library}.{_SAMPLES} has {len(samples)} entries"
        problems.add(found, f"{len(requests)}, as many as {library}.{_REQUESTS}")
    elif len(requests) and not 0 <= requests.min() <= requests.max() <= _LARGEST_REQUEST:
        problems.add(f"{library}.{_REQUESTS} has {requests.min()} to {requests.max()}", "bytes")
    problems.raise_any()
    processes = _PROCESSES[library]
    for name, asked, usable, chosen in (
        (_ALL, np.arange(len(every)), every, processes[:1]),
        (_SAMPLES, requests, samples, processes[1:]),
    ):
        result = CaseResult(topic="malloc", case=f"{path.stem}/{library}.{name}", path=str(path))
        ours = np.stack([_usable_sizes(asked, each) for each in chosen])
        is_equal = (usable == ours).any(axis=0)
        if is_equal.all():
            result.count(len(is_equal))
        else:
            nth = int(np.argmin(is_equal))
            result.count(nth)
            place = f"{name}[{nth}], malloc_usable_size(malloc({asked[nth]}))"
            either = " or ".join(map(str, sorted(set(ours[:, nth].tolist()))))
            result.compare(place, int(usable[nth]), either)
        yield result


@frozen
class _Process:
    """What a process is like that asks for sizes."""

    environment: Mapping[str, str] = MappingProxyType({})
    freed: int = 0
    """A request that was made and freed before."""


_FREED_MAPPED: Final = _Process(freed=DEFAULT_MMAP_THRESHOLD_MAX - 2 * PAGE_SIZE)
"""Its threshold has grown as far as it can."""
_NEVER_FREED_MAPPED: Final = _Process(
    {
        "GLIBC_TUNABLES": ":".join(
            f"glibc.malloc.{name}={value}"
            for name, value in (
                ("mmap_threshold", DEFAULT_MMAP_THRESHOLD),
                ("trim_threshold", 0),
                ("top_pad", 0),
            )
        )
    }
)
"""Its threshold stays what it is at first, and its top is never larger than that."""
_JEMALLOC: Final = _Process({"LD_PRELOAD": "libjemalloc.so.2"})
_TCMALLOC: Final = _Process({"LD_PRELOAD": "libtcmalloc_minimal.so.4"})
_PROCESSES: Final = {
    "glibc": (_Process(), _NEVER_FREED_MAPPED, _FREED_MAPPED),
    "jemalloc": (_JEMALLOC, _JEMALLOC),
    "tcmalloc": (_TCMALLOC, _TCMALLOC),
}
"""By library: a process for all sizes up to 64 KiB, then those of which one must be right."""


def _usable_sizes(requests: NDArray[np.int64], process: _Process) -> NDArray[np.int64]:
    """Return the usable size of each request, made one after the other."""
    asked = np.concatenate([[process.freed], requests])
    n = len(asked)
    size = np.zeros(2 * n, np.int64)
    size[::2] = asked
    numbers = np.arange(2 * n, dtype=np.int64)
    kernel = WillingKernel()
    run = HeapRun(
        linked=linked(process.environment, (), ()),
        kernel=kernel,
        operations=HeapOperations(
            first=0,
            op=np.where(numbers % 2 == 0, MALLOC, FREE).astype(np.uint8),
            tid=np.zeros(2 * n, np.int32),
            id=numbers // 2,
            size=size,
            arg=np.zeros(2 * n, np.int64),
            line=numbers,
        ),
    )
    run.begin(kernel)
    run.run(2 * n)
    return run.usable[2::2]
