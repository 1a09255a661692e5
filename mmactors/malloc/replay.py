"""A piece of a heap trace that runs on a process's library, in its own order, with nobody else."""

from collections.abc import Callable

from attrs import define

from mmactors.arch.heap_trace import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC
from mmactors.malloc.heap_rows import HeapRows
from mmactors.malloc.library import MallocLibrary
from mmactors.malloc.replay_rows import NEEDS_CALL, STOPPED, end_row
from mmactors.malloc.request import MallocSteps
from mmactors.units import ULONG_MAX


@define(eq=False, kw_only=True)
class Replay(HeapRows):
    """Operations, done as far as possible without a request: `run`, then `finish` where it stops.

    Rows that are no calls of malloc's (a thread's begin and end, malloc_trim, mallopt) stop it,
    too: who runs it does them.
    """

    library: MallocLibrary

    def run(self, end: int) -> bool:
        """Do rows to before `end`, or to one that `finish` must do: say whether it stopped at one.

        It also stops before a row if enough accesses are noted.
        """
        while True:
            self.library.words.make_room()
            self.library.run_rows(self, end)
            if self.stop[STOPPED]:
                return True
            if self.row >= end or (self.touched.size and self.touched[0] >= self.most_accesses):
                return False

    def finish(self) -> MallocSteps[None]:
        """Do the rest of the row at which `run` stopped, or all of it. MallocAbortError."""
        is_whole = self.stop[STOPPED] == NEEDS_CALL
        yield from self._do_row(self._call if is_whole else self._resume)

    def call(self) -> MallocSteps[None]:
        """Do all of a row by the library's call, which others may disturb. MallocAbortError."""
        yield from self._do_row(self._call)

    def _do_row(
        self, run: Callable[[int, int, int, int, int], MallocSteps[int]]
    ) -> MallocSteps[None]:
        of, row = self.operations, self.row
        op, number = int(of.op[row]), int(of.id[row])
        size, arg = int(of.size[row]) & ULONG_MAX, int(of.arg[row]) & ULONG_MAX
        thread = int(self.threads[of.tid[row]])
        old = int(self.objects[number]) if number >= 0 else -number
        block = yield from run(thread, op, old, size, arg)
        end_row(
            of.id,
            of.size,
            of.op,
            self.objects,
            self.address,
            self.usable,
            self.touched,
            self.live,
            self.lives,
            row,
            block,
            self.library.peek_usable_size(block) if block else 0,
            self.touches,
        )
        self.row += 1

    def _call(self, thread: int, op: int, old: int, size: int, arg: int) -> MallocSteps[int]:
        """Do a row that no compiled path can do."""
        library = self.library
        if op == FREE:
            yield from library.free(thread, old)
            return 0
        if op == CALLOC:
            members = arg or 1
            return (yield from library.calloc(thread, members, size // members))
        if op == REALLOC:
            return (yield from library.realloc(thread, old, size))
        if op == MEMALIGN:
            return (yield from library.memalign(thread, arg, size))
        assert op == MALLOC, f"operation {op} is not one of malloc's calls"
        return (yield from library.malloc(thread, size))

    def _resume(self, thread: int, op: int, old: int, size: int, arg: int) -> MallocSteps[int]:
        """Go on with a row where its compiled path has stopped."""
        return (yield from self.library.resume_row(self, thread, op, old, size, arg))
