"""Threads that spin in user mode: they look at something again and again, with a PAUSE before each.

Looks that see nothing new change nothing, so they are not made: a spinning thread keeps its CPU,
takes interrupts, and looks again at the first of its turns after somebody has told that there is
something to see, or when it has no turns left. It looks once even if nobody tells, so that what a
program's own store has changed is seen then.

In a search there is no time, and turns before the last could all be left out: whoever spins makes
a last attempt afterwards that shows the same. So no thread spins there.

Left out: the misses of a spinning thread when others change the word's cache line and the lock
stays taken; turns that an interrupt takes away count as made.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from attrs import define, field

from mmactors.actors.program.thread import UserThread
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.actor import Actor

FOR_EVER: Final = -1
"""So many turns has a thread that never gives up."""


@define(eq=False)
class _Spinner:
    """One thread that spins."""

    name: str
    actor: Actor
    began_ns: int
    at_ns: int
    """When it looks again."""

    def describe(self) -> str:
        return f"{self.name}, spinning"


@define(eq=False)
class Spinning:
    """The threads that spin at one lock."""

    kernel: Kernel
    name: str
    """That of the lock."""
    _spinners: list[_Spinner] = field(factory=list, init=False)

    async def spin(
        self, thread: UserThread, turns: int, is_good: Callable[[], Awaitable[bool]]
    ) -> bool:
        """Look whether it is good, after each of so many pauses; return whether it was.

        FOR_EVER: until it is, or the thread has to end.
        """
        if self.kernel.engine.is_exploring:
            return False
        slice_turns = max(self.kernel.costs.slice_ns // self.kernel.costs.pause_ns, 1)
        while turns and not thread.must_end:
            at_most = slice_turns if turns == FOR_EVER else min(turns, slice_turns)
            passed = await self._pause(thread.actor, at_most)
            if await is_good():
                return True
            if turns != FOR_EVER:
                turns = max(turns - passed, 0)
            await thread.cpu.cond_resched()
        return False

    def tell(self, at_ns: int) -> None:
        """Let all who spin look at their first turns from `at_ns` on."""
        for spinner in self._spinners:
            spinner.at_ns = min(spinner.at_ns, self._turn_after(spinner, at_ns))
            if spinner.actor.cpu is not None and spinner.actor.cpu.current is spinner.actor:
                self.kernel.engine.make_ready(spinner.actor, spinner.at_ns)

    async def _pause(self, actor: Actor, at_most: int) -> int:
        """Let turns pass; return how many."""
        pause_ns = self.kernel.costs.pause_ns
        began_ns = actor.clock.now
        spinner = _Spinner(self.name, actor, began_ns, began_ns + at_most * pause_ns)
        self._spinners.append(spinner)
        try:
            await self.kernel.engine.wait_for(spinner, f"spin {self.name}")
        finally:
            self._spinners.remove(spinner)
        return -((began_ns - actor.clock.now) // pause_ns)

    def _turn_after(self, spinner: _Spinner, at_ns: int) -> int:
        """Return when a spinner's first turn is that does not come before `at_ns`."""
        pause_ns = self.kernel.costs.pause_ns
        turns = max(-((spinner.began_ns - at_ns) // pause_ns), 1)
        return spinner.began_ns + turns * pause_ns
