"""Programs as lists of instructions, with jumps: what brute force runs.

An instruction is an operation, which is a step, or a tuple `(word, ...)`: local code, but for
`try to add`.
"""

from brute_force.program import (
    GAVE_UP,
    LOCKS,
    Acquire,
    BeginWait,
    Choose,
    Fence,
    If,
    Locked,
    Read,
    Reading,
    ReadLock,
    ReadUnlock,
    Release,
    Relock,
    Retake,
    Retry,
    RetryAdd,
    Step,
    Tell,
    Try,
    TryAcquire,
    Waiting,
    WriteLock,
    WriteUnlock,
    Writing,
)


def compiled(body, *, is_late):
    """Return the instructions of an actor: operations, and `(word, ...)` for what is local."""
    code = []

    def emit_all(statements):
        for statement in statements:
            emit(statement)

    def branch(test):
        code.append(None)
        at = len(code) - 1

        def end():
            code[at] = ("unless", test, len(code))

        return end

    def jump():
        code.append(None)
        at = len(code) - 1

        def end():
            code[at] = ("jump", len(code))

        return end

    def emit(statement):
        match statement:
            case Locked(lock, inner):
                code.append(Acquire(lock))
                emit_all(inner)
                code.append(Release(lock))
            case Try(lock, inner):
                code.append(TryAcquire(lock))
                end = branch("is not zero")
                emit_all(inner)
                code.append(Release(lock))
                end()
            case Reading(inner):
                code.append(ReadLock())
                emit_all(inner)
                code.append(ReadUnlock())
            case Writing(inner):
                code.append(WriteLock())
                emit_all(inner)
                code.append(WriteUnlock())
            case Waiting(is_timed, inner):
                code.extend((Acquire(LOCKS[0]), BeginWait(), Relock(is_timed), Retake()))
                emit_all(inner)
                code.append(Release(LOCKS[0]))
            case Choose(options):
                code.append(("choose", options))
            case If(test, then, orelse):
                other = branch(test)
                emit_all(then)
                end = jump()
                other()
                emit_all(orelse)
                end()
            case Tell(box, value, reads):
                code.append(Step(writes=(box,)) if reads is None else Read(reads))
                code.append(("tell", box, value))
            case Retry(times, cell, test):
                ends = []
                for _ in range(times):
                    code.append(Read(cell))
                    again = branch(test)
                    ends.append(jump())
                    again()
                code.append(("note", GAVE_UP))
                for end in ends:
                    end()
            case RetryAdd(times, cell):
                end = len(code) + 2 * times + 1
                code.extend((Read(cell), ("try to add", cell, end)) * times)
                code.append(("note", GAVE_UP))
            case Fence() if not is_late:
                pass
            case _:
                code.append(statement)

    emit_all(body)
    return tuple(code)


def word_of(instruction):
    """Return what an instruction says that is no operation."""
    return instruction[0] if isinstance(instruction, tuple) else None
