"""Programs that write anything over their heap's words, between calls of any kind."""

import errno
import hashlib
import random
import sys

from attrs import define
from ptmallocs import BREAK, Guest, Mappings
from tcmallocs import TcGuest

from mmactors.arch.trace import as_signed
from mmactors.malloc.library import MallocAbortError
from mmactors.malloc.request import Brk, Mmap
from mmactors.malloc.tcmalloc.options.settings import Settings
from mmactors.units import PAGE_SIZE, ULONG_MAX

END_OF_ADDRESSES = (1 << 47) - PAGE_SIZE
SIZES = [0, 24, 24, 100, 100, 500, 1032, 1033, 1500, 5000, 40_000, 70_000, 140_000, 300_000]
STRANGE = [0, 1, 8, 0x21, -1, -32, 1 << 62, -(1 << 63), (1 << 63) - 1, BREAK, END_OF_ADDRESSES]
LIBRARY_KEEPS_BINS = {"tcache_count": 0}
LIBRARY_KEEPS_ALL = {"mmap_threshold": 1 << 25, "trim_threshold": 1 << 30}


@define(eq=False)
class Kernel(Mappings):
    """Refuses what Linux refuses: places within a page, and where no program has addresses."""

    def answer(self, call):
        if isinstance(call, Brk):
            is_near = BREAK <= call.address < BREAK + (1 << 30)
            return super().answer(call) if is_near else self.program_break
        length = getattr(call, "new_length", None) or call.length
        if call.address % PAGE_SIZE or not length:
            return -errno.EINVAL
        if call.address + length > END_OF_ADDRESSES or (
            isinstance(call, Mmap) and length > 1 << 30
        ):
            return -errno.ENOMEM
        return super().answer(call)


class Program:
    """Up to three threads that call and overwrite, all by one seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.guest = self.new_guest()
        self.library = self.guest.library
        self.threads = [0]
        for _ in range(self.random.choice([0, 0, 1, 2])):
            self.threads.append(self.library.new_thread())
        self.blocks = []
        self.library.words.watch(on=True)
        self.digest = hashlib.sha256()

    def new_guest(self):
        """Return the process, whose library keeps more or less to itself."""
        tunables = self.random.choice([{}, {}, LIBRARY_KEEPS_BINS, LIBRARY_KEEPS_ALL])
        return Guest(kernel=Kernel(), environment=tunables)

    def run(self, nr_calls):
        """Return what all calls did, as a number, and how it ended."""
        end = "went on"
        for _ in range(nr_calls):
            for _ in range(self.random.choice([0, 0, 0, 1, 1, 3])):
                self.overwrite()
            try:
                result = self.call()
            except MallocAbortError as error:
                end = error.message
                break
            addresses, codes = self.library.words.take_accesses()
            for each in (repr(result).encode(), addresses.tobytes(), codes.tobytes()):
                self.digest.update(each)
        self.digest.update(repr((end, self.library.words.content())).encode())
        return self.digest.hexdigest(), end

    def overwrite(self):
        """Write a word, mostly over one that is not 0."""
        words, rng = self.library.words, self.random
        pages = words.pages()
        if not pages:
            return
        places = [rng.choice(pages) * PAGE_SIZE + 8 * rng.randrange(512) for _ in range(40)]
        if self.blocks and rng.random() < 0.5:
            places = [rng.choice(self.blocks) + rng.choice([-16, -8, 0, 8, 16, 24])]
        filled = [each for each in places if words.peek(each)] or places
        place, other = rng.choice(filled), rng.choice(filled)
        old = words.peek(place)
        value = rng.choice(
            [
                rng.choice(STRANGE),
                words.peek(other),
                other,
                other - 16,
                place,
                place - 24,
                old ^ 1 << rng.randrange(64),
                old + rng.choice([-64, -16, -8, 16, 32, PAGE_SIZE]),
                place >> 12 ^ other & -16,
                rng.randrange(-(1 << 63), 1 << 63),
            ]
        )
        words.put(place, as_signed(value & ULONG_MAX))

    def call(self):
        """Let a thread make one call; return what it returned."""
        library, rng = self.library, self.random
        thread, size = rng.choice(self.threads), rng.choice(SIZES)
        if rng.random() < 0.02:
            size = rng.choice([1 << 40, (1 << 63) - 1 - rng.randrange(40), ULONG_MAX])
        kind = rng.choice([*range(17), *range(17), *range(17), *range(20)])
        old = rng.choice(self.blocks) if self.blocks and kind > 6 else 0
        if kind < 12 and kind > 6:
            if old and rng.random() < 0.9:
                self.blocks.remove(old)
            steps = library.free(thread, old)
        elif kind < 7:
            steps = library.malloc(thread, size)
        elif kind == 12:
            steps = library.calloc(thread, 1, size)
        elif kind == 13:
            steps = library.memalign(thread, 1 << rng.randrange(64), size)
        elif kind < 17:
            steps = library.realloc(thread, old, size)
            if old:
                self.blocks.remove(old)
        elif kind == 17:
            steps = library.malloc_trim(thread, rng.choice([0, 4096]))
        elif kind == 18 and len(self.threads) > 1 and rng.random() < 0.3:
            self.threads.remove(thread)
            steps = library.end_thread(thread)
        else:
            steps = rng.choice([library.mallinfo2, library.malloc_info, library.malloc_stats])(
                thread
            )
        result = self.guest.call(steps)
        if isinstance(result, int) and result > 16 and kind != 17:
            self.blocks.append(result)
        library.heap_bytes()
        if rng.random() < 0.03:
            library.heap_map()
        if old:
            library.peek_usable_size(old)
        return result


class TcProgram(Program):
    """Such threads on tcmalloc, whose own data is overwritten, too."""

    def new_guest(self):
        """Return the process, whose library gives more or less back."""
        chosen = self.random.choice(
            [
                {},
                {},
                {"aggressive_decommit": True},
                {"heap_limit_mb": 20, "release_rate": 100.0},
                {"transfer_num_obj": 2},
            ]
        )
        return TcGuest(kernel=Kernel(), settings=Settings(**chosen))


PROGRAMS = {"ptmalloc": Program, "tcmalloc": TcProgram}

if __name__ == "__main__":
    of_library = PROGRAMS[sys.argv[4]] if len(sys.argv) > 4 else Program
    for each in range(*map(int, sys.argv[1:3])):
        print(*of_library(each).run(int(sys.argv[3])))  # noqa: T201
