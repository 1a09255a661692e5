"""An actor as the engine sees it: a coroutine, a clock, and what it waits for."""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Iterable
from typing import Any, Final, Protocol

from attrs import define, field

from mmactors.engine.trace.span import Span, Who

NEVER: Final = 1 << 62
"""A time after all others, in nanoseconds."""
LAST_NS: Final = NEVER - 1
"""When somebody goes on who is stuck unless others do something before."""

PARK: Final = object()
"""What an actor's coroutine yields to its driver when it gives the baton back."""
BREATH: Final = object()
"""What it yields when it keeps the baton and others may have the host's thread (engine/turn.py).

Anything else is a foreign await.
"""


class _Trap:
    """Yields one of these to the driver."""

    def __init__(self, trap: object) -> None:
        self._traps: Final = (trap,)

    def __await__(self) -> "Generator[object, None, None]":
        # An iterator is all that is needed, and a tuple's is cheaper than a generator.
        return iter(self._traps)  # type: ignore[return-value]


PARKING: Final = _Trap(PARK)
"""`await PARKING` parks the running actor; the one primitive through which all waiting goes."""
BREATHING: Final = _Trap(BREATH)
"""`await BREATHING` parks nobody: the running actor goes on when the host's thread is back."""


@define(eq=False)
class Clock:
    """A place's virtual time; the contexts of one CPU share the CPU's clock."""

    now: int = 0
    """Nanoseconds since the machine started; never goes back."""


class Waitable(Protocol):
    """Something an actor can wait for, as deadlock reports name it."""

    def describe(self) -> str:
        """Say what is waited for, and who could end it."""


class Awaited(Waitable, Protocol):
    """Something that will have happened at a time which is not known before."""

    at_ns: int
    """When it happens for who waits; NEVER as long as nobody knows."""


class Keyed(Protocol):
    """A shared object whose whole state can be named by a value."""

    def key(self) -> Hashable:
        """Return a value that is equal when the state is equal."""

    def show(self) -> str:
        """Return the state as text."""


class Processor(Protocol):
    """The CPU that an actor runs on, as actors, locks and their observers see it (`Cpu`)."""

    index: int
    name: str
    """What steps that touch it call it."""
    clock: Clock
    contexts: list[str]
    """Names of the interrupt contexts above the thread, innermost last."""
    spinlocks_held: int
    """Held or spun for."""
    rcu_nesting: int
    """Open RCU read sections."""
    current: "Actor"
    """Who is on it: a thread, or the idle actor."""
    idle: "Actor"
    interrupt_ns: int
    """When the next interrupt can be taken; NEVER if none is pending or they are off."""
    nr_iowait: int
    """Threads that sleep in io_schedule()."""

    @property
    def irqs_enabled(self) -> bool:
        """Whether interrupts are taken."""

    def has_interrupt(self) -> bool:
        """Whether an interrupt can be taken now."""

    async def take_interrupts(self) -> None:
        """Run the handlers of all interrupts that have arrived."""

    def disable_irqs(self) -> None:
        """Take no interrupts until `enable_irqs` was called as often."""

    def enable_irqs(self) -> None:
        """Undo one `disable_irqs`."""

    async def sleep(self, waitable: Waitable, label: str, *, state: int = ...) -> None:
        """Give it away until `wake` is called for the running thread."""

    def assert_may_sleep(self, waitable: Waitable) -> None:
        """Raise SleepInAtomicContext unless the running thread may give it away."""

    def wake(self, thread: "Actor", at_ns: int) -> None:
        """Let a thread that sleeps run again."""

    def exit_thread(self, state: int = ...) -> None:
        """Give it away for good."""

    def queued(self) -> list["Actor"]:
        """Return the threads of the run queue, in their order."""

    def pending_vectors(self) -> list[str]:
        """Return the vectors of the interrupts that have not been taken, in their order."""


@define(eq=False, kw_only=True)
class ThreadTimes:
    """What a thread has had of CPUs (struct task_struct)."""

    ran_ns: int = 0
    """On a CPU, without interrupts, up to its last switch or interrupt (sum_exec_runtime)."""
    user_ns: int = 0
    """Of that in user mode."""
    nvcsw: int = 0
    """Voluntary context switches: it slept or ended."""
    nivcsw: int = 0
    """Involuntary ones: its slice was used up, or it moved to another CPU."""


@define(eq=False, kw_only=True, repr=False)
class Actor:
    """One actor. At most one exists per name; `index` is its place in schedules."""

    index: int
    name: str
    coro: Coroutine[Any, Any, None]
    clock: Clock
    daemon: bool
    """A run is complete when all actors that are no daemons have ended."""
    pid: int | None = None
    """Its process (tgid)."""
    tid: int | None = None
    """Its thread; None: it is none of a program's."""
    cpu: Processor | None = None
    """The CPU this actor runs on; None for a service with a clock of its own."""
    who: Who | None = None
    """How the probe names it; None: not yet."""
    span: Span | None = None
    """What it is doing, if events are recorded; None: nothing that has a beginning."""
    woken_by: int = 0
    """The number of the event that woke it, until it runs; 0: none."""
    label: str = "start"
    """What the actor does when it gets the baton next."""
    doing: object = None
    """What it was told to do, such as an operation of a program; reports show it as text."""
    waits_for: Waitable | None = None
    ready_at: int | None = None
    """When the actor could run; None: it waits for somebody else."""
    ready_order: int = 0
    """Which of the actor's entries in the ready set is the valid one; 0: none."""
    entry_of_label: dict[str, int] = field(factory=dict)
    """What the recorder calls this actor with each of its labels."""
    times: ThreadTimes = field(factory=ThreadTimes)
    """What it has had of CPUs, if it is a thread."""
    preempt: Callable[[], Awaitable[None]] | None = None
    """How it is preempted on the path of the kernel that it is on; None: it is not."""
    is_preemptible: bool = False
    """It may be preempted just now: when it has taken an interrupt."""
    finished: bool = False
    task: Any = None
    """The driver's handle."""
    send: Callable[[None], Any] = field(init=False)
    """The coroutine's own, found faster."""

    def __attrs_post_init__(self) -> None:
        self.send = self.coro.send

    def withdraw(self) -> None:
        """Leave the ready set: somebody else does what this actor was to be woken for."""
        self.ready_at = None
        self.ready_order = 0

    def __str__(self) -> str:
        """Return who this is, and where, as reports name it."""
        cpu = self.cpu
        return self.name if cpu is None or cpu.idle is self else f"cpu{cpu.index}/{self.name}"


def latest_ns(actors: Iterable[Actor]) -> int:
    """Return the time that the latest has come to: it never goes back, as that of who runs may."""
    return max((actor.clock.now for actor in actors), default=0)
