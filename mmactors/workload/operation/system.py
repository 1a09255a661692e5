"""Operations on files, processes, CPUs, limits, cgroups and settings, and between programs."""

from typing import ClassVar, Final

from attrs import frozen

from mmactors.units import KIB
from mmactors.workload.operation.address import Range
from mmactors.workload.operation.grammar import (
    FILE,
    NAME_WORD,
    PATH,
    RANGE,
    REST,
    SIZE,
    WORD,
    Written,
    choice,
    integer,
    keyword,
    positional,
    size,
    switch,
)
from mmactors.workload.operation.value import ASCENDING, BLOCK_ORDER, COUNT, Order

_CPU: Final = integer(0, 8191, "CPU")
"""NR_CPUS of Debian's configuration is 8192."""
_BLOCK: Final = size(1, 64 * KIB)
RLIMITS: Final = (
    "AS",
    "CORE",
    "CPU",
    "DATA",
    "FSIZE",
    "MEMLOCK",
    "NOFILE",
    "NPROC",
    "RSS",
    "STACK",
)
FADVICES: Final = ("NORMAL", "SEQUENTIAL", "RANDOM", "NOREUSE", "WILLNEED", "DONTNEED")

# Files.


@frozen(kw_only=True)
class Open(Written):
    """Open a file and bind `file` to it.

    A path that does not begin with `/` is looked up from there; directories are there when they
    are named, and cannot be opened.
    """

    verb: ClassVar[str] = "open"
    file: str = positional(FILE)
    path: str = positional(PATH)
    ro: bool = switch("ro")
    create: bool = switch("create")
    direct: bool = switch("direct")


@frozen(kw_only=True)
class Close(Written):
    """Close a file."""

    verb: ClassVar[str] = "close"
    file: str = positional(FILE)


@frozen(kw_only=True)
class Unlink(Written):
    """Remove a file's name."""

    verb: ClassVar[str] = "unlink"
    path: str = positional(PATH)


@frozen(kw_only=True)
class Fsync(Written):
    """Write a file's dirty pages and wait."""

    verb: ClassVar[str] = "fsync"
    file: str = positional(FILE)


@frozen(kw_only=True)
class Sync(Written):
    """Write all dirty pages and wait."""

    verb: ClassVar[str] = "sync"


@frozen(kw_only=True)
class Ftruncate(Written):
    """Set a file's length."""

    verb: ClassVar[str] = "ftruncate"
    file: str = positional(FILE)
    length: int = positional(SIZE)


@frozen(kw_only=True)
class Fadvise(Written):
    """Advise the kernel about a range of a file: POSIX_FADV_`advice`; length 0: to its end."""

    verb: ClassVar[str] = "fadvise"
    file: str = positional(FILE)
    offset: int = positional(SIZE)
    length: int = positional(SIZE)
    advice: str = positional(choice(*FADVICES, symbol="ADVICE"))


@frozen(kw_only=True)
class Readahead(Written):
    """Read a range of a file into the page cache."""

    verb: ClassVar[str] = "readahead"
    file: str = positional(FILE)
    offset: int = positional(SIZE)
    length: int = positional(SIZE)


@frozen(kw_only=True)
class Read(Written):
    """pread a range of a file in blocks."""

    verb: ClassVar[str] = "read"
    file: str = positional(FILE)
    offset: int = positional(SIZE)
    length: int = positional(SIZE)
    block_bytes: int = keyword("bs", _BLOCK)
    order: Order = keyword("order", BLOCK_ORDER, ASCENDING)


@frozen(kw_only=True)
class Write(Written):
    """pwrite a range of a file in blocks, each from the start of `source` in memory."""

    verb: ClassVar[str] = "write"
    file: str = positional(FILE)
    offset: int = positional(SIZE)
    length: int = positional(SIZE)
    block_bytes: int = keyword("bs", _BLOCK)
    order: Order = keyword("order", BLOCK_ORDER, ASCENDING)
    source: Range | None = keyword("from", RANGE, None)
    """None: a buffer of the interpreter's that is always present."""


# Processes, threads, CPUs.


@frozen(kw_only=True)
class Fork(Written):
    """Fork a child process, known as `child`."""

    verb: ClassVar[str] = "fork"
    child: str = positional(NAME_WORD)


