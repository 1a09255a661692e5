"""Processes: what their threads share, and their end."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field

from mmactors.actors.call.mm_alloc import mmput
from mmactors.actors.call.task_struct import exit_notify, wait_task_zombie
from mmactors.actors.program.life.heap import Heap
from mmactors.actors.program.life.watcher import ProgramWatcher
from mmactors.actors.program.loader import ProgramImage, load_program
from mmactors.actors.program.malloc.library_data import map_libraries
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.coredump import CoreState
from mmactors.actors.state.fatal_signal import FatalSignal
from mmactors.actors.state.files_struct import FilesStruct, Pinned
from mmactors.actors.state.kernel import Kernel, ModulePages
from mmactors.actors.state.task_struct import TaskStruct
from mmactors.actors.tlb.switch import Switcher
from mmactors.actors.tlb.switch_mm import GuardedFlushing
from mmactors.engine.actor import Actor
from mmactors.engine.cpu import Cpu
from mmactors.engine.cpu_times import Usage, thread_usage
from mmactors.engine.guard import GuardedElement
from mmactors.engine.wait_queue import WaitQueue
from mmactors.events import SchedProcessExit
from mmactors.events.thread import DEFAULT_PRIO
from mmactors.label import RSS, Label, Mode, rss
from mmactors.malloc.config import MallocConfig
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.pkeys import Pkeys
from mmactors.mm.area.task import Task
from mmactors.mm.area.vm_flags import page_align
from mmactors.mm.fault.siginfo import DUMPS_CORE, FaultSignal
from mmactors.mm.page_table.page_table import PageTable
from mmactors.mm.syscall.exec import begin_program
from mmactors.workload.names import Names
from mmactors.workload.operation.all import By, Operation

if TYPE_CHECKING:
    from mmactors.mm.slab.allocator import KmemCacheLike


class Thread(Protocol):
    """A thread as its process and other threads see it (`UserThread`)."""

    process: "Process"
    name: str
    comm: str
    tid: int
    started_ns: int
    cpu: Cpu
    actor: Actor
    task: Task
    task_struct: TaskStruct | None
    program: tuple[Operation, ...]
    is_leader: bool
    next_operation: int
    inbox: deque[Operation]
    """What it is still to do."""
    work: WaitQueue
    """Where it sleeps when its inbox is empty."""
    idle: WaitQueue
    """Where others sleep until it has done its operations."""
    is_busy: bool
    is_spinning: bool
    is_stopping: bool
    waits_for_all: bool
    """It was told to wait for all others."""
    result: int
    """What came of the last operation that it was told to do."""

    @property
    def is_child(self) -> bool:
        """Whether it is the first of a process that was forked."""

    @property
    def must_end(self) -> bool:
        """Whether it has nothing more to do in user mode."""

    def start(self, at_ns: int) -> None:
        """Let it run on its CPU."""

    def resume(self, at_ns: int) -> None:
        """Let an actor do what it has left to do."""

    def end(self, at_ns: int) -> None:
        """Let it end at its next return to user mode, awake or asleep."""

    def receive_signal(
        self, signal: FaultSignal, *, killer: str | None = None, message: str | None = None
    ) -> None:
        """Take a signal, which `killer` sent, or a fault, or abort() after `message`."""


class Closing(Protocol):
    """What ends with a process besides its memory, and who has to hear of it (`Interpreter`)."""

    def wake_sleepers(self, threads: Iterable[Thread], at_ns: int) -> None:
        """Let threads that sleep for a time, or wait at a barrier, look whether they must end."""

    async def close_process(self, cpu: Cpu, process: "Process") -> None:
        """Close its files, and let devices unpin its pages."""


@define(eq=False)
class Family:
    """A program's processes: the one that runs the list, and the children that it forks.

    Names of ranges, blocks, threads and children are one set for all of them, as in the recordings'
    interpreter: a name stands for an address, whichever process it is used in.
    """

    root: "Process"
    """Runs the list."""
    names: dict[str, tuple[int, int]] = field(factory=dict)
    """Names of ranges: (address, bytes)."""
    blocks: dict[str, ModulePages] = field(factory=dict)
    """Pages that a kernel module allocated for the program, by name."""
    objects: dict[str, int] = field(factory=dict)
    """Addresses of objects of the kernel's that the program has, or had; 0: there was no memory."""
    caches: "dict[str, KmemCacheLike]" = field(factory=dict)
    """Caches that the program has made."""
    members: Names[Thread] = field(factory=Names)
    """Threads, and the first threads of children; the root's is FIRST_PROCESS."""
    children: "list[Process]" = field(factory=list)
    """All that were ever forked."""


