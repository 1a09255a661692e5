"""Brute force: all interleavings of a program, on a machine of its own.

It knows nothing of `mmactors.explore`: programs become lists of instructions, states are tuples,
every state is gone on from in every way. Numbers stand for values, by type and text, so that no two
values are one. With late stores it is the abstract machine of x86-TSO (Sewell et al., CACM 2010): a
queue of stores a processor, loads that look there first, draining as a move of its own.

A step of an actor is an instruction and the local ones behind it. A preemption leaves an actor that
could go on; draining a buffer is the move of somebody else.
"""

from brute_force import primitives
from brute_force.instructions import compiled, word_of
from brute_force.primitives import ASKING, ASLEEP, NOT_WAITING, NOTES, PC, SEEN, WAITS
from brute_force.program import (
    BOXES,
    LOCKS,
    QUEUES,
    TESTS,
    Acquire,
    Add,
    AddReturn,
    Ask,
    Cmpxchg,
    DecAndTest,
    Fence,
    Final,
    GetAndClear,
    Read,
    Receive,
    Release,
    Sleep,
    Step,
    TryAcquire,
    Until,
    Wake,
    Write,
    Xchg,
    evaluate,
)

ANSWER = "answer"
LOCKED_OPERATIONS = (
    Xchg,
    Cmpxchg,
    Add,
    AddReturn,
    DecAndTest,
    GetAndClear,
    Acquire,
    Receive,
    Sleep,
    Wake,
    Fence,
)


class TooMany(Exception):  # noqa: N818 - says what happened
    """The program has more states than was allowed."""


class Now:
    """A state that can be changed; `frozen` is its name."""

    __slots__ = ("actors", "boxes", "buffers", "cells", "crowd", "holders", "sleepers")

    def __init__(self, frozen):
        actors, cells, holders, boxes, sleepers, buffers, self.crowd = frozen
        self.actors = [list(actor) for actor in actors]
        self.cells = list(cells)
        self.holders = list(holders)
        self.boxes = list(boxes)
        self.sleepers = list(sleepers)
        self.buffers = list(buffers)

    def frozen(self):
        """Return the state as tuples."""
        return (
            tuple(map(tuple, self.actors)),
            tuple(self.cells),
            tuple(self.holders),
            tuple(self.boxes),
            tuple(self.sleepers),
            tuple(self.buffers),
            self.crowd,
        )


