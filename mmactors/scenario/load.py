"""Scenario files: from YAML text, and what the command line changes, to a Scenario or a UserError.

All problems of a file are reported at once, each at its place. Traces are found relative to the
scenario file; the scenario that is returned has their absolute paths, so that it means the same
wherever it is written.
"""

import os.path
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from attrs import evolve

from mmactors.errors import Place, Problem, UserError
from mmactors.given_file import is_given_file, read_given
from mmactors.limits import TEXT_BYTES_MAX
from mmactors.option import OptionDoc
from mmactors.scenario.document import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    parse_document,
)
from mmactors.scenario.meaning import meaning_problems
from mmactors.scenario.overrides import Setting, apply_overrides, find
from mmactors.scenario.race_names import FunctionName, Goal, function_parser, goal_parser
from mmactors.scenario.schema import Expected, Scenario, parse_expected
from mmactors.scenario.structure import Structurer, TextError
from mmactors.workload.operation.all import (
    By,
    Operation,
    OperationError,
    RunHeapTrace,
    RunTrace,
    parse_operation,
)
from mmactors.workload.trace.file import open_trace, trace_format

if TYPE_CHECKING:
    from mmactors.workload.heap_trace.file import HeapTrace

_Recorded = RunTrace | RunHeapTrace
_R = TypeVar("_R", bound=RunTrace | RunHeapTrace)
_ROOT_DOC: Final = OptionDoc(doc="a scenario")


def load_scenario(
    path: Path, overrides: Sequence[str | Setting] = (), *, reads_traces: bool = False
) -> Scenario:
    """Return the scenario of a file, changed by `KEY=VALUE` overrides; raise UserError.

    With `reads_traces` each trace is read to its end, to find what a run would find there.
    """
    return parse_scenario(
        read_text(path),
        file=str(path),
        folder=path.parent,
        overrides=overrides,
        reads_traces=reads_traces,
    )


def parse_scenario(
    text: str,
    *,
    file: str,
    folder: Path,
    overrides: Sequence[str | Setting] = (),
    reads_traces: bool = False,
) -> Scenario:
    """Return the scenario of a YAML text; `folder` is where relative paths begin.

    Raises UserError with all problems.
    """
    problems: list[Problem] = []
    root = parse_document(text, file=file, problems=problems)
    return scenario_of_tree(
        root, folder=folder, overrides=overrides, reads_traces=reads_traces, before=problems
    )


def scenario_of_tree(
    root: Node,
    *,
    folder: Path,
    overrides: Sequence[str | Setting] = (),
    reads_traces: bool = False,
    before: Sequence[Problem] = (),
) -> Scenario:
    """Return the scenario that a tree describes; raise UserError with all problems.

    `before` are those that the text had already; what else is wrong in their places follows.
    """
    look = _read if reads_traces else _look
    texts = {
        Expected: parse_expected,
        Operation: _operation_parser(folder, cache(look)),
        FunctionName: function_parser(folder),
        Goal: goal_parser(folder),
    }
    problems: list[Problem] = []
    apply_overrides(root, overrides, problems)
    _join_labels(root)
    scenario = Structurer(texts=texts, problems=problems).structure(root, Scenario, "", _ROOT_DOC)
    problems += meaning_problems(root, texts)
    places = {problem.place for problem in before}
    problems = [*before, *(problem for problem in problems if problem.place not in places)]
    if problems:
        raise UserError(sorted(problems, key=_order))
    assert isinstance(scenario, Scenario), scenario
    return _with_places(scenario, root)


def _with_places(scenario: Scenario, root: Node) -> Scenario:
    """Return the scenario whose operations know where they are written."""
    places = [tuple(item.place for item in program.items) for program in _programs(root)]
    assert len(places) == len(scenario.processes), "each process has a program"
    known = zip(scenario.processes, places, strict=True)
    return evolve(scenario, processes=tuple(evolve(each, places=its) for each, its in known))


