"""What is wrong in the processes of a scenario although each value by itself is legal.

Works on parts: what is not legal by itself is None, reported elsewhere, and hides no other problem.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from mmactors.actors.program.supported import NOT_YET, why_not
from mmactors.actors.state.namei import full_path
from mmactors.errors import Place, Problem
from mmactors.left_out import LeftOut, left_out_at, left_out_called
from mmactors.malloc.config import PTMALLOC, ignored_entries
from mmactors.scenario.document import Node
from mmactors.scenario.overrides import find
from mmactors.workload.meeting import lonely_barriers
from mmactors.workload.operation.all import (
    OPERATIONS,
    By,
    Cpu,
    Get,
    Madvise,
    Operation,
    OperationError,
    PlainOperation,
    Prefetch,
    Put,
    SchedSetaffinity,
    Thread,
)
from mmactors.workload.operation.grammar import left_out_error
from mmactors.workload.program import check_program

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,14}")
_VERBS: Final = ", ".join(
    sorted(verb for verb, operation in OPERATIONS.items() if operation not in NOT_YET)
)


@frozen(kw_only=True)
class ProcessParts:
    """One process; what is missing or not legal by itself is None."""

    name: str | None
    cpu: int | None
    copies: int | None
    program: tuple[Operation | None, ...] | None
    malloc: str | None
    environment: Mapping[str, str] | None


def process_problems(
    processes: Sequence[ProcessParts],
    root: Node,
    *,
    nr_cpus: int | None,
    nr_nodes: int | None,
) -> Iterator[Problem]:
    """Yield the problems of all processes; None is a number that is not known."""
    if not processes:
        yield Problem(
            place=place_of(root, "processes"),
            found="processes is empty",
            legal="expected at least one process",
            advice="configs/quickstart.yaml is an example",
        )
    seen: dict[str, int] = {}
    for index, process in enumerate(processes):
        path = f"processes[{index}]"
        for error in _program_errors(process.program or (), nr_cpus, nr_nodes):
            yield _at_operation(error, path, root)
        yield from _name_problems(process, path, seen, root)
        yield from _environment_problems(
            process.malloc or PTMALLOC, process.environment or {}, path, root
        )
        if process.name is not None:
            seen.setdefault(process.name, index)
        if process.cpu is not None and nr_cpus is not None and process.cpu >= nr_cpus:
            yield Problem(
                place=place_of(root, f"{path}.cpu"),
                found=f"{path}.cpu is {process.cpu}",
                legal=f"expected 0 to {nr_cpus - 1} on a machine of {nr_cpus} CPUs",
                advice=f"use one of them, or raise machine.cpus to {process.cpu + 1}",
            )
    yield from _meeting_problems(processes, root)


def _name_problems(
    process: ProcessParts, path: str, seen: dict[str, int], root: Node
) -> Iterator[Problem]:
    name = process.name
    if name is None:
        return
    if _NAME.fullmatch(name) is None:
        yield Problem(
            place=place_of(root, f"{path}.name"),
            found=f"{path}.name is {name!r}",
            legal="expected up to 15 of A-Z a-z 0-9 _ -, a letter or _ first, as comm has",
            advice="choose a short name",
        )
    elif name in seen:
        yield Problem(
            place=place_of(root, f"{path}.name"),
            found=f"{path}.name is {name!r}, as processes[{seen[name]}] is",
            legal="expected each name once",
            advice="choose another name, or use `copies:`",
        )


def _environment_problems(
    library: str, environment: Mapping[str, str], path: str, root: Node
) -> Iterator[Problem]:
    """Yield what the C library would pass over, or take for something else."""
    for ignored in ignored_entries(library, environment):
        place = f"{path}.environment.{ignored.variable}"
        yield Problem(
            place=place_of(root, place),
            found=f"{place} has {ignored.entry!r}: {ignored.why}",
            legal=f"expected {ignored.legal}",
            advice="mend the entry, or leave it out",
        )


def _program_errors(
    program: Sequence[Operation | None], nr_cpus: int | None, nr_nodes: int | None
) -> Iterator[OperationError]:
    yield from check_program(program)
    for index, operation in enumerate(program):
        plain = operation.operation if isinstance(operation, By) else operation
        if operation is None or plain is None:
            continue
        left_out = _left_out(plain)
        lack = why_not(operation)
        if left_out is not None:
            yield _at(left_out_error(plain.verb, left_out), index)
        elif lack is not None:
            yield OperationError(
                f"{operation}: {lack}",
                f"this release runs {_VERBS}",
                "leave it out",
                index=index,
            )
        cpu = _cpu_of(plain)
        if nr_cpus is not None and cpu is not None and cpu >= nr_cpus:
            yield OperationError(
                f"{plain.verb}: there is no CPU {cpu}",
                f"expected 0 to {nr_cpus - 1} on a machine of {nr_cpus} CPUs",
                f"raise machine.cpus to {cpu + 1}",
                index=index,
            )
        node: int | None = getattr(plain, "node", None)
        if nr_nodes is not None and node is not None and node >= nr_nodes:
            yield OperationError(
                f"{plain.verb}: there is no node {node}",
                f"expected 0 to {nr_nodes - 1} on a machine of {nr_nodes} nodes",
                f"raise machine.memory.nr_nodes to {node + 1}, or leave node out",
                index=index,
            )


def _cpu_of(operation: PlainOperation) -> int | None:
    """Return the CPU that an operation names; None: it names none."""
    if isinstance(operation, Thread | Cpu | Prefetch | SchedSetaffinity):
        return operation.cpu
    smp_call: int | None = getattr(operation, "smp_call", None)
    return smp_call


def _left_out(operation: PlainOperation) -> LeftOut | None:
    """Return what an operation asks for although it is left out; recordings may do so."""
    match operation:
        case Madvise(advice=advice):
            return left_out_called(advice)
        case Get(path=path) | Put(path=path):
            return left_out_at(full_path(path))
        case _:
            return left_out_called(operation.verb)


def _meeting_problems(processes: Sequence[ProcessParts], root: Node) -> Iterator[Problem]:
    """Yield the barriers to which too few can come, if all programs are known."""
    programs = []
    for process in processes:
        if process.program is None or process.copies is None or None in process.program:
            return
        program = tuple(operation for operation in process.program if operation is not None)
        programs.append((program, process.copies))
    for nth, error in lonely_barriers(programs):
        yield _at_operation(error, f"processes[{nth}]", root)


def _at(error: OperationError, index: int) -> OperationError:
    error.index = index
    return error


def _at_operation(error: OperationError, path: str, root: Node) -> Problem:
    place = f"{path}.program[{error.index}]"
    return Problem(
        place=place_of(root, place),
        found=f"{place}: {error.found}",
        legal=error.legal,
        advice=error.advice,
    )


def place_of(root: Node, path: str) -> Place:
    """Return the place of the value at a path, or of the nearest one above it that is written."""
    steps = re.findall(r"[^.\[\]]+", path)
    while steps:
        node = find(root, steps)
        if node is not None:
            return node.place
        steps.pop()
    return root.place
