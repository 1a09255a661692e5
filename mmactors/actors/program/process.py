"""Processes: what their threads share, and their end."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field

from mmactors.actors.call.mmap import mmput
from mmactors.actors.program.family import Family
from mmactors.actors.program.files_struct import FilesStruct
from mmactors.actors.program.loader import ProgramImage, load_program
from mmactors.actors.program.pinned import Pinned
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.tlb.switch_mm import GuardedFlushing
from mmactors.engine.cpu import WaitQueue
from mmactors.engine.guard import GuardedElement
from mmactors.events import SchedProcessExit
from mmactors.label import RSS, Label, Mode, rss
from mmactors.mm.area.exec import begin_program
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.pkeys import Pkeys
from mmactors.mm.area.task import Task
from mmactors.mm.area.vm_flags import page_align
from mmactors.mm.page_table.page_table import PageTable
from mmactors.workload.operation.all import By, Operation

if TYPE_CHECKING:
    from mmactors.actors.program.interpreter import Interpreter
    from mmactors.actors.program.thread import UserThread
    from mmactors.actors.tlb.switch import Switcher


@define(eq=False)
class Image:
    """What a recorded program had in memory: stands for its mapped files (vm_file)."""

    path: str


class ProgramWatcher(Protocol):
    """Who looks at a program while it is run, between its operations."""

    def before(self, nth: int, operation: Operation) -> Operation | None:
        """Look at the operation that comes next; return what to do for it, None: nothing."""
        ...

    def after(self, nth: int, result: int) -> None:
        """Look at what came of an operation."""
        ...


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
    watcher: "ProgramWatcher | None" = field(default=None, init=False)
    """Looks at what the leader does; None: nobody."""
    image: ProgramImage | None = field(default=None, init=False)
    """What its address space begins with; None: a stack and a place for the heap."""
    parent: "Process | None" = None
    family: Family = field(init=False)
    leader: "UserThread" = field(init=False)
    """Runs the program, or what a child is told; when it ends, all threads do."""
    space: AddressSpace | None = field(default=None, init=False)
    """None before the first thread runs and after the last has ended."""
    files: FilesStruct = field(factory=FilesStruct, init=False)
    devices: dict[str, list[Pinned]] = field(factory=dict, init=False)
    """By name: the pages that a device has pinned."""
    threads: "dict[str, UserThread]" = field(factory=dict, init=False)
    """By their names in the program; the leader is FIRST_PROCESS."""
    gone: WaitQueue = field(init=False)
    """Where others sleep until the address space has been given back."""
    nr_live_threads: int = field(default=0, init=False)
    nr_mm_users: int = field(default=0, init=False)
    """Threads that have not let go of the address space."""
    tasks: list[Task] = field(factory=list, init=False)
    """What faults noted, by thread that ever was."""
    user_ns: int = field(default=0, init=False)
    started_ns: int = field(default=0, init=False)
    cmin_flt: int = field(default=0, init=False)
    cmaj_flt: int = field(default=0, init=False)
    cuser_ns: int = field(default=0, init=False)
    """Of children that were waited for, and of theirs."""
    oom_score_adj: int = field(default=0, init=False)
    """From -1000 to 1000: how much more readily it is chosen when memory has run out."""
    is_reaped: bool = field(default=False, init=False)
    """Its parent has waited for its end."""
    killed_by: int | None = field(default=None, init=False)
    """The fatal signal."""
    outlives_threads: bool = field(default=False, init=False)
    """The address space stays when all have done their work: an explored race looks at it then."""

    def __attrs_post_init__(self) -> None:
        self.gone = WaitQueue(self.kernel.engine, f"the end of process {self.pid}")
        self.family = Family(self) if self.parent is None else self.parent.family

    @property
    def names(self) -> dict[str, tuple[int, int]]:
        """Names of ranges: (address, bytes)."""
        return self.family.names

    @property
    def bindings(self) -> dict[str, tuple[int, int]]:
        """What the names in an operation stand for: (address, bytes)."""
        if self.space is None:
            return self.names
        mm = self.space.mm
        stack_top = page_align(mm.start_stack + 1) if mm.start_stack else None
        stack = {} if stack_top is None else {"stack": (stack_top, 0)}
        return {**self.names, "brk": (mm.brk, 0), **stack}

    def new_child(self, files: FilesStruct) -> "Process":
        """Return a process with these files that has no address space and no thread yet."""
        child = Process(
            kernel=self.kernel,
            pid=self.kernel.processes[-1].pid + 1,
            comm=self.comm,
            interpreter=self.interpreter,
            switcher=self.switcher,
            before_exit=self.before_exit,
            parent=self,
        )
        child.outlives_threads = self.outlives_threads
        child.oom_score_adj = self.oom_score_adj
        child.files = files
        return child

    def adopt(self, space: AddressSpace) -> None:
        """Run in `space` from now on."""
        self.space = space
        self.family.children.append(self)

    def exec(self, pgd_pfn: int) -> AddressSpace:
        """Give the process the address space of a program that begins."""
        space = self.space = self.new_space(pgd_pfn)
        if self.image is None:
            begin_program(space.mm)
        else:
            load_program(self.kernel, space, self.image)
        return space

    def new_space(self, pgd_pfn: int) -> AddressSpace:
        """Return an empty address space, its top table in frame `pgd_pfn`."""
        kernel = self.kernel
        levels = kernel.hardware.config.levels
        mm = MmStruct(
            config=kernel.mm_config,
            pkeys=Pkeys() if kernel.pku else None,
            page_table=PageTable(
                kernel.memory,
                pgd_pfn=pgd_pfn,
                levels=levels,
                wants_step=kernel.engine.wants_step,
            ),
            overcommit=kernel.overcommit,
            anon_vma_cache=kernel.anon_vma_cache,
            rules=kernel.rules,
            ctx_id=kernel.new_ctx_id(),
        )
        guard = kernel.engine.guard
        if guard.on:
            rss: Any = GuardedElement(mm.rss, RSS, mm.ctx_id, guard)
            mm.rss = rss
            mm.flushing = GuardedFlushing(mm.flushing, mm.ctx_id, guard)
        return AddressSpace(kernel, mm)

    def exit_group(self, at_ns: int) -> None:
        """Let all threads end: the leader has, or a fatal signal came."""
        for thread in self.threads.values():
            thread.end(at_ns)
        if self.parent is None:
            for child in self.family.children:
                child.exit_group(at_ns)
        self.interpreter.wake_meetings(at_ns)

    def has_work_for(self, thread: "UserThread") -> bool:
        """Return whether the leader's program still gives `thread` something to do."""
        leader = self.family.root.leader
        return any(
            isinstance(operation, By) and operation.name == thread.name
            for operation in leader.program[leader.next_operation :]
        )

    def release(self) -> None:
        """Count what a process that has ended used as its parent's, once (wait_task_zombie)."""
        parent = self.parent
        if parent is None or self.is_reaped:
            return
        self.is_reaped = True
        parent.cmin_flt += self.min_flt + self.cmin_flt
        parent.cmaj_flt += self.maj_flt + self.cmaj_flt
        parent.cuser_ns += self.user_ns + self.cuser_ns

    @property
    def min_flt(self) -> int:
        """Faults without waiting for a disk, of all threads."""
        return sum(task.min_flt for task in self.tasks)

    @property
    def maj_flt(self) -> int:
        """Faults with waiting for a disk, of all threads."""
        return sum(task.maj_flt for task in self.tasks)

    async def end_thread(self, thread: "UserThread") -> None:
        """Let a thread end; the last one gives the address space back (do_exit, exit_mm)."""
        cpu = thread.cpu
        task = thread.task
        if task.mm is not None:
            if self.kernel.engine.wants_step():
                await self.kernel.engine.step(Label("sync rss", ((rss(task.mm.ctx_id), Mode.ADD),)))
            task.rss.fold(task.mm)
        if self.outlives_threads:
            return
        self.nr_live_threads -= 1
        space = self.space
        if space is not None:
            if not self.nr_live_threads:
                async with space.mmap_lock.read():
                    pass  # acct_collect adds up how large the areas are.
            async with space.mmap_lock.read():
                self.switcher.exit_mm(cpu, thread.actor)
            space.mm.mm_users -= 1
        self.nr_mm_users -= 1
        if self.nr_mm_users or space is None:
            return
        self.before_exit(self)
        if self.kernel.checks is not None:
            self.kernel.checks.mm_exits(space.mm)
        await mmput(self.kernel, cpu, space)
        await self.interpreter.files.exit_files(cpu, self)
        await self.interpreter.gup.exit_devices(cpu, self)
        self.space = None
        if self.kernel.probe.on:
            self.kernel.probe.emit(SchedProcessExit(comm=self.comm))
        self.gone.wake_all(at_ns=cpu.clock.now)