def read_text(path: Path) -> str:
    """Return a file's text; raise UserError if it cannot be read or is not UTF-8."""
    try:
        data = read_given(path, bytes_max=TEXT_BYTES_MAX)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(
            Problem(
                place=Place(str(path)),
                found=getattr(error, "strerror", None) or str(error),
                legal="expected a readable file",
                advice="check the path; configs/ has examples",
            )
        ) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        head = data[: error.start]
        line = head.count(b"\n") + 1
        column = len(head) - (head.rfind(b"\n") + 1) + 1
        raise UserError(
            Problem(
                place=Place(str(path), line, column),
                found=f"the byte 0x{data[error.start]:02x} is not UTF-8",
                legal="expected UTF-8 text",
                advice="save the file as UTF-8; a trace is named in a program with `trace FILE`",
            )
        ) from None


def _order(problem: Problem) -> tuple[bool, int, int]:
    place = problem.place
    return (place.line is None, place.line or 0, place.column or 0)


def _join_labels(root: Node) -> None:
    """Make texts again of program items that YAML takes for mappings: `T: touch A read`."""
    for program in _programs(root):
        for index, item in enumerate(program.items):
            match item:
                case MappingNode(entries=entries) if len(entries) == 1:
                    ((label, entry),) = entries.items()
                    if isinstance(entry.node, ScalarNode):
                        gap = " "
                        key, value = entry.place, entry.node.place
                        if key.line == value.line and key.column and value.column:
                            gap = " " * (value.column - key.column - len(label) - 1)
                        text = f"{label}:{gap}{entry.node.text}"
                        program.items[index] = ScalarNode(item.place, text, "str")


def _programs(root: Node) -> Iterator[SequenceNode]:
    processes = find(root, ("processes",))
    if isinstance(processes, SequenceNode):
        for process in processes.items:
            program = find(process, ("program",))
            if isinstance(program, SequenceNode):
                yield program


def _operation_parser(
    folder: Path, look: Callable[[_Recorded], Problem | None]
) -> Callable[[str], Operation]:
    def parse(text: str) -> Operation:
        try:
            operation = parse_operation(text)
        except OperationError as error:
            raise TextError(
                found=error.found, legal=error.legal, advice=error.advice, column=error.column
            ) from None
        if isinstance(operation, By) and isinstance(operation.operation, _Recorded):
            return evolve(operation, operation=_with_place(operation.operation, folder, text, look))
        if isinstance(operation, _Recorded):
            return _with_place(operation, folder, text, look)
        return operation

    return parse


def _with_place(
    trace: _R, folder: Path, text: str, look: Callable[[_Recorded], Problem | None]
) -> _R:
    path = Path(os.path.abspath(folder / trace.path))  # noqa: PTH100 - resolve() follows links
    verb = trace.verb
    column = text.index(verb) + 1
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        raise TextError(
            found=f"{verb}: the path {str(path)!a} has bytes that are no text",
            legal="expected a path in UTF-8: areas of the process and the run folder show it",
            advice="rename the folder, or move scenario and trace to another",
            column=column,
        )
    if not is_given_file(path):
        raise TextError(
            found=f"{verb}: there is no file {path}",
            legal="expected a trace, its path relative to the scenario file",
            advice="check the path; mmactors new --from quickstart copies some",
            column=column,
        )
    placed = evolve(trace, path=str(path))
    problem = look(placed)
    if problem is not None:
        raise TextError(
            found=f"{verb}: {problem.place}: {problem.found}",
            legal=problem.legal,
            advice=problem.advice,
            column=column,
        )
    return placed


def _look(trace: _Recorded) -> Problem | None:
    """Return what is wrong with the beginning of a trace."""
    try:
        if isinstance(trace, RunHeapTrace):
            _open_heap_trace(trace)
        else:
            trace_format(Path(trace.path), trace.format)
    except UserError as error:
        return error.problems[0]
    return None


def _read(trace: _Recorded) -> Problem | None:
    """Return what is wrong with a trace as far as it is run."""
    try:
        if isinstance(trace, RunHeapTrace):
            rows = 0
            for piece in _open_heap_trace(trace).chunks():
                rows += len(piece)
                if trace.limit is not None and rows >= trace.limit:
                    break
        else:
            for _ in open_trace(Path(trace.path), form=trace.format, limit=trace.limit):
                pass
    except UserError as error:
        return error.problems[0]
    return None


def _open_heap_trace(trace: RunHeapTrace) -> "HeapTrace":
    """Open a heap trace; its readers are imported by who has one."""
    from mmactors.workload.heap_trace.file import open_heap_trace  # noqa: PLC0415 - see above

    return open_heap_trace(Path(trace.path), trace.format)
