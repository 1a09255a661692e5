"""Misused heaps: what tcmalloc notices, what it says then, and what comes of what it does not.

A block freed twice, or in its middle, is a block as any other to it; only a page that has no span
is found out. What follows a wrong link makes an access where no memory is: SIGSEGV.
"""

import json
import signal
from pathlib import Path

import pytest
from tcmallocs import DATA_AT

from mmactors.malloc.library import MallocAbortError, MallocFaultError
from mmactors.malloc.request import Brk, SystemCall
from mmactors.malloc.tcmalloc.layout import DATA_BYTES
from mmactors.malloc.tcmalloc.tcmalloc import Tcmalloc
from mmactors.units import ULONG_MAX

RECORDED = json.loads(
    (Path(__file__).parents[1] / "reference" / "malloc" / "tcmalloc_misuse.json").read_text()
)


class _FaultError(Exception):
    """An access went where no memory is that may be written."""


class Misuser:
    """A process that does what a script says."""

    def __init__(self):
        self.program_break = self.base = RECORDED["first_break"]
        self.library = Tcmalloc(data_at=DATA_AT, nr_cpus=2)
        self.library.new_thread()
        self.library.words.watch(on=True)
        self.blocks = {}
        self.run(self.library.start(0))

    def run(self, steps):
        answer = None
        try:
            while True:
                request = steps.send(answer)
                self.must_be_there()
                answer = None
                if isinstance(request, Brk):
                    self.program_break = request.address or self.program_break
                    answer = self.program_break
                elif isinstance(request, SystemCall):
                    answer = 0
        except StopIteration as done:
            self.must_be_there()
            return done.value

    def must_be_there(self):
        for address in self.library.words.take_accesses()[0].tolist():
            is_heap = self.base <= address < self.program_break
            if not is_heap and not DATA_AT <= address < DATA_AT + DATA_BYTES:
                raise _FaultError

    def do(self, step):
        verb, (first, *rest) = step[0], [int(each, 0) for each in step[1:].split(",")]
        library, blocks = self.library, self.blocks
        second, third = [*rest, 0, 0][:2]
        match verb:
            case "m":
                blocks[first] = self.run(library.malloc(0, second & ULONG_MAX))
                return blocks[first]
            case "c":
                blocks[first] = self.run(library.calloc(0, third & ULONG_MAX, second & ULONG_MAX))
                return blocks[first]
            case "a":
                blocks[first] = self.run(library.memalign(0, third, second & ULONG_MAX))
                return blocks[first]
            case "f":
                self.run(library.free(0, blocks[first] + second))
            case "F":
                self.run(library.free(0, first & ULONG_MAX))
            case "r":
                blocks[third] = self.run(library.realloc(0, blocks[first], second))
                return blocks[third]
            case "R":
                return self.run(library.realloc(0, first, second))
            case "i":
                return self.run(library.realloc(0, blocks[first] + second, third))
            case "w":
                value = third & ULONG_MAX
                library.words.put_bytes(blocks[first] + second, value.to_bytes(8, "little"))
                return value
        return 0


@pytest.mark.parametrize(
    "case", RECORDED["cases"], ids=[" ".join(each["script"]) for each in RECORDED["cases"]]
)
def test_a_misused_heap_does_what_the_library_did(case):
    misuser, results, stderr, ended_by = Misuser(), [], "", 0
    try:
        results.extend(map(misuser.do, case["script"]))
    except (_FaultError, MallocFaultError):
        ended_by = signal.SIGSEGV
    except MallocAbortError as error:
        stderr, ended_by = f"{error.message}\n", signal.SIGABRT

    assert (case["results"], case["stderr"], case["signal"]) == (results, stderr, ended_by)
