"""A program as a world of `mmactors.explore`."""

from brute_force.program import (
    BOXES,
    GAVE_UP,
    LOCKS,
    QUEUES,
    TESTS,
    Acquire,
    Add,
    AddReturn,
    Ask,
    AwaitSignal,
    Choose,
    Cmpxchg,
    DecAndTest,
    Down,
    Fence,
    Final,
    GetAndClear,
    If,
    IsSignalled,
    Locked,
    Meet,
    Notify,
    Read,
    Reading,
    Receive,
    Release,
    Retry,
    RetryAdd,
    Signal,
    Sleep,
    Step,
    Tell,
    Try,
    TryAcquire,
    Until,
    Up,
    Waiting,
    Wake,
    Write,
    Writing,
    Xchg,
    evaluate,
)

from mmactors.engine.chance import STORE_IS_LATE
from mmactors.engine.mailbox import Request


class Builder:
    """Builds the world of a program, again and again, and knows how the last one ended."""

    def __init__(self, program, *, cpus=None):
        self.written = program
        self.cpus = cpus
        """Which CPU each actor is a thread of; None: they are no threads."""
        self.on_end = None
        """The law at the end, which looks at this."""

    def program(self):
        """Say what is built."""
        return repr(self.written)

    def __call__(self, world):
        """Build the world."""
        program = self.written
        if program.is_late:
            world.allow(STORE_IS_LATE)
        self.cells = {name: world.cell(name, first.value) for name, first in program.cells}
        self.locks = [world.lock(name) for name in LOCKS]
        self.boxes = [world.mailbox(name) for name in BOXES]
        queues = [world.wait_queue(name) for name in QUEUES]
        primitives = (
            world.semaphore("slots", 1),
            world.event("signal"),
            world.rwlock("rwlock", fair=False),
            world.barrier("barrier", 2),
            world.condition("condition", self.locks[0]),
        )
        things = (*self.locks, *self.boxes, *queues, *primitives)
        objects = {thing.name: thing for thing in things}
        self.doers = [
            Doer(world, {**objects, **self.cells}, index) for index in range(len(program.actors))
        ]
        self.actors = self.actors_of(world)
        for event in program.events:
            writes = [self.cells[name] for name in event.step.writes]
            world.any_time(event.name, self.happening(event), *writes, times=event.times)
        if self.on_end is not None:
            world.at_end(self.on_end)

    def actors_of(self, world):
        """Return the actors, or threads."""
        doers = [(doer, f"a{doer.index}", self.written.actors[doer.index]) for doer in self.doers]
        if self.cpus is None:
            nr_daemons = self.written.nr_daemons
            return [
                world.actor(name, doer.run, body, daemon=doer.index < nr_daemons)
                for doer, name, body in doers
            ]
        cpus = [world.cpu(index) for index in sorted(set(self.cpus))]
        return [
            cpus[self.cpus[doer.index]].spawn_thread(name, doer.run(body))
            for doer, name, body in doers
        ]

    def happening(self, event):
        """Return what an event does."""

        def happens():
            for move in event.step.moves:
                value = 0 if move.source is None else self.cells[move.source].value
                self.cells[move.to].value = value + (move.plus or 0)

        return happens

    def final(self):
        """Return how the schedule ended that just ended."""
        nr_daemons = self.written.nr_daemons
        return Final(
            memory=tuple(repr(cell._value) for cell in self.cells.values()),
            holders=tuple(
                -1 if lock.holder is None else int(lock.holder.name[1:]) for lock in self.locks
            ),
            nr_messages=tuple(map(len, self.boxes)),
            notes=tuple(tuple(doer.notes) for doer in self.doers),
            unfinished=tuple(
                doer.index
                for doer, actor in zip(self.doers, self.actors, strict=True)
                if doer.index >= nr_daemons and not actor.finished
            ),
        )


