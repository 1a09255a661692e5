"""What is wrong with a recorded case although each of its fields by itself is legal.

The parts of a case belong together: operations and their results, texts and the operation they were
read after, the guest and what boots, and the address space in which the recordings' interpreter
begins. Works on a case whose form (userland/case_form.py) has no problem.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from mmactors.errors import Place
from mmactors.mm.boot.boot import MemoryConfig
from mmactors.mm.boot.problems import problems_of as memory_problems
from mmactors.units import MIB
from mmactors.validate.document import cut
from mmactors.validate.form import Problems
from mmactors.validate.limits import WORKERS_MAX
from mmactors.validate.userland.begin_maps import maps_problems
from mmactors.validate.userland.case_form import MAPS, PROC_ROWS
from mmactors.workload.operation import all as op
from mmactors.workload.operation.all import OperationError, parse_operation

Found = tuple[str, str, str | None]
"""What was found, what is legal, what to try (None: nothing better is known)."""

_RECORD_AGAIN: Final = "record it again"
_VERBS: Final = (
    *("mmap", "munmap", "mprotect", "mremap", "msync", "mlock", "mlock2", "munlock", "mlockall"),
    *("munlockall", "madvise", "brk", "heap", "alias", "mincore", "touch", "churn", "faultloop"),
    *("fragment", "open", "close", "unlink", "fsync", "sync", "ftruncate", "fadvise", "readahead"),
    *("read", "write", "fork", "thread", "spin", "stop", "wait", "exit", "reap", "kill", "cpu"),
    *("sleep", "nop", "oomadj", "rlimit", "cgcreate", "cgset", "cgjoin", "cgget", "put", "get"),
    "snap",
)
"""What the recordings' interpreter does; other operations of this project are not recorded."""
_WORDS_OF_RECORDER: Final = re.compile(r"(?:^|[ =,])(?:cgrm|idle|rw|nonblock|old=[0-9])")
"""Its words that the operations of this project lack: it is not the recording that is wrong."""
_OF_INTERRUPTS: Final = ("tlb", "mmap_lock")
"""Topics that compare interrupts by CPU."""


def check_case(content: dict[str, Any], problems: Problems) -> None:
    """Add what does not fit together."""
    for found, legal, advice in (
        *_guest_problems(content),
        *_operation_problems(content),
        *_list_problems(content),
        *_reference_problems(content),
        *maps_problems(content["begin"]["maps"], content["guest"]["memory_mib"] * MIB),
    ):
        problems.add(found, legal, advice)
    for nth, text in enumerate(content.get("texts", ())):
        form = {"/proc/self/maps": MAPS, "/proc/meminfo": PROC_ROWS}.get(text["file"])
        if form is not None and "text" in text:
            form.check(text["text"], f"texts[{nth}].text", problems)


def _guest_problems(content: dict[str, Any]) -> Iterator[Found]:
    """Yield why no machine can be like the guest."""
    guest = content["guest"]
    memory_mib, total_kb = guest["memory_mib"], guest["mem_total_kb"]
    config = MemoryConfig(size=memory_mib * MIB, machine="q35")
    for problem in memory_problems(config, guest["vcpus"], Place("guest")):
        found = f"guest.memory_mib is {memory_mib}: {problem.found}"
        yield found, problem.legal.removeprefix("expected "), _RECORD_AGAIN
    if total_kb > memory_mib << 10:
        yield (
            f"guest.mem_total_kb is {total_kb}",
            f"at most guest.memory_mib, which is {memory_mib << 10} kB",
            _RECORD_AGAIN,
        )


