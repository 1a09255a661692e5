"""A small language of concurrent programs, which two interpreters run that share nothing else.

A program has cells, counts (cells that can add), locks, mailboxes and wait queues, and actors. An
actor has one variable, `seen`, which holds the number that its last operation gave; it notes them
all. What it writes, and where it branches, may depend on it.
"""

from attrs import field, frozen

CELLS = ("x", "y")
COUNTS = ("n",)
LOCKS = ("lock0", "lock1")
BOXES = ("box",)
QUEUES = ("queue",)
GAVE_UP = "gave up"
"""What who looked so often and did not see it notes."""

# -- numbers, and questions about them -------------------------------------------------------------


@frozen
class Const:
    """A number; equal ones of other types are others."""

    value: object = field(eq=repr)


@frozen
class Seen:
    """What was seen last, and so much more."""

    plus: int | None = None


def evaluate(expression, seen):
    """Return the number that an expression stands for."""
    if isinstance(expression, Const):
        return expression.value
    return seen if expression.plus is None else seen + expression.plus


TESTS = {
    "is not zero": bool,
    "is zero": lambda value: not value,
    "equals one": lambda value: value == 1,
    "is 1": lambda value: type(value) is int and value == 1,
    "is True": lambda value: value is True,
    "is a float": lambda value: type(value) is float,
    "is minus zero": lambda value: repr(value) == "-0.0",
}

# -- operations: each is one step ------------------------------------------------------------------


@frozen
class Read:
    cell: str


@frozen
class Write:
    cell: str
    value: Const | Seen


@frozen
class Xchg:
    cell: str
    value: Const | Seen


@frozen
class Cmpxchg:
    cell: str
    expected: Const | Seen
    value: Const | Seen


@frozen
class Add:
    cell: str
    number: int


@frozen
class AddReturn:
    cell: str
    number: int


@frozen
class DecAndTest:
    cell: str


@frozen
class GetAndClear:
    cell: str


@frozen
class Until:
    cell: str
    test: str


@frozen
class Acquire:
    lock: str


@frozen
class Release:
    lock: str


@frozen
class TryAcquire:
    lock: str


@frozen
class Receive:
    """Take a message; if it asks for an answer, answer with one more."""

    box: str


@frozen
class Ask:
    box: str
    value: Const | Seen


@frozen
class Sleep:
    queue: str


@frozen
class Wake:
    queue: str
    nr_actors: int


@frozen
class Fence:
    pass


@frozen
class Move:
    """An assignment inside a step: `to.value = from.value + plus`, or of what was seen last."""

    to: str
    source: str | None
    plus: int | None = None


@frozen
class Step:
    """A step on several objects: it sees what it reads, then assigns, in order."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    adds: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()
    is_event: bool = False
    """It happens at any time or never."""


@frozen
class Down:
    """Take one from the semaphore; note whether there was one, if it is not waited for."""

    is_timed: bool


@frozen
class Up:
    pass


@frozen
class Signal:
    """Set the event, or clear it."""

    is_set: bool


@frozen
class IsSignalled:
    pass


@frozen
class AwaitSignal:
    is_timed: bool


@frozen
class ReadLock:
    pass


@frozen
class ReadUnlock:
    pass


@frozen
class WriteLock:
    pass


@frozen
class WriteUnlock:
    pass


@frozen
class Meet:
    """Come to the barrier of two; the second one lets the first go on."""


@frozen
class BeginWait:
    """Give the lock of the condition back, and wait."""


@frozen
class Relock:
    """Take it again, notified; or be out of time."""

    is_timed: bool


@frozen
class Retake:
    """Take it again, out of time."""


@frozen
class Notify:
    is_all: bool


# -- what is made of them --------------------------------------------------------------------------


@frozen
class Tell:
    """Send a message in the step of a read, or in one that declares the mailbox."""

    box: str
    value: Const | Seen
    reads: str | None


@frozen
class Locked:
    lock: str
    body: tuple


@frozen
class Try:
    lock: str
    body: tuple


@frozen
class Reading:
    body: tuple


@frozen
class Writing:
    body: tuple


@frozen
class Waiting:
    """Wait for the condition, in its lock, and go on there."""

    is_timed: bool
    body: tuple


@frozen
class Choose:
    options: tuple[Const, ...]


@frozen
class Retry:
    """Look at most so often, until what is seen passes the test."""

    times: int
    cell: str
    test: str


@frozen
class RetryAdd:
    """Add one by compare and exchange, with at most so many tries."""

    times: int
    cell: str


@frozen
class If:
    test: str
    then: tuple
    orelse: tuple


@frozen
class Event:
    """What happens at any time or never, at most so often."""

    name: str
    step: Step
    times: int


@frozen
class Program:
    cells: tuple[tuple[str, Const], ...]
    actors: tuple[tuple, ...]
    nr_daemons: int = 0
    """So many actors, the first ones, may never take their steps."""
    events: tuple[Event, ...] = ()
    is_late: bool = False
    """Stores may be late."""


@frozen(order=True)
class Final:
    """One way to end; values are written down, so that equal ones of other types differ."""

    memory: tuple[str, ...]
    holders: tuple[int, ...]
    """Who has which lock; -1: nobody."""
    nr_messages: tuple[int, ...]
    notes: tuple[tuple[str, ...], ...]
    """What each actor noted."""
    unfinished: tuple[int, ...]
    """Who is deadlocked; nobody: all have ended."""
