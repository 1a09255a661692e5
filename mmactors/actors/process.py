"""Processes: what their threads share, and their end."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field

from mmactors.actors.address_space import RSS, AddressSpace
from mmactors.actors.kernel import Kernel
from mmactors.actors.mmap import exit_mm
from mmactors.actors.page_work import take_step
from mmactors.actors.pinned import Pinned
from mmactors.actors.switch_mm import GuardedFlushing
from mmactors.engine.guard import GuardedElement
from mmactors.events import SchedProcessExit
from mmactors.mm.mapped_file import MappedFile
from mmactors.mm.mm_struct import MmStruct
from mmactors.mm.page_table import PageTable
from mmactors.mm.step import Step, rss
from mmactors.mm.task import Task
from mmactors.workload.operation import By

if TYPE_CHECKING:
    from mmactors.actors.interpreter import Interpreter
    from mmactors.actors.switch import Switcher
    from mmactors.actors.thread import UserThread


@define(eq=False)
class Image:
    """What a recorded program had in memory: stands for its mapped files (vm_file)."""

    path: str


@define(eq=False, kw_only=True)
class Process:
    """One process (struct task_struct of its leader, struct signal_struct)."""

    kernel: Kernel
    pid: int
    comm: str
    interpreter: "Interpreter"
    switcher: "Switcher"
    before_exit: "Callable[[Process], None]"
    """Called when the last thread has ended and the address space still stands."""
    leader: "UserThread" = field(init=False)
    """Runs the program; when it ends, all threads do."""
    space: AddressSpace | None = field(default=None, init=False)
    """None before the first thread runs and after the last has ended."""
    bindings: dict[str, tuple[int, int]] = field(factory=dict, init=False)
    """Names of the program: (address, bytes)."""
    files: dict[str, MappedFile] = field(factory=dict, init=False)
    """Open files, by their names in the program."""
    devices: dict[str, list[Pinned]] = field(factory=dict, init=False)
    """By name: the pages that a device has pinned."""
    threads: "dict[str, UserThread]" = field(factory=dict, init=False)
    """By their names in the program; the leader is FIRST_PROCESS."""
    nr_live_threads: int = field(default=0, init=False)
    tasks: list[Task] = field(factory=list, init=False)
    """What faults noted, by thread that ever was."""
    user_ns: int = field(default=0, init=False)
    started_ns: int = field(default=0, init=False)
    killed_by: int | None = field(default=None, init=False)
    """The fatal signal."""
    outlives_threads: bool = field(default=False, init=False)
    """The address space stays when all have done their work: an explored race looks at it then."""

    def exec(self, pgd_pfn: int) -> AddressSpace:
        """Give the process an empty address space, its top table in frame `pgd_pfn`."""
        kernel = self.kernel
        levels = kernel.hardware.config.levels
        mm = MmStruct(
            config=kernel.mm_config,
            page_table=PageTable(
                kernel.memory,
                pgd_pfn=pgd_pfn,
                levels=levels,
                wants_step=kernel.engine.wants_step,
            ),
            anon_vma_cache=kernel.anon_vma_cache,
            rules=kernel.rules,
            ctx_id=kernel.new_ctx_id(),
        )
        guard = kernel.engine.guard
        if guard.on:
            rss: Any = GuardedElement(mm.rss, RSS, mm.ctx_id, guard)
            mm.rss = rss
            mm.flushing = GuardedFlushing(mm.flushing, mm.ctx_id, guard)
        self.space = AddressSpace(kernel, mm)
        self.bindings["brk"] = (mm.brk, 0)
        return self.space

    def exit_group(self, at_ns: int) -> None:
        """Let all threads end: the leader has, or a fatal signal came."""
        for thread in self.threads.values():
            thread.end(at_ns)
        self.interpreter.wake_meetings(at_ns)

    def has_work_for(self, thread: "UserThread") -> bool:
        """Return whether the leader's program still gives `thread` something to do."""
        leader = self.leader
        return any(
            isinstance(operation, By) and operation.name == thread.name
            for operation in leader.program[leader.next_operation :]
        )

    @property
    def min_flt(self) -> int:
        """Faults without waiting for a disk, of all threads."""
        return sum(task.min_flt for task in self.tasks)

    @property
    def maj_flt(self) -> int:
        """Faults with waiting for a disk, of all threads."""
        return sum(task.maj_flt for task in self.tasks)

    async def end_thread(self, thread: "UserThread") -> None:
        """Note that a thread has ended; the last one gives the address space back (do_exit)."""
        cpu = thread.cpu
        task = thread.task
        if task.mm is not None:
            if self.kernel.engine.wants_step():
                await take_step(self.kernel, Step("sync rss", ((rss(task.mm.ctx_id), "a"),)))
            task.rss.fold(task.mm)
        if self.outlives_threads:
            return
        self.nr_live_threads -= 1
        if self.nr_live_threads or self.space is None:
            return
        self.before_exit(self)
        await exit_mm(self.kernel, cpu, self.space)
        await self.interpreter.files.exit_files(cpu, self)
        await self.interpreter.gup.exit_devices(cpu, self)
        self.space = None
        if self.kernel.probe.on:
            self.kernel.probe.emit(SchedProcessExit(comm=self.comm))