class Doer:
    """One actor."""

    def __init__(self, world, objects, index):
        self.world = world
        self.objects = objects
        self.index = index
        self.seen = index
        self.notes = []

    async def run(self, body):
        """Do all statements."""
        for statement in body:
            await self.do(statement)

    def note(self, value):
        """Note what was seen."""
        self.seen = value
        self.notes.append(repr(value))

    async def do(self, statement):
        """Do one statement."""
        match statement:
            case Locked(lock, body):
                async with self.objects[lock]:
                    await self.run(body)
            case Try(lock, body):
                await self.do(TryAcquire(lock))
                if self.seen:
                    await self.run(body)
                    await self.do(Release(lock))
            case Reading(body):
                async with self.objects["rwlock"].read():
                    await self.run(body)
            case Writing(body):
                async with self.objects["rwlock"].write():
                    await self.run(body)
            case Waiting(is_timed, body):
                condition = self.objects["condition"]
                async with condition:
                    self.note(await condition.wait(is_timed or None))
                    await self.run(body)
            case Choose(options):
                self.note(await self.world.choose("?", *(option.value for option in options)))
            case If(test, then, orelse):
                await self.run(then if TESTS[test](self.seen) else orelse)
            case Tell(box, value, reads):
                if reads is None:
                    await self.world.step("tell", writes=(self.objects[box],))
                else:
                    await self.do(Read(reads))
                self.objects[box].tell(evaluate(value, self.seen))
            case Retry(times, cell, test):
                for _ in range(times):
                    await self.do(Read(cell))
                    if TESTS[test](self.seen):
                        return
                self.notes.append(GAVE_UP)
            case RetryAdd(times, cell):
                for _ in range(times):
                    found = await self.objects[cell].read()
                    self.note(found)
                    if await self.objects[cell].cmpxchg(expected=found, value=found + 1):
                        return
                self.notes.append(GAVE_UP)
            case _:
                await self.operate(statement)

    async def operate(self, operation):
        """Do what is one step."""
        objects = self.objects
        seen = self.seen
        match operation:
            case Read(cell):
                self.note(await objects[cell].read())
            case Write(cell, value):
                await objects[cell].write(evaluate(value, seen))
            case Xchg(cell, value):
                self.note(await objects[cell].xchg(evaluate(value, seen)))
            case Cmpxchg(cell, expected, value):
                values = {"expected": evaluate(expected, seen), "value": evaluate(value, seen)}
                self.note(await objects[cell].cmpxchg(**values))
            case Add(cell, number):
                await objects[cell].add(number)
            case AddReturn(cell, number):
                self.note(await objects[cell].add_return(number))
            case DecAndTest(cell):
                self.note(await objects[cell].dec_and_test())
            case GetAndClear(cell):
                self.note(await objects[cell].get_and_clear())
            case Until(cell, test):
                self.note(await objects[cell].until(TESTS[test]))
            case Acquire(lock):
                await objects[lock].acquire()
            case Release(lock):
                await objects[lock].release()
            case TryAcquire(lock):
                self.note(await objects[lock].acquire_nowait())
            case Receive(box):
                message = await objects[box].receive()
                if isinstance(message, Request):
                    message.reply.send(message.body + 1)
                    message = message.body
                self.note(message)
            case Ask(box, value):
                self.note(await objects[box].ask(evaluate(value, seen)))
            case Sleep(queue):
                await objects[queue].sleep()
            case Wake(queue, nr_actors):
                await objects[queue].wake(nr_actors)
            case Fence():
                await self.world.fence()
            case Step():
                await self.step(operation)
            case _:
                await self.use(operation)

    async def use(self, operation):
        """Do what is one operation of a primitive."""
        objects = self.objects
        match operation:
            case Down(is_timed):
                self.note(await objects["slots"].acquire(is_timed or None))
            case Up():
                await objects["slots"].release()
            case Signal(is_set):
                await (objects["signal"].set() if is_set else objects["signal"].clear())
            case IsSignalled():
                self.note(await objects["signal"].is_set())
            case AwaitSignal(is_timed):
                self.note(await objects["signal"].wait(is_timed or None))
            case Meet():
                self.note(await objects["barrier"].wait())
            case Notify(is_all):
                await objects["condition"].notify(1 << 30 if is_all else 1)

    async def step(self, step):
        """Touch several objects at once."""
        objects = self.objects
        names = {"reads": step.reads, "writes": step.writes, "adds": step.adds}
        touched = {key: tuple(objects[name] for name in found) for key, found in names.items()}
        await self.world.step("several", **touched)
        for name in step.reads:
            self.note(objects[name].value)
        for move in step.moves:
            value = self.seen if move.source is None else objects[move.source].value
            objects[move.to].value = value if move.plus is None else value + move.plus
