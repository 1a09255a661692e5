"""What brute force does at a semaphore, a signal, a read-write lock, a barrier and a condition.

Where they stand is kept in cells that no program names; who waits for the condition, and who of
those was notified, is the crowd of a state. Stores that release are late, as all stores are; what
takes something waits until the stores before it are seen; who sees that there is nothing to take
has only looked.
"""

from brute_force.program import (
    AwaitSignal,
    BeginWait,
    Down,
    IsSignalled,
    Meet,
    Notify,
    ReadLock,
    ReadUnlock,
    Relock,
    Retake,
    Signal,
    Up,
    WriteLock,
    WriteUnlock,
)

FIRST = {"slots": 1, "signal": False, "writer": -1, "readers": 0, "here": -1}
"""What the hidden cells hold when all begins."""
CONDITION_LOCK = 0
"""The first of all locks."""
PC, SEEN, NOTES, WAITS = range(4)
"""What an actor is made of."""
NOT_WAITING, ASLEEP, ASKING, AT_BARRIER = range(4)
IN_TIME, OUT_OF_TIME = True, False
LOCKED = (Up, ReadLock, ReadUnlock, WriteLock, Meet, BeginWait, Notify)
"""What waits until the stores before it are seen."""
ALL = (*LOCKED, Down, Signal, IsSignalled, AwaitSignal, WriteUnlock, Relock, Retake)


def options(machine, state, index, operation):
    """Return the ways in which an actor can do its operation now; none: it has to wait."""
    _, cells, holders, _, _, buffers, (waiting, woken) = state
    stores = buffers[index]
    if stores and isinstance(operation, LOCKED):
        return []

    def held(name):
        return machine.values[cells[machine.cell_at[name]]]

    can = True
    match operation:
        case Down(is_timed):
            if held("slots"):
                return [] if stores else [IN_TIME]
            return [OUT_OF_TIME] if is_timed else []
        case AwaitSignal(is_timed):
            if machine.values[machine.load(cells, stores, "signal")]:
                return [IN_TIME]
            return [OUT_OF_TIME] if is_timed else []
        case ReadLock():
            can = held("writer") < 0
        case WriteLock():
            can = held("writer") < 0 and not held("readers")
        case Notify(is_all):
            return list(waiting) if waiting and not is_all else [None]
        case Relock(is_timed):
            is_open = index in woken and holders[CONDITION_LOCK] < 0
            return [IN_TIME] * is_open + [OUT_OF_TIME] * is_timed
        case Retake():
            can = holders[CONDITION_LOCK] < 0
    return [None] if can else []


def act(machine, now, index, operation, option):
    """Do an operation; return who goes on."""
    actor = now.actors[index]

    def change(name, to):
        """Set a hidden cell to a number, or to what `to` makes of it."""
        at = machine.cell_at[name]
        now.cells[at] = machine.number(to(machine.values[now.cells[at]]) if callable(to) else to)

    def note(value):
        machine.note(actor, machine.number(value))

    match operation:
        case Down():
            if option is IN_TIME:
                change("slots", lambda slots: slots - 1)
            note(option)
        case Up():
            change("slots", lambda slots: slots + 1)
        case Signal(is_set):
            _store(machine, now, index, "signal", is_set)
        case IsSignalled():
            machine.note(actor, machine.load(now.cells, now.buffers[index], "signal"))
        case AwaitSignal():
            note(option)
        case ReadLock():
            change("readers", lambda readers: readers + 1)
        case ReadUnlock():
            change("readers", lambda readers: readers - 1)
        case WriteLock():
            change("writer", index)
        case WriteUnlock():
            _store(machine, now, index, "writer", -1)
        case Meet():
            here = machine.values[now.cells[machine.cell_at["here"]]]
            if here < 0:
                change("here", index)
                actor[WAITS] = AT_BARRIER
                return []
            change("here", -1)
            note(1)
            now.actors[here][WAITS] = NOT_WAITING
            machine.note(now.actors[here], machine.number(0))
            return [index, here]
        case Notify(is_all):
            waiting, woken = now.crowd
            who = waiting if is_all or not waiting else (option,)
            left = tuple(each for each in waiting if each not in who)
            now.crowd = left, tuple(sorted({*woken, *who}))
        case _:
            _wait(now, index, operation, option, note)
    return [index]


def _wait(now, index, operation, option, note):
    """Do a part of waiting for the condition."""
    waiting, woken = now.crowd
    match operation:
        case BeginWait():
            now.holders[CONDITION_LOCK] = -1
            now.crowd = (*waiting, index), woken
            return
        case Relock():
            now.crowd = tuple(tuple(who for who in crowd if who != index) for crowd in now.crowd)
            if option is OUT_OF_TIME:
                return
            note(True)
            _skip(now.actors[index])
        case Retake():
            note(False)
    now.holders[CONDITION_LOCK] = index


def _store(machine, now, index, name, value):
    machine.store(now, index, ("cell", machine.cell_at[name]), machine.number(value))


def _skip(actor):
    actor[PC] += 1