@define(eq=False)
class ProcessTable:
    """All processes of a machine."""

    processes: "list[Process]" = field(factory=list)
    """All that ever were, those that ended too, in the order in which they began."""
    _last_pid: int = 0

    def new_pid(self) -> int:
        """Return the number of the process or thread that begins next (alloc_pid)."""
        self._last_pid += 1
        return self._last_pid

    @property
    def last_pid(self) -> int:
        """The number of the process or thread that began last."""
        return self._last_pid


@define(eq=False, kw_only=True, repr=False)
class Process:
    """One process (struct task_struct of its leader, struct signal_struct)."""

    kernel: Kernel
    table: ProcessTable
    pid: int
    comm: str
    closing: Closing
    switcher: Switcher
    before_exit: "Callable[[Process], None]"
    """Called when the last thread has ended and the address space still stands."""
    watcher: ProgramWatcher | None = field(default=None, init=False)
    """Looks at what the leader does; None: nobody."""
    malloc: MallocConfig | None = field(default=None, init=False)
    """How its C library's allocator is set up; None: its program never calls it."""
    heap: Heap | None = field(default=None, init=False)
    """That allocator; None: it was not called yet."""
    image: ProgramImage | None = field(default=None, init=False)
    """What its address space begins with; None: a stack and a place for the heap."""
    parent: "Process | None" = None
    catches_signals: bool = False
    """Whether a handler takes what can be caught, and lets the operation end (sigsetjmp)."""
    on_death: "Callable[[FatalSignal], None] | None" = field(default=None, init=False)
    """Called when a signal ends the process; None: nobody has to know at once."""
    family: Family = field(init=False)
    leader: Thread = field(init=False)
    """Runs the program, or what a child is told; when it ends, all threads do."""
    space: AddressSpace | None = field(default=None, init=False)
    """None before the first thread runs and after the last has ended."""
    files: FilesStruct = field(factory=FilesStruct, init=False)
    devices: dict[str, list[Pinned]] = field(factory=dict, init=False)
    """By name: the pages that a device has pinned."""
    threads: dict[str, Thread] = field(factory=dict, init=False)
    """By their names in the program; the leader is FIRST_PROCESS."""
    gone: WaitQueue = field(init=False)
    """Where others sleep until the address space has been given back."""
    live_threads: list[Thread] = field(factory=list, init=False)
    """Those that have begun and not ended, in the order in which they began."""
    nr_mm_users: int = field(default=0, init=False)
    """Threads that have not let go of the address space."""
    tasks: list[Task] = field(factory=list, init=False)
    """What faults noted, by thread that ever was."""
    actors: list[Actor] = field(factory=list, init=False)
    """Threads that ever were, as the engine sees them."""
    started_ns: int = field(default=0, init=False)
    cmin_flt: int = field(default=0, init=False)
    cmaj_flt: int = field(default=0, init=False)
    cuser_ns: int = field(default=0, init=False)
    csystem_ns: int = field(default=0, init=False)
    cnvcsw: int = field(default=0, init=False)
    cnivcsw: int = field(default=0, init=False)
    """Of children that were waited for, and of theirs."""
    maxrss_pages: int = field(default=0, init=False)
    """The most that was resident; of a process that has ended (signal_struct.maxrss)."""
    oom_score_adj: int = field(default=0, init=False)
    """From -1000 to 1000: how much more readily it is chosen when memory has run out."""
    is_reaped: bool = field(default=False, init=False)
    """Its parent has waited for its end."""
    fatal_signal: FatalSignal | None = field(default=None, init=False)
    """What ended it; None: no signal has."""
    core: CoreState = field(init=False)
    """How its threads meet before a core is dumped."""
    outlives_threads: bool = field(default=False, init=False)
    """The address space stays when all have done their work: an explored race looks at it then."""

    def __attrs_post_init__(self) -> None:
        engine = self.kernel.engine
        self.gone = WaitQueue(engine, f"the end of process {self.pid}")
        self.core = CoreState(engine, self.pid)
        self.family = Family(self) if self.parent is None else self.parent.family

    @property
    def label(self) -> str:
        """What people call it: its comm, and its name if it was forked."""
        return self.comm if self.parent is None else self.leader.comm

    @property
    def killed_by(self) -> int | None:
        """The number of the fatal signal."""
        return None if self.fatal_signal is None else self.fatal_signal.signal.number

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
            table=self.table,
            pid=self.table.new_pid(),
            comm=self.comm,
            closing=self.closing,
            switcher=self.switcher,
            before_exit=self.before_exit,
            parent=self,
            catches_signals=self.catches_signals,
        )
        child.on_death = self.on_death
        child.outlives_threads = self.outlives_threads
        child.malloc = self.malloc
        child.oom_score_adj = self.oom_score_adj
        child.files = files
        return child

    def adopt(self, space: AddressSpace) -> None:
        """Run in `space` from now on."""
        self.space = space
        self.family.children.append(self)

    def exec(self, thing: int, pgd_pfn: int) -> AddressSpace:
        """Give the process the address space of a program that begins."""
        space = self.space = self.new_space(thing, pgd_pfn)
        if self.image is None:
            begin_program(space.mm)
            if self.malloc is not None:
                map_libraries(space.mm, self.malloc.library)
        else:
            # What was in memory before it began is set up, by nobody's steps.
            with self.kernel.engine.guard.suspended():
                load_program(self.kernel, space, self.image)
        return space

    def new_space(self, thing: int, pgd_pfn: int) -> AddressSpace:
        """Return an empty address space in the object `thing`, its top table in a frame."""
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
            thing=thing,
            ctx_id=kernel.new_ctx_id(),
        )
        guard = kernel.engine.guard
        if guard.on:
            rss: Any = GuardedElement(mm.rss, RSS, mm.ctx_id, guard)
            mm.rss = rss
            mm.flushing = GuardedFlushing(mm.flushing, mm.ctx_id, guard)
        return kernel.new_space(mm)

    def exit_group(self, at_ns: int) -> None:
        """Let all threads end: the leader has, or a fatal signal came."""
        for thread in self.threads.values():
            thread.end(at_ns)
            if self.space is not None:
                self.space.mmap_lock.kill(thread.actor, at_ns)
        if self.parent is None:
            for child in self.family.children:
                child.exit_group(at_ns)
        self.closing.wake_sleepers(self.threads.values(), at_ns)

    def die(self, fatal: FatalSignal, thread: Thread) -> None:
        """End of a signal to `thread`; each thread ends when it would return to user mode.

        Signals that dump core gather all threads at the beginning of their end (coredump_wait);
        nothing is written (RLIMIT_CORE is 0).
        """
        for cpu in self.kernel.cpus:  # FATAL_SIGNAL_SEEN says why.
            self.kernel.engine.touch(cpu.name, Mode.WRITE)
        self.fatal_signal = fatal
        if fatal.signal.number in DUMPS_CORE and not self.outlives_threads:
            self.core.dumper = thread.actor
        self.exit_group(fatal.t_ns)
        if self.on_death is not None:
            self.on_death(fatal)

    def place_in_program(self, operation: object | None) -> int | None:
        """Return where an operation stands in the program, from 0: the last one begun of equal."""
        leader = self.family.root.leader
        for index in range(min(leader.next_operation, len(leader.program)) - 1, -1, -1):
            each = leader.program[index]
            if each is operation or (isinstance(each, By) and each.operation is operation):
                return index
        return None

    def has_work_for(self, thread: Thread) -> bool:
        """Return whether the leader's program still gives `thread` something to do."""
        leader = self.family.root.leader
        return any(
            isinstance(operation, By) and operation.name == thread.name
            for operation in leader.program[leader.next_operation :]
        )

    async def release(self) -> None:
        """Count what a process that has ended used as its parent's, once (wait_task_zombie)."""
        parent = self.parent
        if parent is None or self.is_reaped:
            return
        self.is_reaped = True
        parent.cmin_flt += self.min_flt + self.cmin_flt
        parent.cmaj_flt += self.maj_flt + self.cmaj_flt
        usage = self.usage()
        parent.cuser_ns += usage.user_ns + self.cuser_ns
        parent.csystem_ns += usage.system_ns + self.csystem_ns
        parent.cnvcsw += self.nvcsw + self.cnvcsw
        parent.cnivcsw += self.nivcsw + self.cnivcsw
        if (task := self.leader.task_struct) is not None:
            await wait_task_zombie(self.kernel, task)

    @property
    def nr_live_threads(self) -> int:
        """How many threads have begun and not ended."""
        return len(self.live_threads)

    @property
    def min_flt(self) -> int:
        """Faults without waiting for a disk, of all threads."""
        return sum(task.min_flt for task in self.tasks)

    @property
    def maj_flt(self) -> int:
        """Faults with waiting for a disk, of all threads."""
        return sum(task.maj_flt for task in self.tasks)

    @property
    def nvcsw(self) -> int:
        """Voluntary context switches of all threads."""
        return sum(actor.times.nvcsw for actor in self.actors)

    @property
    def nivcsw(self) -> int:
        """Involuntary context switches of all threads."""
        return sum(actor.times.nivcsw for actor in self.actors)

    def usage(self, now_ns: int | None = None) -> Usage:
        """Return the times of all threads, up to now or up to `now_ns` (thread_group_cputime)."""
        if now_ns is None:
            now_ns = self.kernel.engine.now_ns
        user_ns = system_ns = 0
        for actor in self.actors:
            assert actor.cpu is not None, f"{actor.name} is no thread"
            one = thread_usage(self.kernel.cpus[actor.cpu.index], actor, now_ns)
            user_ns += one.user_ns
            system_ns += one.system_ns
        return Usage(user_ns=user_ns, system_ns=system_ns)

    async def end_thread(self, thread: Thread) -> None:
        """Let a thread end; the last one gives the address space back (do_exit, exit_mm)."""
        self.core.quick_threads -= 1
        if self.core.dumper is not None:
            await self.core.meet(thread.actor)
        cpu = thread.cpu
        task = thread.task
        if task.mm is not None:
            if self.kernel.engine.wants_step():
                await self.kernel.engine.step(Label("sync rss", ((rss(task.mm.ctx_id), Mode.ADD),)))
            task.rss.fold(task.mm)
        if self.outlives_threads:
            return
        self.live_threads.remove(thread)
        space = self.space
        if space is not None:
            if not self.live_threads:
                async with space.mmap_lock.read():
                    pass  # acct_collect adds up how large the areas are.
            async with space.mmap_lock.read():
                self.switcher.exit_mm(cpu, thread.actor)
            space.mm.mm_users -= 1
        self.nr_mm_users -= 1
        is_last = not self.nr_mm_users
        if is_last and space is not None:
            with self.kernel.engine.guard.suspended():  # setmax_mm_hiwater_rss takes no lock
                self.maxrss_pages = max(space.mm.hiwater_rss, space.mm.get_mm_rss())
            self.before_exit(self)
            if self.kernel.checks is not None:
                self.kernel.checks.mm_exits(space.mm)
            await mmput(self.kernel, cpu, space)
        self._tell_exit(thread)
        if is_last:
            await self.closing.close_process(cpu, self)
            self.space = None
            self.gone.wake_all(at_ns=cpu.clock.now)
        if thread.task_struct is not None:
            await exit_notify(self.kernel, thread.task_struct)

    def _tell_exit(self, thread: Thread) -> None:
        if self.kernel.probe.on:
            told = SchedProcessExit(comm=thread.comm, task_pid=thread.tid, prio=DEFAULT_PRIO)
            self.kernel.probe.emit(told)
