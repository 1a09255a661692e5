"""tcmalloc as the real library was in a lab: random operations under its settings, and its texts.

Every address, usable size and system call, every number of mallinfo and every text is equal; see
tests/reference/malloc/README.md.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from attrs import astuple, define, field
from tcmallocs import DATA_AT

from mmactors.malloc.request import (
    Brk,
    LockMutex,
    Madvise,
    Mmap,
    Munmap,
    Say,
    UnlockMutex,
)
from mmactors.malloc.tcmalloc.options.settings import read_settings
from mmactors.malloc.tcmalloc.tcmalloc import Tcmalloc
from mmactors.malloc.tcmalloc.tcmalloc_par import CURBRK
from mmactors.units import ULONG_MAX

LAB = Path(__file__).parents[1] / "reference" / "malloc" / "tcmalloc_lab.npz"
ARRAYS = np.load(LAB)
CASES = json.loads(bytes(ARRAYS["meta"]))
NR_BRK, NR_MMAP, NR_MUNMAP, NR_MADVISE = 12, 9, 11, 28
DTV_BYTES = 19 * 16
"""What a thread costs the heap: libc, tcmalloc and libstdc++ have variables of threads."""


@define
class LabKernel:
    """Answers as the kernel did, and before main() moves the break only."""

    calls: list
    program_break: int
    row: int = -1
    said: list = field(factory=list)

    def run(self, steps):
        """Drive a call to its end and return its result."""
        answer = None
        try:
            while True:
                answer = self.answer(steps.send(answer))
        except StopIteration as done:
            return done.value

    def answer(self, request):
        match request:
            case LockMutex() | UnlockMutex():
                return None
            case Say(text=text):
                self.said.append(text)
                return None
            case Brk(address=address):
                asked = [NR_BRK, address]
            case Mmap(address=address, length=length, prot=prot, flags=flags):
                asked = [NR_MMAP, address, length, prot, flags]
            case Munmap(address=address, length=length):
                asked = [NR_MUNMAP, address, length]
            case Madvise(address=address, length=length, advice=advice):
                asked = [NR_MADVISE, address, length, advice]
        if self.row < 0:
            if isinstance(request, Brk):
                self.program_break = request.address or self.program_break
            return self.program_break if isinstance(request, Brk) else 0
        row, *recorded, result = self.calls.pop(0) if self.calls else [-1]
        assert [row, *recorded[: len(asked)]] == [self.row, *asked]
        return result


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case["name"] for case in CASES])
def test_the_model_does_what_the_library_did(number):
    case = CASES[number]
    arrays = {
        name: ARRAYS[f"{number}.{name}"]
        for name in ("rows", "address", "usable", "sys", "texts", "text_of")
    }
    run = LabRun(case, arrays)

    run.start()
    for row, operation in enumerate(arrays["rows"].tolist()):
        run.do(row, *operation)
    assert [] == run.kernel.calls


class LabRun:
    """One recorded process."""

    def __init__(self, case, arrays):
        self.base = case["first_break"]
        self.case = case
        self.kernel = LabKernel(arrays["sys"].tolist(), self.base)
        settings = read_settings(case["environment"]).settings
        self.library = Tcmalloc(data_at=DATA_AT, nr_cpus=2, settings=settings)
        self.address = arrays["address"].tolist()
        self.usable = arrays["usable"].tolist()
        self.objects = {}
        self.dtvs = {}
        ends = np.cumsum(arrays["text_of"][:, 1]).tolist()
        begins = [0, *ends[:-1]]
        texts = bytes(arrays["texts"])
        self.texts = {
            row: texts[begin:end]
            for row, begin, end in zip(arrays["text_of"][:, 0].tolist(), begins, ends, strict=True)
        }

    def start(self):
        self.kernel.program_break = self.base
        self.library.new_thread()
        self.kernel.run(self.library.start(0))
        assert self.case["break_at_main"] == self.library.par[CURBRK]
        self.kernel.row = 0
        for thread in range(1, self.case["threads"]):
            assert thread == self.library.new_thread()
            self.dtvs[thread] = self.kernel.run(self.library.calloc(0, 1, DTV_BYTES))

    def do(self, row, op, tid, name, size, arg):
        library, run = self.library, self.kernel.run
        self.kernel.row = row
        match op:
            case 0:
                block = run(library.malloc(tid, size))
            case 1:
                block = run(library.calloc(tid, arg, size // arg))
            case 2:
                block = run(library.realloc(tid, self.objects.get(name, 0), size))
            case 3:
                run(library.free(tid, self.objects.pop(name)))
                block = 0
            case 4:
                block = run(library.memalign(tid, arg, size))
            case 5:
                run(library.end_thread(arg))
                run(library.free(0, self.dtvs.pop(arg)))
                return
            case _:
                self.look(row, op, size, arg)
                return
        if op != 3:
            self.objects[name] = block
        assert self.address[row] == (block and block - self.base), (row, op, tid, name, size)
        if block:
            assert self.usable[row] == library.peek_usable_size(block), (row, size)
        said = "".join(f"{text}\n" for text in self.kernel.said)
        self.kernel.said.clear()
        assert self.texts.get(row, b"").decode() == said

    def look(self, row, op, size, arg):
        library, run = self.library, self.kernel.run
        text = self.texts.get(row, b"")
        match op:
            case 6:
                assert text.decode() == run(library.malloc_stats(0))
            case 7:
                assert tuple(np.frombuffer(text, "<i4").tolist()) == astuple(
                    run(library.mallinfo())
                )
            case 8:
                assert text.decode() == run(library.get_stats())
            case 9:
                assert self.usable[row] == run(library.malloc_trim(0, size))
            case 10:
                assert self.usable[row] == run(library.mallopt(0, arg, size)) & ULONG_MAX
