"""Scenario files: from YAML text, and what the command line changes, to a Scenario or a UserError.

All problems of a file are reported at once. Traces are found relative to the scenario file.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mmactors.errors import Place, Problem, UserError
from mmactors.option import OptionDoc
from mmactors.scenario.document import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    parse_document,
)
from mmactors.scenario.overrides import apply_overrides
from mmactors.scenario.schema import Expectation, Scenario
from mmactors.scenario.structure import INVALID, Structurer

_NAME = re.compile(r"[A-Za-z_][\w.-]{0,63}", re.ASCII)
_ROOT_DOC: Final = OptionDoc(doc="a scenario")


def load_scenario(path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """Return the scenario of a file, changed by `KEY=VALUE` overrides; raise UserError."""
    text = read_text(path)
    return parse_scenario(text, file=str(path), folder=path.parent, overrides=overrides)


def parse_scenario(
    text: str, *, file: str, folder: Path, overrides: Sequence[str] = ()
) -> Scenario:
    """Return the scenario of a YAML text; `folder` is where relative paths begin.

    Raises UserError with all problems.
    """
    root = parse_document(text, file=file)
    structurer = Structurer(texts={Expectation: Expectation.parse})
    apply_overrides(root, tuple(overrides), structurer.problems)
    _join_labels(root)
    value = structurer.structure(root, Scenario, "", _ROOT_DOC)
    if value is INVALID or structurer.problems:
        raise UserError(sorted(structurer.problems, key=_order))
    assert isinstance(value, Scenario), value
    return value


def read_text(path: Path) -> str:
    """Return a file's text; raise UserError if it cannot be read or is not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            Problem(
                place=Place(str(path)),
                found=error.strerror or type(error).__name__,
                legal="expected a readable file",
                advice="check the path; configs/ has examples",
            )
        ) from None
    except ValueError as error:  # a NUL in the name
        raise UserError(
            Problem(
                place=Place(repr(str(path))),
                found=str(error),
                legal="expected a readable file",
                advice="check the path",
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
    for _, program in _programs(root):
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


def _programs(root: Node) -> list[tuple[int, SequenceNode]]:
    """Return the program of each process, with the process's index."""
    found = []
    if isinstance(root, MappingNode) and "processes" in root.entries:
        processes = root.entries["processes"].node
        if isinstance(processes, SequenceNode):
            for index, process in enumerate(processes.items):
                if isinstance(process, MappingNode) and "program" in process.entries:
                    program = process.entries["program"].node
                    if isinstance(program, SequenceNode):
                        found.append((index, program))
    return found
