"""Recorded heap traces, replayed on the allocators that `run` uses.

Compared is under each configuration: of each operation the address and the usable size; of each
system call when it was made and with what; how many bytes were mapped at most and in the end; the
program break at main(). Of glibc also every number of mallinfo2, and the text of malloc_info. Taken
from the recording is what the kernel answered, where the library and its stacks lay, and when time
went by, as far as pages that jemalloc purged show it.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final

import numpy as np
from attrs import astuple, define, field, fields

from mmactors.malloc.library import HeapNumbers, MallocAbortError
from mmactors.validate.malloc.heap_run import HeapRun, text_of_operation
from mmactors.validate.malloc.linked import library_of, linked, purges_by_time
from mmactors.validate.malloc.recorded_calls import RecordedCalls
from mmactors.validate.malloc.recorded_kernel import CallDiffersError, RecordedKernel
from mmactors.validate.malloc.recorded_start import RecordedStart
from mmactors.validate.malloc.recording import TOTALS, Configuration, HeapRecording, read_recording
from mmactors.validate.result import CaseResult

_MALLINFO2: Final = tuple(each.name for each in fields(HeapNumbers))

_RETURNED: Final = {"address": "address", "usable": "usable size", "returned": "result"}
"""What is compared of each operation, in this order, and what people call it."""

_LATE_OPERATIONS_MAX: Final = 16
"""Of the recordings that are known the most that have pages purged by time have three."""

_LINE_CHARS: Final = 200
"""Of a line of malloc_info: the longest has 90."""


def validate_malloc(path: Path) -> Iterator[CaseResult]:
    """Replay one recording under each of its configurations; raise UserError for what is none."""
    recording = read_recording(path)
    for name in recording.configurations:
        result = CaseResult(topic="malloc", case=f"{path.stem}/{name}", path=str(path))
        meta = recording.meta_of(name)
        library = library_of(meta["env"])
        if library is None:
            preloaded = meta["env"]["LD_PRELOAD"][:60]
            result.not_validated = f"{preloaded} is not modelled"
        else:
            _replay(recording, recording.configuration(name, meta, library), result)
        yield result


def _replay(recording: HeapRecording, configuration: Configuration, result: CaseResult) -> None:
    """Hold a configuration against its replay; say in `listed` how often time was taken from it.

    Recordings do not say how late it was. If the first difference is that pages were purged which
    the library keeps, it is replayed again, with time gone by before that operation.
    """
    late: set[int] = set()
    while True:
        calls = configuration.calls
        process = linked(configuration.meta["env"], calls.initial_maps, calls.stacks())
        kernel = RecordedKernel(calls, late)
        run = HeapRun(linked=process, kernel=kernel, operations=recording.operations)
        result.compared = result.equal = 0
        result.first_difference = None
        result.listed = len(late)
        op = _Comparison(configuration, kernel, run, result).run()
        is_timed = purges_by_time(process.library)
        if op is None or op in late or not is_timed or len(late) == _LATE_OPERATIONS_MAX:
            return
        late.add(op)


@define(eq=False)
class _Comparison:
    """A configuration and its replay, held against each other.

    What comes first in time is told first; after the first difference the two differ, and nothing
    more can be learnt from them.
    """

    recorded: Configuration
    kernel: RecordedKernel
    replay: HeapRun
    result: CaseResult
    _nr_compared: int = field(default=0, init=False)
    """Operations."""

    def run(self) -> int | None:
        """Replay all and compare all, up to the first difference.

        Return the operation that purged only in the recording, if that is the first difference.
        """
        replay, result, n = self.replay, self.result, len(self.replay.operations)
        calls = self.recorded.calls
        try:
            start = RecordedStart(calls.break_base, calls.initial_maps)
            replay.begin(start)
            at_main = calls.break_base + self.recorded.meta["totals"]["initial_brk"]
            result.compare("the program break at main()", at_main, start.program_break)
            for after, *numbers in self.recorded.mallinfo2.tolist():
                replay.run(min(after + 1, n))
                self.kernel.finish(after)
                if not self._compare_operations(min(after + 1, n)):
                    return None
                self._compare_numbers(f"mallinfo2 {self._after(after)}", numbers)
            replay.run(n)
            self.kernel.finish(n)
        except CallDiffersError as differs:
            self._compare_operations(max(min(differs.op, replay.nr_done), 0))
            place = f"{self._text_of(differs.op)}, system call {differs.nth}"
            result.compare(place, differs.recorded, differs.ours)
            is_alone = differs.is_purge_alone and result.compared == result.equal + 1
            return differs.op if is_alone else None
        except MallocAbortError as abort:
            self._compare_operations(replay.nr_done)
            place = self._text_of(replay.nr_done)
            result.compare(place, "an answer", f"abort: {abort.message}")
            return None
        if self._compare_operations(n):
            result.count(self.kernel.nr_equal)
            self._compare_end()
        return None

    def _compare_numbers(self, place: str, recorded: Sequence[int]) -> None:
        """Compare what mallinfo2 has at the moment."""
        ours = astuple(self.replay.mallinfo2())
        for name, value, own in zip(_MALLINFO2, recorded, ours, strict=True):
            self.result.compare(f"{place}, {name}", value, own)

    def _compare_end(self) -> None:
        """Compare what is said of the whole: texts, and bytes that were mapped."""
        result, meta = self.result, self.recorded.meta
        final = meta.get("mallinfo2_final")
        if final is not None:
            place = "meta.mallinfo2_final"
            self._compare_numbers(place, [final.get(name) for name in _MALLINFO2])
        recorded_text = meta.get("malloc_info_xml")
        if recorded_text is not None:
            ours = self.replay.malloc_info().split("\n")
            lines = zip_longest(recorded_text.split("\n"), ours, fillvalue="no line")
            for nth, (line, own) in enumerate(lines, 1):
                result.compare(f"malloc_info, line {nth}", line[:_LINE_CHARS], own[:_LINE_CHARS])
        totals = totals_of(self.recorded.calls)
        for name in TOTALS:
            result.compare(f"totals.{name}", meta["totals"][name], totals[name])

    def _text_of(self, op: int) -> str:
        return text_of_operation(self.replay.operations, op)

    def _after(self, op: int) -> str:
        return f"after {self._text_of(op)}" if op < len(self.replay.operations) else "at the end"

    def _compare_operations(self, until: int) -> bool:
        """Compare what operations returned; return whether all of it is equal."""
        recorded, replay, result = self.recorded, self.replay, self.result
        part = slice(self._nr_compared, until)
        self._nr_compared = max(self._nr_compared, until)
        pairs = [(getattr(recorded, name)[part], getattr(replay, name)[part]) for name in _RETURNED]
        is_equal = np.stack([one == other for one, other in pairs], axis=1)
        if is_equal.all():
            result.count(is_equal.size)
            return True
        nth, column = divmod(int(np.argmin(is_equal)), len(pairs))
        result.count(nth * len(pairs) + column)
        op = part.start + nth
        values: list[object] = [int(each[nth]) for each in pairs[column]]
        if column == 0:
            calls = recorded.calls
            mappings = calls.mappings_after(calls.nr_calls_until(op))
            values = [mappings.name_of(int(each[nth])) for each in pairs[column]]
        result.compare(f"{self._text_of(op)}, {list(_RETURNED.values())[column]}", *values)
        return False


def totals_of(calls: RecordedCalls) -> dict[str, int]:
    """Return how many bytes were mapped, by calls and by the program break, at most and at last."""
    mappings = calls.mappings_before()
    base = mappings.break_base
    peaks = [mappings.program_break - base, 0, mappings.program_break - base]
    for call in calls.calls:
        call.apply(mappings)
        brk, mapped = mappings.program_break - base, mappings.bytes_mapped
        peaks = list(map(max, peaks, (brk, mapped, brk + mapped)))
    final = (mappings.program_break - base, mappings.bytes_mapped)
    return dict(zip(TOTALS, (*peaks, *final), strict=True))
