"""jemalloc as the real library was in a lab: random operations under MALLOC_CONF, and its text.

Every address, usable size and system call is equal, and the text of malloc_stats_print but for the
uptimes; see tests/reference/malloc/README.md.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from jemallocs import DATA_AT

from mmactors.malloc.jemalloc.arenas import STATS_INTERNAL
from mmactors.malloc.jemalloc.jemalloc import Jemalloc
from mmactors.malloc.jemalloc.malloc_conf import MALLOC_CONF, read_malloc_conf
from mmactors.malloc.jemalloc.report.print_stats import stats_text
from mmactors.malloc.mman import MADV_DONTNEED
from mmactors.malloc.request import (
    Brk,
    ClockGettime,
    InitMutex,
    LockMutex,
    Madvise,
    Mmap,
    Munmap,
    TrylockMutex,
    UnlockMutex,
)

ARRAYS = np.load(Path(__file__).parents[1] / "reference" / "malloc" / "jemalloc_lab.npz")
META = json.loads(bytes(ARRAYS["meta"]))
CASES = META["cases"]
NR_BRK, NR_MMAP, NR_MUNMAP, NR_MADVISE = 12, 9, 11, 28
BEGINS, ENDS = 8, 9
DTV_BYTES = 19 * 16
START = (0x7FFF_F740_0000, 0x7FFF_F720_0000, 0x7FFF_F6E0_0000)
"""Where the kernel mapped what is larger than a page before main."""
UPTIME_NS = 20_000_000
"""More than the coarse clock's tick, less than a second: rates are numbers then."""
BUFFER_BYTES = 65536
ARENAS_OF_CTL, STATS_OF_CTL, ARENA_OF_CTL = 32800, 720, 37856
"""What mallctl has of base memory: ctl_arenas_t, ctl_stats_t, for each arena and two sums."""


class LabKernel:
    """Answers as the kernel did, and before main() as it did in all cases."""

    def __init__(self, case, calls):
        self.case, self.calls, self.row = case, calls, -1
        self.start = list(START)
        self.library = None

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
            case LockMutex() | UnlockMutex() | InitMutex():
                return None
            case TrylockMutex():
                return 1
            case ClockGettime():
                return 0
            case Brk(address=address):
                asked = [NR_BRK, address]
            case Mmap(address=address, length=length, prot=prot, flags=flags):
                asked = [NR_MMAP, address, length, prot, flags]
            case Munmap(address=address, length=length):
                asked = [NR_MUNMAP, address, length]
            case Madvise(address=address, length=length, advice=advice):
                asked = [NR_MADVISE, address, length, advice]
                if advice == MADV_DONTNEED:
                    self.library.words.discard(address, address + length)
        if self.row < 0:
            is_block = isinstance(request, Mmap) and request.length > 4096
            return self.start.pop(0) if is_block else 0
        row, *recorded, result = self.calls.pop(0) if self.calls else [-1]
        assert [row, *recorded[: len(asked)]] == [self.row, *asked]
        return result


class LabRun:
    """One recorded process."""

    def __init__(self, number):
        self.case = CASES[number]
        arrays = {name: ARRAYS[f"{number}.{name}"] for name in ("rows", "address", "usable")}
        self.rows, self.address, self.usable = (each.tolist() for each in arrays.values())
        self.kernel = LabKernel(self.case, ARRAYS[f"{number}.sys"].tolist())
        options = read_malloc_conf({MALLOC_CONF: self.case["malloc_conf"]}).options
        self.library = self.kernel.library = Jemalloc(data_at=DATA_AT, nr_cpus=2, options=options)
        self.objects, self.dtvs, self.threads = {}, {}, {0: self.begin_thread(0)}

    def begin_thread(self, tid):
        thread = self.library.new_thread()
        self.library.set_thread_pointer(thread, self.case["thread_pointers"][tid])
        return thread

    def do(self, row, op, tid, name, size, arg):
        library, run = self.library, self.kernel.run
        self.kernel.row = row
        block = 0
        match op:
            case 0:
                block = run(library.malloc(self.threads[tid], size))
            case 1:
                block = run(library.calloc(self.threads[tid], arg or 1, size // (arg or 1)))
            case 2:
                block = run(library.realloc(self.threads[tid], self.objects[name], size))
            case 3:
                run(library.free(self.threads[tid], self.objects.pop(name)))
            case 4:
                block = run(library.memalign(self.threads[tid], arg, size))
            case int(number) if number == BEGINS:
                self.dtvs[tid] = run(library.calloc(0, 1, DTV_BYTES))
                self.threads[tid] = self.begin_thread(tid)
            case int(number) if number == ENDS:
                run(library.end_thread(self.threads[tid]))
                run(library.free(0, self.dtvs.pop(tid)))
        if op in {BEGINS, ENDS}:
            return
        if op != 3:
            self.objects[name] = block
        usable = library.peek_usable_size(block) if block else 0
        assert (self.address[row], self.usable[row]) == (block, usable)

    def prints(self):
        """Return the text, after what the library needs to write it."""
        library, run = self.library, self.kernel.run
        self.kernel.row = len(self.rows)
        tsd, arena, pages = int(library.tsds[0]), library.arenas.at(0), library.heap.pages
        buffer = run(library.calls.large.malloc(tsd, arena, BUFFER_BYTES, zero=False))
        assert buffer
        internal = library.words.peek(arena + STATS_INTERNAL)
        library.words.put(arena + STATS_INTERNAL, internal + BUFFER_BYTES)
        arenas = [ARENA_OF_CTL] * (2 + library.arenas.nr_total)
        for size in [ARENAS_OF_CTL, STATS_OF_CTL, *arenas]:
            assert run(pages.base_alloc(tsd, 0, size, 16))
        text = stats_text(library.heap, library.arenas, library.options, UPTIME_NS)
        run(library.calls.large.free(tsd, buffer))
        return text


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case["name"] for case in CASES])
def test_the_model_does_what_the_library_did_and_tells_the_same(number):
    run = LabRun(number)
    run.kernel.run(run.library.initialize(0))

    for row, operation in enumerate(run.rows):
        run.do(row, *operation)
    text = re.sub(r"uptime: \d+", "uptime: T", run.prints())

    assert bytes(ARRAYS[f"{number}.text"]).decode() == text
    assert [] == run.kernel.calls


@pytest.mark.parametrize(
    ("text", "said", "_"), META["conf"], ids=[each[0] for each in META["conf"]]
)
def test_what_the_library_does_not_like_of_malloc_conf_is_told_in_its_words(text, said, _):
    ignored = read_malloc_conf({MALLOC_CONF: text}).ignored

    quoted = [found[1] for each in ignored if (found := re.search("`(.*)`", each.why))]
    if any("leaves it out" in each.why for each in ignored):
        return
    assert list(dict.fromkeys(said)) == quoted
