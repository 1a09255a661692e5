"""Barriers to which too few threads can come, known from the programs of all processes together.

A thread at a barrier waits until as many have come as it is for; then the barrier begins anew. What
is reported is certain: a program waits there for ever, whatever the interleaving. A thread that
nobody waits for may stand at a barrier until its process ends, and is not reported.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from mmactors.workload.names import FIRST_PROCESS
from mmactors.workload.operation.all import (
    Barrier,
    By,
    Exit,
    Kill,
    Operation,
    Wait,
)
from mmactors.workload.operation.grammar import OperationError

_LEGAL_COUNT: Final = "expected one number for one barrier"


@frozen(kw_only=True)
class _Arrival:
    """One operation `barrier`, of all copies of a process."""

    process: int
    index: int
    """Of the operation."""
    thread: str
    count: int
    copies: int
    holds_program: bool
    """The program goes on only when the thread does."""


def lonely_barriers(
    programs: Sequence[tuple[Sequence[Operation], int]],
) -> Iterator[tuple[int, OperationError]]:
    """Yield (number of the program, what is wrong); each program stands with its copies."""
    by_name: dict[str, list[_Arrival]] = {}
    for process, (program, copies) in enumerate(programs):
        for name, arrival in _arrivals(program, process, copies):
            by_name.setdefault(name, []).append(arrival)
    has_kill = any(isinstance(_plain(each), Kill) for program, _ in programs for each in program)
    for name, arrivals in by_name.items():
        yield from _problems(name, arrivals, may_lose_threads=has_kill)


def _arrivals(
    program: Sequence[Operation], process: int, copies: int
) -> Iterator[tuple[str, _Arrival]]:
    for index, operation in enumerate(program):
        if isinstance(operation, Exit):
            return
        plain = _plain(operation)
        if isinstance(plain, Barrier):
            arrival = _Arrival(
                process=process,
                index=index,
                thread=operation.name if isinstance(operation, By) else FIRST_PROCESS,
                count=plain.count,
                copies=copies,
                holds_program=_holds_program(operation, program[index + 1 :]),
            )
            yield plain.name, arrival


def _plain(operation: Operation) -> Operation:
    return operation.operation if isinstance(operation, By) else operation


def _holds_program(operation: Operation, later: Sequence[Operation]) -> bool:
    """Return whether the program waits for who does this operation, now or later."""
    if not isinstance(operation, By) or operation.waits or operation.name == FIRST_PROCESS:
        return True
    for each in later:
        match each:
            case Exit() | Kill():
                return False
            case Wait():
                return True
            case By(name=name, waits=True) if name == operation.name:
                return True
            case _:
                pass
    return False


def _problems(
    name: str, arrivals: Sequence[_Arrival], *, may_lose_threads: bool
) -> Iterator[tuple[int, OperationError]]:
    count = arrivals[0].count
    other = next((each for each in arrivals if each.count != count), None)
    if other is not None:
        if other.process != arrivals[0].process:  # Within one program `check_program` says so.
            found = f"barrier {name} is for {other.count}, and in another program for {count}"
            advice = f"write barrier {name} {count}"
            yield other.process, OperationError(found, _LEGAL_COUNT, advice, index=other.index)
        return
    threads = {(each.process, each.thread): each.copies for each in arrivals}
    nr_threads = sum(threads.values())
    nr_arrivals = sum(each.copies for each in arrivals)
    held = [each for each in arrivals if each.holds_program]
    if nr_threads < count:
        first_of = {each.process: each for each in reversed(held)}
        for each in reversed(first_of.values()):
            come = "1 thread comes" if nr_threads == 1 else f"{nr_threads} threads come"
            yield (
                each.process,
                OperationError(
                    f"barrier {name} is for {count} threads, and only {come} to it",
                    f"expected {count} threads or more, of any processes",
                    f"write barrier {name} {nr_threads}, or let others come to it, too",
                    index=each.index,
                ),
            )
    elif nr_arrivals % count and len(held) == len(arrivals) and not may_lose_threads:
        last = arrivals[-1]
        yield (
            last.process,
            OperationError(
                f"barrier {name} is for {count} threads, and {nr_arrivals} times one comes to it: "
                f"the last {nr_arrivals % count} wait for ever",
                f"expected a multiple of {count}",
                f"let {count - nr_arrivals % count} more come to it",
                index=last.index,
            ),
        )
