"""What every C library's allocator offers, and how it says that a program has broken its heap."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from operator import add
from typing import ClassVar, Self

from attrs import astuple, define, fields, frozen

from mmactors.malloc.heap_map import Segment
from mmactors.malloc.heap_rows import HeapRows
from mmactors.malloc.replay_rows import NEEDS_CALL, STOPPED
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import UserWords


@define(eq=False)
class MallocAbortError(Exception):
    """The library has found its heap broken: it writes a line on stderr and calls abort()."""

    message: str
    """As the library words it, such as `free(): double free detected in tcache 2`."""


class MallocFaultError(MallocAbortError):
    """The library follows a pointer that leads nowhere: SIGSEGV."""

    def __init__(self) -> None:
        super().__init__("Segmentation fault")


class MallocCircleError(MallocAbortError):
    """Links that the library follows lead round: glibc would go round for ever."""

    def __init__(self) -> None:
        super().__init__("malloc goes round a circle of links for ever")


@frozen(kw_only=True)
class HeapNumbers:
    """mallinfo2(3), bytes and numbers of blocks, as the library counts them: of an arena or all."""

    arena: int = 0
    ordblks: int = 0
    smblks: int = 0
    hblks: int = 0
    hblkhd: int = 0
    usmblks: int = 0
    fsmblks: int = 0
    uordblks: int = 0
    fordblks: int = 0
    keepcost: int = 0

    def __str__(self) -> str:
        """Return a line for each number, as `name: number`."""
        return "".join(f"{each.name}: {getattr(self, each.name)}\n" for each in fields(type(self)))

    def __add__(self, other: Self) -> Self:
        """Return the sums."""
        mine, others = astuple(self), astuple(other)
        names = (each.name for each in fields(type(self)))
        return type(self)(**dict(zip(names, map(add, mine, others), strict=True)))


@frozen(kw_only=True)
class HeapBytes:
    """What a library has from the system, whoever has it now; bytes."""

    system: int
    """By brk and mmap, and not given back."""
    free: int
    """In free chunks that any thread may get."""
    cached: int
    """In the caches of threads."""


class MallocLibrary(ABC):
    """An allocator that a process is linked with: its state is in `words`, but for little.

    Threads are numbered from 0, the one that main() runs in. An address of 0 is NULL; the errno is
    ENOMEM then, but where a call says otherwise. Any call may raise MallocAbortError.
    """

    words: UserWords
    """The process's memory, as far as the library wrote to it."""
    bytes_before_block: ClassVar[int] = 0
    """Those right before a block that no other block has, and where the library keeps its size."""

    def has_memory_at(self, address: int) -> bool:
        """Return whether the library still has the memory of a block that was freed."""
        return any(each.start <= address < each.end for each in self.heap_map())

    def run_rows(self, rows: HeapRows, end: int) -> None:  # noqa: ARG002 - it may know none
        """Do rows from `rows.row` to before `end`, which is moved on: see `Replay.run`.

        Where it stops at a row, `rows.stop` says why, else 0. Nobody else calls the library.
        """
        rows.stop[STOPPED] = NEEDS_CALL

    def resume_row(
        self, rows: HeapRows, thread: int, op: int, old: int, size: int, arg: int
    ) -> MallocSteps[int]:
        """Go on where `run_rows` has stopped with another reason than NEEDS_CALL; the result.

        `old` is the block that the row is about.
        """
        raise NotImplementedError

    @abstractmethod
    def reports(self) -> dict[str, Callable[[], MallocSteps[object]]]:
        """Return the library's calls that tell of its heap, by the name of what they tell."""

    @abstractmethod
    def heap_map(self) -> list[Segment]:
        """Return all memory that it has got from the system and what it holds, without access."""

    @abstractmethod
    def new_thread(self) -> int:
        """Return the number of a thread that begins; from the second on the process has several."""

    def set_thread_pointer(self, thread: int, pointer: int) -> None:  # noqa: B027 - few care
        """Learn where a thread's descriptor is, below which its variables lie (fs base)."""

    def start(self, thread: int) -> MallocSteps[None]:  # noqa: ARG002 - many do nothing
        """Do what happens with the heap before main(); the first call does it, too."""
        yield from ()

    @abstractmethod
    def end_thread(self, thread: int) -> MallocSteps[None]:
        """Let a thread's cache and arena go, as it ends (__malloc_arena_thread_freeres)."""

    @abstractmethod
    def malloc(self, thread: int, size: int) -> MallocSteps[int]:
        """malloc(size)."""

    def malloc_hit(self, thread: int, size: int) -> int:  # noqa: ARG002 - it may know none
        """Do what malloc does if it takes no request; 0: it does, and nothing was done."""
        return 0

    def free_hit(self, thread: int, address: int) -> bool:  # noqa: ARG002 - it may know none
        """Do what free does if it takes no request; False: it does, and nothing was done."""
        return False

    @abstractmethod
    def calloc(self, thread: int, members: int, size: int) -> MallocSteps[int]:
        """calloc(members, size): `size` bytes each."""

    @abstractmethod
    def realloc(self, thread: int, address: int, size: int) -> MallocSteps[int]:
        """realloc(address, size)."""

    @abstractmethod
    def memalign(self, thread: int, alignment: int, size: int) -> MallocSteps[int]:
        """memalign(alignment, size), which posix_memalign and aligned_alloc call."""

    @abstractmethod
    def free(self, thread: int, address: int) -> MallocSteps[None]:
        """free(address)."""

    @abstractmethod
    def malloc_trim(self, thread: int, pad: int) -> MallocSteps[int]:
        """malloc_trim(pad): 1 if memory was given back, else 0."""

    @abstractmethod
    def mallopt(self, thread: int, parameter: int, value: int) -> MallocSteps[int]:
        """mallopt(parameter, value): 1 if it was set, else 0."""

    @abstractmethod
    def peek_usable_size(self, address: int) -> int:
        """Return that of a block that the library has given, without an access."""

    @abstractmethod
    def heap_bytes(self) -> HeapBytes:
        """Return what is where, for who looks from outside: nothing is accessed."""

    @abstractmethod
    def mallinfo2(self, thread: int) -> MallocSteps[HeapNumbers]:
        """mallinfo2()."""

    @abstractmethod
    def malloc_info(self, thread: int) -> MallocSteps[str]:
        """The text that malloc_info(0, stream) prints."""

    @abstractmethod
    def malloc_stats(self, thread: int) -> MallocSteps[str]:
        """The text that malloc_stats() prints on stderr."""

    @abstractmethod
    def before_fork(self) -> MallocSteps[None]:
        """Hold everything still in the parent before a fork (__malloc_fork_lock_parent)."""

    @abstractmethod
    def after_fork(self) -> MallocSteps[None]:
        """Let others go on in the parent, after a fork that succeeded or not."""

    @abstractmethod
    def fork(self, number: int) -> Self:
        """Return the library of a child whose memory is a copy, and whose process is `number`.

        Its only thread has the number of the one that forked; `begin_child` is its first call.
        """

    @abstractmethod
    def begin_child(self, thread: int) -> MallocSteps[None]:
        """Let the locks be free that the child has copied (__malloc_fork_unlock_child)."""
