"""A machine without programs, whose calls and accesses a test makes one by one.

Everything goes through the actors that `run` runs: a thread for each process waits for what the
test tells it, and the machine moves until that is done.
"""

import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import cache
from typing import Any

import numpy as np
from attrs import define, field, fields
from machines import scenario_of

from mmactors.actors.call.copy_process import copy_first_process
from mmactors.actors.call.mm_alloc import mm_alloc
from mmactors.actors.call.mmap import change_mappings
from mmactors.actors.fault.page_work import perform_page_work
from mmactors.actors.program.interpreter import Interpreter
from mmactors.actors.program.life.fork import fork
from mmactors.actors.program.process import Process
from mmactors.actors.program.thread import UserThread
from mmactors.arch.trace import LOAD, STORE
from mmactors.engine.driver import advance, close_actors
from mmactors.mm.fault.siginfo import FaultSignal
from mmactors.mm.vmstat import VM_EVENT_NAMES
from mmactors.rules import Rules
from mmactors.scenario.schema import KernelConfig
from mmactors.scenario.wiring import make_engine, wire
from mmactors.units import MIB, PAGE_MASK
from mmactors.workload.touch import page_trace

Job = Callable[[UserThread], Awaitable[Any]]


@define(eq=False, repr=False)
class _Told:
    """An operation that only tests know: a job, and what came of it."""

    job: Job
    is_done: bool = False
    result: Any = None


class _JobInterpreter(Interpreter):
    """Does jobs, too."""

    async def perform(self, thread, operation):
        if not isinstance(operation, _Told):
            return await super().perform(thread, operation)
        operation.result = await operation.job(thread)
        operation.is_done = True
        return 0


class _Server(UserThread):
    """Begins with an empty address space, and does jobs."""

    async def _lead(self):
        process = self.process
        kernel = process.kernel
        self.task_struct = await copy_first_process(kernel, self.cpu)
        process.files = self.task_struct.signal.files
        made = await mm_alloc(kernel, self.cpu, "mm_alloc")
        process.space = process.new_space(*made)
        await process.switcher.on_run(self.cpu, self.actor)
        await self._serve()
        process.exit_group(self.cpu.clock.now)


@define(eq=False, repr=False)
class Task:
    """A process of a guest. Its threads tell at once what they count of rss."""

    process: Process

    @property
    def mm(self):
        return self.process.space.mm

    @property
    def minflt(self):
        return self.process.min_flt


@define(eq=False, repr=False)
class Guest:
    """A machine with one CPU, which has protection keys."""

    rules: Rules = field(factory=Rules)
    wired: Any = field(init=False)
    _looks: ExitStack = field(factory=ExitStack, init=False)

    def __attrs_post_init__(self):
        scenario = scenario_of(
            size=64 * MIB,
            pku=True,
            quantum_ns=0,
            driver="inline",
            kernel=KernelConfig(rules=self.rules),
        )
        engine = make_engine(scenario, None)
        self.wired = wire(scenario, engine=engine, sink=None, before_exit=lambda _process: None)
        weakref.finalize(self, close_actors, engine)

    @property
    def kernel(self):
        return self.wired.kernel

    @property
    def pages(self):
        return self.kernel.pages

    @property
    def memory(self):
        return self.kernel.memory

    @property
    def overcommit(self):
        return self.kernel.overcommit

    @property
    def anon_vma_cache(self):
        return self.kernel.anon_vma_cache

    @property
    def events(self):
        """What was counted, by item of mm/vmstat.py."""
        vmstat = self.kernel.vmstat
        return Counter({item: vmstat.event(item) for item in range(len(VM_EVENT_NAMES))})

    def new_task(self):
        """Make a process with an empty address space."""
        kernel = self.kernel
        given = self.wired.interpreter
        names = [each.name for each in fields(Interpreter) if each.init]
        interpreter = _JobInterpreter(**{name: getattr(given, name) for name in names})
        table = self.wired.table
        pid = table.new_pid()
        process = Process(
            kernel=kernel,
            table=table,
            pid=pid,
            comm=f"p{pid}",
            closing=interpreter,
            switcher=self.wired.switcher,
            before_exit=lambda _process: None,
            catches_signals=True,
        )
        table.processes.append(process)
        process.leader = _Server(
            process=process,
            interpreter=interpreter,
            name=process.comm,
            cpu=kernel.cpus[0],
            program=(),
            is_leader=True,
        )
        process.leader.start(kernel.cpus[0].clock.now)
        self._move(lambda: process.space is not None)
        return Task(process)

    def do(self, task, job):
        """Let a process do a job; return its result."""
        told = _Told(job)
        thread = task.process.leader
        thread.inbox.append(told)
        thread.is_busy = True
        thread.work.wake_all(at_ns=thread.cpu.clock.now)
        self._move(lambda: told.is_done)
        return told.result

    def perform(self, task, steps):
        """Do a system call of mm/ with mmap_lock held for writing."""
        return self.do(
            task, lambda thread: change_mappings(self.kernel, thread.cpu, thread.space, _of(steps))
        )

    def page_work(self, task, steps):
        """Do what a mechanism decides on pages and tables, without a lock."""
        return self.do(
            task, lambda thread: perform_page_work(self.kernel, thread.cpu, thread.space, steps)
        )

    def context(self, task):
        """Return what faults of a process work with."""
        return self.kernel.fault_contexts[task.process.leader.actor.index]

    def access(self, task, address, *, is_write) -> FaultSignal | None:
        """Read or write a byte as a program does; return the signal it gets."""
        page = np.zeros(1, np.int64)
        trace = page_trace(address & PAGE_MASK, page, STORE if is_write else LOAD)
        return self.do(task, lambda thread: thread.access(trace))

    def fork(self, task):
        """Make a copy of a process; return minus the errno if that fails."""
        children = task.process.family.children
        name = f"c{len(self.wired.processes)}"
        result = self.do(task, lambda thread: fork(thread, name))
        if result < 0:
            return result
        child = children.pop()  # It outlives its parent.
        child.leader.task.mm = None
        return Task(child)

    def exit(self, task):
        """End a process."""
        thread = task.process.leader
        thread.end(thread.cpu.clock.now)
        self._move(lambda: task.process.space is None)

    def _move(self, is_done):
        engine = self.kernel.engine
        self._looks.close()
        while not is_done():
            actor = engine.pick()
            if actor is None:
                raise engine.failure or AssertionError("the machine stands still")
            advance(engine, actor)
        engine.running = None
        # What a test looks at between its calls is no step of anybody's.
        self._looks.enter_context(engine.guard.suspended())


@cache
def _guest():
    return Guest()


def guest():
    """Return the guest that tests share which break nothing, without a process."""
    if _guest().kernel.engine.failure is not None:
        _guest.cache_clear()
    shared = _guest()
    for process in shared.wired.processes:
        if process.space is not None:
            shared.exit(Task(process))
    return shared


def _of(steps):
    return lambda _mm: steps