def _operation_problems(content: dict[str, Any]) -> Iterator[Found]:
    """Yield where the operations and their results do not belong together."""
    texts, ops = content["op_list"], content["ops"]
    may_miss = content.get("complete_in_all_runs") is False
    if len(ops) > len(texts) or (len(ops) < len(texts) and not may_miss):
        yield (
            f"ops has {len(ops)} results, but op_list {len(texts)} operations",
            "one result for each operation",
            "one of the lists has lost entries: fetch the file again",
        )
        return
    before = -1
    for nth, of_op in enumerate(ops):
        index = of_op["i"]
        if not before < index < len(texts) or (not may_miss and index != nth):
            yield (
                f"ops[{nth}].i is {index}",
                f"the place of the operation in op_list, from {before + 1} to {len(texts) - 1}",
                "results stand in the order of op_list",
            )
            return
        before = index
        if of_op["op"] != texts[index]:
            yield (
                f"ops[{nth}].op is {cut(of_op['op'])!r}",
                f"op_list[{index}], which is {cut(texts[index])!r}",
                "one of the lists has lost entries: fetch the file again",
            )
        missing = [name for name in ("sig", "sicode", "siaddr") if name not in of_op]
        if 0 < len(missing) < 3:
            yield f"ops[{nth}] has a signal without {missing[0]}", "sig, sicode and siaddr", None
        if content["topic"] in _OF_INTERRUPTS and "TLB" not in of_op.get("irq", {}):
            yield f"ops[{nth}].irq has no TLB", "the interrupts received by each CPU", None


def _list_problems(content: dict[str, Any]) -> Iterator[Found]:
    """Yield what the recordings' interpreter would not have done."""
    nr_cpus = content["guest"]["vcpus"]
    nr_workers = 1
    for nth, text in enumerate(content["op_list"]):
        try:
            operation = parse_operation(text)
        except OperationError as error:
            if not _WORDS_OF_RECORDER.search(text):
                yield f"op_list[{nth}] is {cut(text)!r}: {error.found}", *_of_error(error)
            continue
        plain = operation.operation if isinstance(operation, op.By) else operation
        if plain.verb not in _VERBS:
            yield (
                f"op_list[{nth}] is {cut(text)!r}, which no recorded program does",
                f"one of {', '.join(_VERBS)}",
                "give it to `mmactors run` as a scenario",
            )
        nr_workers += isinstance(plain, op.Fork | op.Thread)
        if nr_workers == WORKERS_MAX + 1 and isinstance(plain, op.Fork | op.Thread):
            yield (
                f"op_list[{nth}] is {cut(text)!r}, the start of one too many",
                f"at most {WORKERS_MAX} processes and threads, the first among them",
                _RECORD_AGAIN,
            )
        if isinstance(plain, op.Thread | op.Cpu) and plain.cpu >= nr_cpus:
            yield (
                f"op_list[{nth}] is {cut(str(operation))!r}, but there is no CPU {plain.cpu}",
                f"a CPU from 0 to {nr_cpus - 1}, since guest.vcpus is {nr_cpus}",
                _RECORD_AGAIN,
            )


def _of_error(error: OperationError) -> tuple[str, str]:
    """Return what is legal, and the advice."""
    return error.legal.removeprefix("expected "), error.advice


def _reference_problems(content: dict[str, Any]) -> Iterator[Found]:
    """Yield what names an operation that there is not."""
    nr_operations = len(content["op_list"])
    legal = f"the place of an operation in op_list, from 0 to {nr_operations - 1}"
    for nth, text in enumerate(content.get("texts", ())):
        if text["after_op"] >= nr_operations:
            yield f"texts[{nth}].after_op is {text['after_op']}", legal, None
    seen: set[int] = set()
    for nth, of_op in enumerate(content.get("event_sequence", {}).get("ops", ())):
        index = traced_operation(of_op["op"])
        if index is None:
            continue
        if index >= nr_operations:
            yield f"event_sequence.ops[{nth}].op is {cut(of_op['op'])!r}", legal, None
        elif index in seen:
            yield f"event_sequence.ops[{nth}] is the second of op {index}", "each op once", None
        seen.add(index)


def traced_operation(text: str) -> int | None:
    """Return which operation `op N` is; None for what the recorder did besides."""
    word, _, number = text.partition(" ")
    return int(number) if word == "op" and number.isdecimal() and len(number) < 10 else None
