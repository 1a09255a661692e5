"""Wait queues (kernel/sched/wait.c, v6.1)."""

from collections import deque
from collections.abc import Callable, Hashable

from attrs import define, field

from mmactors.engine.actor import NEVER, Actor
from mmactors.engine.baton import Engine
from mmactors.label import Label, Mode


@define(eq=False)
class _Sleeper:
    """A thread that sleeps in a wait queue."""

    queue: "WaitQueue"
    thread: Actor
    missed: Actor | None
    """Who woke the queue between this thread's look and its sleep: it sleeps for nothing."""
    at_ns: int = NEVER

    def describe(self) -> str:
        if self.missed is None:
            return self.queue.name
        return (
            f"{self.queue.name}: {self.missed} woke it between the look and the sleep, "
            "a lost wake-up"
        )


@define(eq=False)
class WaitQueue:
    """Threads that sleep until they are woken, in order of arrival (kernel/sched/wait.c).

    Going to sleep is a step of its own while exploring, so that a wake-up can come between the look
    and the sleep, and is lost.
    """

    engine: Engine
    name: str
    hands_over: bool = False
    """Whoever sleeps here looks first for what is handed over, and a wake-up only says that it is
    there: whether sleep or wake-up comes first is all the same."""
    _sleepers: deque[_Sleeper] = field(factory=deque, init=False)
    _nr_wakes: int = field(default=0, init=False)
    _waker: Actor | None = field(default=None, init=False)
    """Who woke the queue last."""

    def __attrs_post_init__(self) -> None:
        self.engine.register(self.name, self)

    def key(self) -> Hashable:
        """Return who sleeps, as numbers, and how often the queue was woken."""
        return tuple(sleeper.thread.index for sleeper in self._sleepers), self._nr_wakes

    def show(self) -> str:
        """Return who sleeps."""
        return ", ".join(sleeper.thread.name for sleeper in self._sleepers) or "nobody"

    async def sleep(self, *, unless: Callable[[], bool] | None = None) -> None:
        """Sleep until woken; the caller looks at its condition before and after.

        `unless` is that condition: it is looked at once more from inside the queue, so that no
        wake-up is lost (wait_event); if it holds, the thread does not sleep.
        """
        engine = self.engine
        missed = None
        if engine.is_exploring:
            nr_wakes = self._nr_wakes
            await engine.step(Label(f"sleep on {self.name}", ((self.name, Mode.WRITE),)))
            if unless is not None and unless():
                return
            if nr_wakes != self._nr_wakes and unless is None:
                missed = self._waker
        thread = engine.current
        assert thread.cpu is not None, f"{thread.name} has no CPU that it could give away"
        sleeper = _Sleeper(self, thread, missed)
        self._sleepers.append(sleeper)
        if engine.is_exploring or engine.allowed:
            engine.sleeping(self)
        await thread.cpu.sleep(sleeper, "sleep")

    def wake(self, nr_threads: int, *, at_ns: int) -> None:
        """Wake the first `nr_threads` sleepers, as a part of the running step."""
        self.engine.touch(self.name, Mode.WRITE)
        self._nr_wakes += 1
        self._waker = self.engine.running
        for _ in range(min(nr_threads, len(self._sleepers))):
            self._wake(0, at_ns)

    def wake_spuriously(self, at: int) -> None:
        """Wake one of `sleepers()` though nobody has: the one that stands there."""
        self._wake(at, max(self._sleepers[at].thread.clock.now, self.engine.now_ns))

    def _wake(self, at: int, at_ns: int) -> None:
        sleeper = self._sleepers[at]
        del self._sleepers[at]
        thread = sleeper.thread
        assert thread.cpu is not None, f"{thread.name} sleeps but has no CPU"
        sleeper.at_ns = at_ns
        thread.cpu.wake(thread, at_ns)

    def wake_all(self, *, at_ns: int) -> None:
        """Wake every sleeper, as a part of the running step."""
        self.wake(len(self._sleepers), at_ns=at_ns)

    def forget_actors(self) -> None:
        """Note that the actors which slept here are gone."""
        self._sleepers.clear()

    def sleepers(self) -> list[Actor]:
        """Return who sleeps, in order."""
        return [sleeper.thread for sleeper in self._sleepers]