class Machine:
    """All that can become of a program."""

    def __init__(self, program, *, max_states=20_000):
        self.is_late = program.is_late
        self.max_states = max_states
        self.values = []
        self.numbers = {}
        self.nr_cells = len(program.cells)
        first = {name: value.value for name, value in program.cells} | primitives.FIRST
        self.cell_at = {name: at for at, name in enumerate(first)}
        self.first = [self.number(value) for value in first.values()]
        self.codes = [compiled(body, is_late=self.is_late) for body in program.actors]
        self.nr_programs = len(self.codes)
        self.codes += [(event.step,) * event.times for event in program.events]
        self.is_daemon = [
            index < program.nr_daemons or index >= self.nr_programs
            for index in range(len(self.codes))
        ]
        self.nr_states = 0

    def number(self, value):
        """Return the number that stands for a value."""
        key = (type(value), repr(value))
        found = self.numbers.get(key)
        if found is None:
            found = self.numbers[key] = len(self.values)
            self.values.append(value)
        return found

    # -- all ways ------------------------------------------------------------------------------

    def finals(self, bound=None):
        """Return all ways to end, with at most `bound` preemptions."""
        found = set()
        known = set()
        left = [(self.begin(), -1, 0)]
        while left:
            entry = left.pop()
            if entry in known:
                continue
            known.add(entry)
            if len(known) > self.max_states:
                raise TooMany
            state, current, nr_preemptions = entry
            if self.is_over(state):
                found.add(self.final(state, is_over=True))
                continue
            moves = self.moves(state)
            if not moves:
                found.add(self.final(state, is_over=False))
            can = {who for who, _ in moves} if self.chooser(state) is None else ()
            for who, after in moves:
                if bound is None:
                    left.append((after, -1, 0))
                    continue
                cost = nr_preemptions + (current in can and who != current)
                if cost <= bound:
                    left.append((after, who, cost))
        self.nr_states = len(known)
        return found

    def begin(self):
        """Return the state in which everybody has come to its first step."""
        nr_actors = len(self.codes)
        actors = tuple((0, self.number(index), (), NOT_WAITING) for index in range(nr_actors))
        boxes = ((),) * (len(BOXES) * nr_actors)
        blank = (
            actors,
            tuple(self.first),
            (-1,) * len(LOCKS),
            boxes,
            ((),) * len(QUEUES),
            ((),) * nr_actors,
            ((), ()),
        )
        return self.go_on(Now(blank), list(range(nr_actors)))

    def is_over(self, state):
        """Return whether all have ended who are no daemons, and no store is late."""
        return not any(state[5]) and all(
            self.is_daemon[index] or self.has_ended(index, actor)
            for index, actor in enumerate(state[0])
        )

    def has_ended(self, index, actor):
        """Return whether an actor has done all."""
        return actor[PC] == len(self.codes[index]) and actor[WAITS] == NOT_WAITING

    def final(self, state, *, is_over):
        """Return how the program ended."""
        actors, cells, holders, boxes, *_ = state
        nr_actors = len(self.codes)
        return Final(
            memory=tuple(repr(self.values[number]) for number in cells[: self.nr_cells]),
            holders=holders,
            nr_messages=tuple(
                sum(map(len, boxes[at * nr_actors : (at + 1) * nr_actors]))
                for at in range(len(BOXES))
            ),
            notes=tuple(actor[NOTES] for actor in actors[: self.nr_programs]),
            unfinished=()
            if is_over
            else tuple(
                index
                for index, actor in enumerate(actors)
                if not self.is_daemon[index] and not self.has_ended(index, actor)
            ),
        )

    def moves(self, state):
        """Return who can do what, and what becomes of it."""
        chooser = self.chooser(state)
        if chooser is not None:
            return self.choices(state, chooser)
        moves = []
        for index, actor in enumerate(state[0]):
            if actor[WAITS] != NOT_WAITING or self.has_ended(index, actor):
                continue
            operation = self.codes[index][actor[PC]]
            for option in self.options(state, index, operation):
                now = Now(state)
                now.actors[index][PC] += 1
                awake = self.act(now, index, operation, option)
                moves.append((index, self.go_on(now, awake)))
        for index, stores in enumerate(state[5]):
            if stores:
                now = Now(state)
                (target, value), *others = stores
                now.buffers[index] = tuple(others)
                awake = self.arrive(now, index, target, value)
                moves.append((len(state[0]) + index, self.go_on(now, awake)))
        return moves

    def chooser(self, state):
        """Return who has to choose before anybody does anything."""
        for index, (at, _, _, waits) in enumerate(state[0]):
            code = self.codes[index]
            if waits == NOT_WAITING and at < len(code) and word_of(code[at]) == "choose":
                return index
        return None

    def choices(self, state, index):
        """Return what becomes of each of an actor's options."""
        moves = []
        for option in self.codes[index][state[0][index][PC]][1]:
            now = Now(state)
            now.actors[index][PC] += 1
            self.note(now.actors[index], self.number(option.value))
            moves.append((index, self.go_on(now, [index])))
        return moves

    # -- stores --------------------------------------------------------------------------------

    def store(self, now, index, target, value):
        """Store, at once or later; return who wakes."""
        if not self.is_late:
            return self.arrive(now, index, target, value)
        now.buffers[index] = (*now.buffers[index], (target, value))
        return []

    def arrive(self, now, index, target, value):
        """Let a store be seen; return who wakes."""
        kind, at = target
        if kind == "cell":
            now.cells[at] = value
        elif kind == "lock":
            now.holders[at] = -1
        elif kind == "box":
            slot = at * len(self.codes) + index
            now.boxes[slot] = (*now.boxes[slot], value)
        else:
            actor = now.actors[at]
            actor[WAITS] = NOT_WAITING
            self.note(actor, value)
            return [at]
        return []

    def load(self, state_cells, stores, cell):
        """Return what a processor sees in a cell."""
        at = self.cell_at[cell]
        for target, value in reversed(stores):
            if target == ("cell", at):
                return value
        return state_cells[at]

    def note(self, actor, number):
        """Let an actor see a value."""
        actor[SEEN] = number
        actor[NOTES] = (*actor[NOTES], repr(self.values[number]))

    # -- operations ----------------------------------------------------------------------------

    def is_locked(self, operation):
        """Return whether an operation waits until the stores before it are seen."""
        if isinstance(operation, Step):
            if operation.is_event or operation.adds or (operation.reads and operation.writes):
                return True
            return any(name not in self.cell_at for name in operation.writes)
        return isinstance(operation, (*LOCKED_OPERATIONS, tuple))

    def options(self, state, index, operation):
        """Return the ways in which an actor can do its operation now; none: it has to wait."""
        if isinstance(operation, primitives.ALL):
            return primitives.options(self, state, index, operation)
        _, cells, holders, boxes, _, buffers, _ = state
        stores = buffers[index]
        if isinstance(operation, TryAcquire):
            at = LOCKS.index(operation.lock)
            looks_free = holders[at] < 0 or (("lock", at), -1) in stores
            return [] if looks_free and stores else [None]
        if stores and self.is_locked(operation):
            return []
        if isinstance(operation, Until):
            is_good = TESTS[operation.test](self.values[self.load(cells, stores, operation.cell)])
            return [None] if is_good else []
        if isinstance(operation, Acquire):
            return [None] if holders[LOCKS.index(operation.lock)] < 0 else []
        if isinstance(operation, Receive):
            first = BOXES.index(operation.box) * len(self.codes)
            return [slot for slot in range(first, first + len(self.codes)) if boxes[slot]]
        return [None]

    def act(self, now, index, operation, option):
        """Do an operation; return who goes on."""
        actor = now.actors[index]
        stores = now.buffers[index]
        seen = self.values[actor[SEEN]]
        cells = now.cells
        awake = [index]
        match operation:
            case Read(cell) | Until(cell):
                self.note(actor, self.load(cells, stores, cell))
            case Write(cell, value):
                target = ("cell", self.cell_at[cell])
                awake += self.store(now, index, target, self.number(evaluate(value, seen)))
            case Xchg(cell, value):
                self.swap(actor, cells, cell, evaluate(value, seen))
            case Cmpxchg(cell, expected, value):
                self.compare(actor, cells, cell, evaluate(expected, seen), evaluate(value, seen))
            case ("try to add", cell, end):
                expected = seen
                at = self.cell_at[cell]
                if self.values[cells[at]] == expected:
                    cells[at] = self.number(expected + 1)
                    actor[PC] = end
            case Add(cell, number) | AddReturn(cell, number):
                at = self.cell_at[cell]
                cells[at] = self.number(self.values[cells[at]] + number)
                if isinstance(operation, AddReturn):
                    self.note(actor, cells[at])
            case DecAndTest(cell):
                at = self.cell_at[cell]
                cells[at] = self.number(self.values[cells[at]] - 1)
                self.note(actor, self.number(self.values[cells[at]] == 0))
            case GetAndClear(cell):
                self.swap(actor, cells, cell, 0)
            case Acquire(lock):
                now.holders[LOCKS.index(lock)] = index
            case TryAcquire(lock):
                at = LOCKS.index(lock)
                is_free = now.holders[at] < 0
                if is_free:
                    now.holders[at] = index
                self.note(actor, self.number(is_free))
            case Release(lock):
                awake += self.store(now, index, ("lock", LOCKS.index(lock)), -1)
            case Receive():
                (asker, value), *others = now.boxes[option]
                now.boxes[option] = tuple(others)
                if asker is not None:
                    answer = self.number(self.values[value] + 1)
                    awake += self.store(now, index, (ANSWER, asker), answer)
                self.note(actor, value)
            case Ask(box, value):
                actor[WAITS] = ASKING
                message = (index, self.number(evaluate(value, seen)))
                self.store(now, index, ("box", BOXES.index(box)), message)
                awake = []
            case Sleep(queue):
                at = QUEUES.index(queue)
                now.sleepers[at] = (*now.sleepers[at], index)
                actor[WAITS] = ASLEEP
                awake = []
            case Wake(queue, nr_actors):
                at = QUEUES.index(queue)
                woken = now.sleepers[at][:nr_actors]
                now.sleepers[at] = now.sleepers[at][nr_actors:]
                for other in woken:
                    now.actors[other][WAITS] = NOT_WAITING
                awake += woken
            case Step():
                self.step(now, index, operation)
            case _ if isinstance(operation, primitives.ALL):
                awake = primitives.act(self, now, index, operation, option)
        return awake

    def swap(self, actor, cells, cell, value):
        """Exchange."""
        at = self.cell_at[cell]
        before = cells[at]
        cells[at] = self.number(value)
        self.note(actor, before)

    def compare(self, actor, cells, cell, expected, value):
        """Compare and exchange."""
        at = self.cell_at[cell]
        is_equal = self.values[cells[at]] == expected
        if is_equal:
            cells[at] = self.number(value)
        self.note(actor, self.number(is_equal))

    def step(self, now, index, step):
        """Do a step on several objects: loads, then assignments."""
        actor = now.actors[index]
        for name in step.reads:
            self.note(actor, self.load(now.cells, now.buffers[index], name))
        for move in step.moves:
            if move.source is not None:
                value = self.values[self.load(now.cells, now.buffers[index], move.source)]
            else:
                value = 0 if step.is_event else self.values[actor[SEEN]]
            number = self.number(value if move.plus is None else value + move.plus)
            target = ("cell", self.cell_at[move.to])
            if self.is_locked(step):
                self.arrive(now, index, target, number)
            else:
                self.store(now, index, target, number)

    # -- local code ----------------------------------------------------------------------------

    def go_on(self, now, awake):
        """Let actors do what is local, up to a choice; return the state to which that leads."""
        for index in awake:
            actor = now.actors[index]
            code = self.codes[index]
            while actor[WAITS] == NOT_WAITING and actor[PC] < len(code):
                instruction = code[actor[PC]]
                word = word_of(instruction)
                if word is None or word in ("choose", "try to add"):
                    break
                actor[PC] += 1
                match instruction:
                    case ("unless", test, target):
                        if not TESTS[test](self.values[actor[SEEN]]):
                            actor[PC] = target
                    case ("jump", target):
                        actor[PC] = target
                    case ("note", text):
                        actor[NOTES] = (*actor[NOTES], text)
                    case ("tell", box, value):
                        number = self.number(evaluate(value, self.values[actor[SEEN]]))
                        self.store(now, index, ("box", BOXES.index(box)), (None, number))
        return now.frozen()
