"""Recorded address spaces: the cases of userland/vma on the mechanisms that `run` uses.

Compared is what the recordings' README calls determined: results, faults and signals of each
operation, sizes, resident pages and page tables after it, maps texts, and Committed_AS and
CommitLimit of meminfo.
Everything else is listed: it depends on the machine's hidden state, or on the recorder itself.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from attrs import define

from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.overcommit import Overcommit, OvercommitPolicy
from mmactors.units import KIB, PAGE_SIZE
from mmactors.validate.result import CaseResult, NotModelled
from mmactors.validate.userland.case import UserlandCase, exact, read_case
from mmactors.validate.userland.compare import (
    compare_maps,
    compare_meminfo,
    compare_op,
    compare_sizes,
    compare_status,
)
from mmactors.validate.userland.layout import begin_interpreter
from mmactors.validate.userland.userland_interpreter import Interpreter
from mmactors.validate.userland.userland_machine import UserlandMachine
from mmactors.validate.userland.userland_task import Task
from mmactors.workload.program import FIRST_PROCESS, Program

_PAGE_KIB: Final = PAGE_SIZE // KIB
_USER_RESERVE_KBYTES: Final = {
    (128, 1): 2087,
    (128, 2): 2062,
    (144, 1): 2529,
    (160, 1): 3041,
    (176, 1): 3552,
    (192, 1): 4064,
    (224, 1): 5088,
    (256, 1): 6109,
    (256, 2): 6074,
    (256, 4): 6033,
    (256, 8): 5976,
    (512, 1): 14157,
    (512, 4): 14065,
}
"""vm.user_reserve_kbytes of the guests by MiB and CPUs: free memory at boot / 32."""


def validate_vma(path: Path) -> Iterator[CaseResult]:
    """Run one case; raise UserError for a file that is none."""
    case = read_case(path)
    result = CaseResult(topic=f"userland/{case.topic}", case=case.name, path=str(path))
    program = Program.parse(case.op_list)
    if program.problems:
        result.not_validated = f"an operation is not known: {program.problems[0]}"
    else:
        try:
            _run(case, program, result)
        except NotModelled as reason:
            result.not_validated = str(reason)
    yield result


@define(eq=False, kw_only=True)
class CaseRun:
    """A case that is being run on the mechanisms, operation by operation."""

    case: UserlandCase
    program: Program
    machine: UserlandMachine
    interpreter: Interpreter
    first: Task
    """The process that runs the list."""
    texts: dict[int, list[dict[str, Any]]]
    """By operation: what it read."""

    @classmethod
    def begin(cls, case: UserlandCase, program: Program) -> "CaseRun":
        """Make the machine and the address space with which the case begins."""
        machine = UserlandMachine(
            nr_frames=case.memory_mib * KIB * KIB // PAGE_SIZE, overcommit=_overcommit(case)
        )
        task, layout = begin_interpreter(machine, case.begin["maps"])
        interpreter = Interpreter(machine=machine, layout=layout)
        interpreter.begin(FIRST_PROCESS, task)
        texts: dict[int, list[dict[str, Any]]] = {}
        for text in case.texts:
            texts.setdefault(text["after_op"], []).append(text)
        return cls(
            case=case,
            program=program,
            machine=machine,
            interpreter=interpreter,
            first=task,
            texts=texts,
        )

    def step(self, result: CaseResult, recorded: dict[str, Any]) -> None:
        """Do one operation and compare what it gave, sizes, and texts."""
        place = f"ops[{recorded['i']}]"
        operation = self.program.operations[recorded["i"]]
        ours = self.interpreter.run(operation, by=FIRST_PROCESS)
        compare_op(result, place, recorded, ours)
        worker = self.interpreter.workers.get(recorded.get("by", FIRST_PROCESS))
        if worker is None or not worker.is_alive:
            return
        mm = worker.task.mm
        compare_sizes(result, place, recorded, mm, self.machine.pages)
        for text in self.texts.get(recorded["i"], []):
            _compare_text(result, place, text, self.machine, mm)

    def finish(self, result: CaseResult) -> None:
        """Compare the state at the end."""
        _compare_end(result, self.case, self.first.mm)


def _run(case: UserlandCase, program: Program, result: CaseResult) -> None:
    run = CaseRun.begin(case, program)
    for recorded in case.ops:
        run.step(result, recorded)
    run.finish(result)


def _overcommit(case: UserlandCase) -> Overcommit:
    """Return the machine's promises when the case begins."""
    meminfo = case.begin["meminfo"]
    reserve = _USER_RESERVE_KBYTES.get((case.memory_mib, case.vcpus), case.mem_total_kb // 32)
    overcommit = Overcommit(
        totalram_pages=case.mem_total_kb // _PAGE_KIB,
        total_swap_pages=(exact(meminfo.get("SwapTotal", 0)) or 0) // _PAGE_KIB,
        nr_cpus=case.vcpus,
        policy=OvercommitPolicy(user_reserve_kbytes=reserve),
    )
    committed = exact(meminfo["Committed_AS"])
    if committed is not None:
        overcommit.set_committed(committed // _PAGE_KIB)
    return overcommit


def _compare_text(
    result: CaseResult, place: str, text: dict[str, Any], machine: UserlandMachine, mm: MmStruct
) -> None:
    content = text.get("text")
    place = f"{place} {text['file']}"
    if text["file"] == "/proc/self/maps" and text.get("same_in_all_runs") and content:
        compare_maps(result, place, content, mm)
    elif text["file"] == "/proc/meminfo" and content:
        compare_meminfo(result, place, content, machine.overcommit)
    else:
        result.listed += 1


def _compare_end(result: CaseResult, case: UserlandCase, mm: MmStruct) -> None:
    maps = case.end.get("maps")
    if isinstance(maps, str) and case.end.get("maps_same_in_all_runs", True):
        compare_maps(result, "end.maps", maps, mm)
    status = case.end.get("status")
    if isinstance(status, str):
        compare_status(result, "end.status", status, mm)
    result.listed += len(case.end.keys() - {"maps", "maps_same_in_all_runs", "status"})
