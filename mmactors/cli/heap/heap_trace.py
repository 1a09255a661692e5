"""`mmactors heap-trace FILE`: what a heap trace holds, what its program did wrong; another form.

The file is read to its end, so it is also checked. A trace of a wrong program is right: exit 0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from attrs import define, field
from cyclopts import Parameter
from numpy.typing import NDArray

from mmactors.arch.heap_trace import HEAP_OPERATIONS, HeapOperations
from mmactors.cli.terminal.screen import say
from mmactors.plain_text import plain
from mmactors.workload.heap_trace.file import HeapTrace, open_heap_trace
from mmactors.workload.heap_trace.write import write_heap_trace

_FAULTS_SHOWN: Final = 10


@define(eq=False)
class _Totals:
    rows: int = 0
    of_operation: NDArray[np.int64] = field(factory=lambda: np.zeros(len(HEAP_OPERATIONS), int))

    def count(self, pieces: Iterator[HeapOperations]) -> Iterator[HeapOperations]:
        """Count pieces on their way."""
        for piece in pieces:
            self.rows += len(piece)
            self.of_operation += np.bincount(piece.op, minlength=len(HEAP_OPERATIONS))
            yield piece


def heap_trace(
    file: Annotated[Path, Parameter(help="A heap trace: npz, CSV, JSON lines, mtrace, ltrace.")],
    *,
    form: Annotated[
        str | None, Parameter(name="--format", help="Its form, if its beginning does not say it.")
    ] = None,
    to: Annotated[
        Path | None, Parameter(help="Write it as FILE.npz, FILE.csv or FILE.jsonl.")
    ] = None,
) -> int:
    """Show what a heap trace holds, and write it in another form."""
    trace = open_heap_trace(file, form)
    totals = _Totals()
    pieces = totals.count(trace.chunks())
    if to is None:
        for _ in pieces:
            pass
    else:
        keeps_meta = to.suffix.lower() == ".npz" and bool(trace.meta)
        write_heap_trace(to, pieces, meta=trace.meta if keeps_meta else None)
    say("".join(f"{plain(line)}\n" for line in _lines(trace, totals)))
    return 0


def _lines(trace: HeapTrace, totals: _Totals) -> Iterator[str]:
    threads = f"{trace.threads} threads" if trace.threads != 1 else "1 thread"
    yield f"{trace.path}: {trace.form.value}, {totals.rows:,} operations, {threads}"
    for name, number in zip(HEAP_OPERATIONS, totals.of_operation.tolist(), strict=True):
        if number:
            yield f"{number:>12,} {name}"
    for note, number in sorted(trace.notes.items()):
        yield f"note: {number:,} {note}"
    for fault in trace.faults[:_FAULTS_SHOWN]:
        yield f"the program's fault: {fault}"
    if len(trace.faults) > _FAULTS_SHOWN:
        yield f"the program's fault: and {len(trace.faults) - _FAULTS_SHOWN:,} more"
