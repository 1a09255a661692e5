"""Recorded address spaces: the cases of userland/vma on the machine that `run` runs.

Compared is what the recordings' README calls determined: results, faults and signals of each
operation, sizes, resident pages and page tables after it, maps texts, and Committed_AS and
CommitLimit of meminfo.
Everything else is listed: it depends on the machine's hidden state, or on the recorder itself.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import define, field

from mmactors.validate.result import CaseResult, NotModelled
from mmactors.validate.userland.case import UserlandCase, read_case
from mmactors.validate.userland.compare import (
    compare_end,
    compare_op,
    compare_sizes,
    compare_text,
)
from mmactors.validate.userland.machine import OpRecord, RecordedMachine, run_recorded
from mmactors.workload.names import FIRST_PROCESS
from mmactors.workload.program import Program


def validate_vma(path: Path) -> Iterator[CaseResult]:
    """Run one case; raise UserError for a file that is none."""
    case = read_case(path)
    result = CaseResult(topic=f"userland/{case.topic}", case=case.name, path=str(path))
    result.not_validated = why_not_known(case)
    if result.not_validated is None:
        comparison = Comparison(case, result)
        try:
            run_recorded(case, watch=comparison.look)
        except NotModelled as reason:
            result.not_validated = str(reason)
    yield result


def why_not_known(case: UserlandCase) -> str | None:
    """Return why a case's operations are no program of this project; None: they are one.

    The recordings' interpreter also has words that we lack, and goes on where a name is unknown.
    """
    problems = Program.parse(case.op_list).problems
    return f"op_list[{problems[0].index}] is not modelled: {problems[0]}" if problems else None


@define(eq=False)
class Comparison:
    """Compares what programs see after each operation."""

    case: UserlandCase
    result: CaseResult
    _recorded: dict[int, dict[str, Any]] = field(init=False)
    _texts: dict[int, list[dict[str, Any]]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._recorded = {of_op["i"]: of_op for of_op in self.case.ops}
        for text in self.case.texts:
            self._texts.setdefault(text["after_op"], []).append(text)

    def look(self, machine: RecordedMachine, nth: int, ours: OpRecord) -> None:
        """Compare what one operation gave, sizes, and texts."""
        recorded = self._recorded.get(nth)
        if recorded is not None:
            self.look_at(machine, recorded, ours)
        if nth + 1 == len(self.case.op_list):
            compare_end(self.result, machine)

    def look_at(self, machine: RecordedMachine, recorded: dict[str, Any], ours: OpRecord) -> None:
        """Compare an operation of which there is a record."""
        place = f"ops[{recorded['i']}]"
        compare_op(self.result, place, recorded, ours)
        worker = machine.worker(recorded.get("by", FIRST_PROCESS))
        if worker is None:
            return
        compare_sizes(self.result, place, recorded, worker.process)
        for text in self._texts.get(recorded["i"], []):
            compare_text(self.result, place, text, machine, worker.process)
