"""Litmus tests: short programs of a few processors, and something that may come out in the end."""

import re

from attrs import frozen
from brute_force.program import Const, Fence, Program, Read, Write, Xchg

VERDICTS = ("forbidden", "relaxed", "allowed")
_HEAD = re.compile(r"(?P<name>\S+) (?P<verdict>\w+): (?P<source>.+)")


@frozen
class Litmus:
    """One test."""

    name: str
    verdict: str
    source: str
    columns: tuple[tuple[tuple[str, ...], ...], ...]
    """What each processor does, as words."""
    exists: tuple[tuple[tuple[str, int], ...], ...]
    """What may hold in the end, of registers and cells: one of these, each of which is an and."""

    def program(self, *, is_late):
        """Return the program, for both interpreters."""
        names = dict.fromkeys(
            words[1] for column in self.columns for words in column if words != ("F",)
        )
        return Program(
            cells=tuple((name, Const(0)) for name in names),
            actors=tuple(tuple(map(_operation, column)) for column in self.columns),
            is_late=is_late,
        )

    def holds(self, final):
        """Return whether the end is the one that is asked for."""
        values = dict(zip(self._cells(), final.memory, strict=True))
        for column, notes in zip(self.columns, final.notes, strict=True):
            registers = [words[-1] for words in column if words[0] in "RX"]
            values.update(zip(registers, notes, strict=True))
        return any(
            all(values[name] == repr(value) for name, value in clause) for clause in self.exists
        )

    def _cells(self):
        return [name for name, _ in self.program(is_late=True).cells]


def _operation(words):
    match words:
        case ("W", cell, value):
            return Write(cell, Const(int(value)))
        case ("R", cell, _):
            return Read(cell)
        case ("X", cell, value, _):
            return Xchg(cell, Const(int(value)))
        case ("F",):
            return Fence()
    raise ValueError(f"{' '.join(words)!r} is no instruction; expected W, R, X or F")


def parse(text):
    """Return the tests of a file."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    blocks = re.split(r"\n\n+", "\n".join(lines).strip())
    return [_parse_one(block.splitlines()) for block in blocks]


def _parse_one(lines):
    head = _HEAD.fullmatch(lines[0])
    assert head is not None, f"{lines[0]!r} is no head; expected NAME VERDICT: SOURCE"
    assert head["verdict"] in VERDICTS, f"{lines[0]!r}: expected one of {VERDICTS}"
    rows = [line.split("|") for line in lines[1:] if not line.startswith("exists ")]
    columns = tuple(
        tuple(tuple(cell.split()) for cell in column if cell.split())
        for column in zip(*rows, strict=True)
    )
    exists = tuple(
        tuple((name, int(value)) for name, value in (word.split("=") for word in line.split()[1:]))
        for line in lines[1:]
        if line.startswith("exists ")
    )
    assert exists, f"{head['name']} asks for nothing"
    return Litmus(head["name"], head["verdict"], head["source"], columns, exists)
