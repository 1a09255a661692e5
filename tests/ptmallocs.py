"""ptmalloc without a machine: a kernel that maps and remembers, and threads that wait for locks."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from attrs import define, field

from mmactors.label import Label
from mmactors.malloc.mman import MAP_FIXED
from mmactors.malloc.ptmalloc.ptmalloc import Ptmalloc
from mmactors.malloc.request import (
    Brk,
    InitMutex,
    LockMutex,
    Madvise,
    MallocRequest,
    MallocSteps,
    Mmap,
    Mprotect,
    Mremap,
    Munmap,
    Say,
    SystemCall,
    TrylockMutex,
    UnlockMutex,
)
from mmactors.rules import Rules
from mmactors.units import PAGE_SIZE

T = TypeVar("T")

BREAK: Final = 0x5555_5555_9000
MMAP_BASE: Final = 0x7FFF_F7C0_0000
MAIN_ARENA: Final = 0x7FFF_F7FA_2C60
LOCKS: Final = 0x7FFF_F7FA_4180
ENOMEM: Final = 12


@define(eq=False)
class Mappings:
    """Answers system calls as Linux does for a process with nothing but what it mapped itself."""

    calls: list[SystemCall] = field(factory=list)
    """Those that were made."""
    refuses: Callable[[SystemCall], bool] = lambda _: False
    """Which of them fail with ENOMEM."""
    program_break: int = BREAK
    ranges: list[tuple[int, int]] = field(factory=list)
    """What is mapped, sorted: begin and end of each."""

    def answer(self, call: SystemCall) -> int:
        """Do a call and return its result."""
        self.calls.append(call)
        refused = self.refuses(call)
        match call:
            case Brk(address=address):
                if address and not refused:
                    self.program_break = address
                return self.program_break
            case _ if refused:
                return -ENOMEM
            case Mmap(address=address, length=length, flags=flags):
                if flags & MAP_FIXED:
                    self._take(address, length)
                elif not address or not self._is_free(address, length):
                    address = self._highest_gap(length)
                self._add(address, length)
                return address
            case Munmap(address=address, length=length):
                self._take(address, length)
            case Mremap(address=address, old_length=old, new_length=new):
                self._take(address, old)
                if not self._is_free(address, new):
                    address = self._highest_gap(new)
                self._add(address, new)
                return address
            case Madvise() | Mprotect():
                pass
        return 0

    def _is_free(self, start: int, length: int) -> bool:
        return all(end <= start or start + length <= begin for begin, end in self.ranges)

    def _highest_gap(self, length: int) -> int:
        end = MMAP_BASE
        for begin, its_end in reversed(self.ranges):
            if end - its_end >= length:
                break
            end = begin
        return end - length

    def _add(self, start: int, length: int) -> None:
        assert start % PAGE_SIZE == 0 == length % PAGE_SIZE, f"{start:#x}, {length:#x}"
        self.ranges = sorted([*self.ranges, (start, start + length)])

    def _take(self, start: int, length: int) -> None:
        end = start + length
        self.ranges = sorted(
            part
            for begin, its_end in self.ranges
            for part in ((begin, min(its_end, start)), (max(begin, end), its_end))
            if part[0] < part[1]
        )


@define(eq=False)
class Running:
    """A thread in a call."""

    steps: MallocSteps[Any]
    answer: int | None = None
    waits_for: int | None = None
    """The word of the lock that it wants."""
    asked: MallocRequest | None = None
    """What it asked for last."""
    is_done: bool = False
    result: Any = None


@define(eq=False)
class Guest:
    """A process: a library, its kernel, and which locks are held."""

    kernel: Mappings = field(factory=Mappings)
    environment: Mapping[str, int] = field(factory=dict)
    nr_cpus: int = 2
    rules: Rules = field(factory=Rules)
    may_shrink_heap: bool = False
    asks_for_steps: bool = False
    library: Ptmalloc = field(init=False)
    held: dict[int, Running] = field(factory=dict)
    waiting: deque[Running] = field(factory=deque)
    said: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.library = Ptmalloc(
            main_arena=MAIN_ARENA,
            locks=LOCKS,
            nr_cpus=self.nr_cpus,
            tcache_key=0x1234_5678_9ABC_DEF0,
            rules=self.rules,
            tunables=self.environment,
            may_shrink_heap=self.may_shrink_heap,
            wants_step=lambda: self.asks_for_steps,
        )
        assert self.library.new_thread() == 0

    def start(self, steps: MallocSteps[Any]) -> Running:
        """Let a thread begin a call."""
        return Running(steps)

    def go_on(self, running: Running) -> None:
        """Let a thread do what it asked for and come to its next request, or to its end."""
        if running.waits_for is not None:
            if running.waits_for in self.held:
                return
            self.held[running.waits_for] = running
            running.waits_for = None
        try:
            request = running.asked = running.steps.send(running.answer)
        except StopIteration as end:
            running.is_done, running.result = True, end.value
            return
        running.answer = None
        match request:
            case LockMutex(word=word):
                running.waits_for = word
            case TrylockMutex(word=word):
                running.answer = int(word not in self.held)
                self.held.setdefault(word, running)
            case UnlockMutex(word=word):
                assert self.held.pop(word) is running, f"{request} is not the holder's"
            case InitMutex(word=word):
                self.held.pop(word, None)
            case Say(text=text):
                self.said.append(text)
            case Label():
                pass
            case _:
                running.answer = self.kernel.answer(request)

    def finish(self, running: Running) -> Any:
        """Let a thread go on to the end of its call; fail if it waits for another's lock."""
        while not running.is_done:
            assert running.waits_for not in self.held, f"{running.asked} is held by another"
            self.go_on(running)
        return running.result

    def call(self, steps: MallocSteps[T]) -> T:
        """Let a call run to its end alone; return its result."""
        result: T = self.finish(self.start(steps))
        return result

    def made(self, steps: MallocSteps[Any]) -> list[SystemCall]:
        """Let a call run to its end alone; return the system calls that it made."""
        nr_before = len(self.kernel.calls)
        self.call(steps)
        return self.kernel.calls[nr_before:]