@frozen(kw_only=True)
class Thread(Written):
    """Start a thread on a CPU, known as `name`."""

    verb: ClassVar[str] = "thread"
    name: str = positional(NAME_WORD)
    cpu: int = keyword("cpu", _CPU)


@frozen(kw_only=True)
class Spin(Written):
    """Loop in user mode until stopped."""

    verb: ClassVar[str] = "spin"


@frozen(kw_only=True)
class Stop(Written):
    """Stop a thread's spinning."""

    verb: ClassVar[str] = "stop"
    name: str = positional(NAME_WORD)


@frozen(kw_only=True)
class Wait(Written):
    """Wait for every operation that was started with `&`."""

    verb: ClassVar[str] = "wait"


@frozen(kw_only=True)
class Exit(Written):
    """End the process or thread."""

    verb: ClassVar[str] = "exit"


@frozen(kw_only=True)
class Reap(Written):
    """Wait for the children that have ended."""

    verb: ClassVar[str] = "reap"


@frozen(kw_only=True)
class Kill(Written):
    """SIGKILL a child."""

    verb: ClassVar[str] = "kill"
    child: str = positional(NAME_WORD)


@frozen(kw_only=True)
class Cpu(Written):
    """Pin the process to a CPU."""

    verb: ClassVar[str] = "cpu"
    cpu: int = positional(_CPU)


@frozen(kw_only=True)
class SchedSetaffinity(Written):
    """Let a thread go on on another CPU, from its next operation on; 0, or -ESRCH."""

    verb: ClassVar[str] = "sched_setaffinity"
    thread: str = positional(NAME_WORD)
    cpu: int = keyword("cpu", _CPU)


@frozen(kw_only=True)
class Barrier(Written):
    """Wait until `count` threads, of any programs, have come to the barrier `name`."""

    verb: ClassVar[str] = "barrier"
    name: str = positional(NAME_WORD)
    count: int = positional(COUNT)


@frozen(kw_only=True)
class Race(Written):
    """Mark the end of set-up: `mmactors explore` tries every order of what comes after it."""

    verb: ClassVar[str] = "race"


@frozen(kw_only=True)
class Sleep(Written):
    """Give the CPU away for a time."""

    verb: ClassVar[str] = "sleep"
    duration_ms: int = positional(integer(0, 1 << 40, "MS"))


@frozen(kw_only=True)
class Nop(Written):
    """Do nothing."""

    verb: ClassVar[str] = "nop"


# Limits, cgroups, settings.


@frozen(kw_only=True)
class Oomadj(Written):
    """Set oom_score_adj of the process."""

    verb: ClassVar[str] = "oomadj"
    score: int = positional(integer(-1000, 1000))


@frozen(kw_only=True)
class Rlimit(Written):
    """Set a limit of the process, soft and hard."""

    verb: ClassVar[str] = "rlimit"
    name: str = positional(choice(*RLIMITS, symbol="LIMIT"))
    limit: int = positional(SIZE)


@frozen(kw_only=True)
class Cgcreate(Written):
    """Make a cgroup (v2)."""

    verb: ClassVar[str] = "cgcreate"
    group: str = positional(WORD)


@frozen(kw_only=True)
class Cgset(Written):
    """Write a file of a cgroup."""

    verb: ClassVar[str] = "cgset"
    group: str = positional(WORD)
    file: str = positional(WORD)
    value: str = positional(REST, is_rest=True)


@frozen(kw_only=True)
class Cgjoin(Written):
    """Move the process into a cgroup."""

    verb: ClassVar[str] = "cgjoin"
    group: str = positional(WORD)


@frozen(kw_only=True)
class Cgget(Written):
    """Read a file of a cgroup."""

    verb: ClassVar[str] = "cgget"
    group: str = positional(WORD)
    file: str = positional(WORD)


@frozen(kw_only=True)
class Put(Written):
    """Write a file of /proc or /sys."""

    verb: ClassVar[str] = "put"
    path: str = positional(PATH)
    value: str = positional(REST, is_rest=True)


@frozen(kw_only=True)
class Get(Written):
    """Read a file of /proc or /sys; its text is kept with the run (texts/)."""

    verb: ClassVar[str] = "get"
    path: str = positional(PATH)


@frozen(kw_only=True)
class Snap(Written):
    """Bring counters together and read vmstat, meminfo, buddyinfo and interrupts under a tag."""

    verb: ClassVar[str] = "snap"
    tag: str = positional(WORD)
