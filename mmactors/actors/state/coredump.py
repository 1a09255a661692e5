"""How the threads of a process meet before a core is dumped (fs/coredump.c, kernel/exit.c, v6.1).

The thread that got the signal waits until all others have begun to end; they wait until it has
dumped (coredump_wait, coredump_task_exit). Left out: the dump itself; RLIMIT_CORE is 0.
"""

from mmactors.engine.actor import Actor
from mmactors.engine.baton import Engine
from mmactors.engine.wait_queue import WaitQueue


class CoreState:
    """Who dumps, and who has not come to its end (struct core_state)."""

    def __init__(self, engine: Engine, pid: int) -> None:
        self.quick_threads = 0
        """Threads that have not begun to end (signal_struct.quick_threads)."""
        self.dumper: Actor | None = None
        """None: nobody has to dump any more."""
        self._startup = WaitQueue(engine, f"all threads of process {pid} to end")
        self._finish = WaitQueue(engine, f"the core dump of process {pid}")

    async def meet(self, thread: Actor) -> None:
        """Wait for the others at the end of a thread: who dumps goes on first."""
        if thread is self.dumper:
            while self.quick_threads:
                await self._startup.sleep(unless=lambda: not self.quick_threads)
            self.dumper = None
            self._finish.wake_all(at_ns=thread.clock.now)
            return
        if not self.quick_threads:
            self._startup.wake_all(at_ns=thread.clock.now)
        while self.dumper is not None:
            await self._finish.sleep(unless=lambda: self.dumper is None)
