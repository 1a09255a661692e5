"""One recorded case of what programs see of memory management: reading it, and its values.

The format is that of tests/reference/linux-6.1/userland: a JSON object, plain or gzip, with the
operations, what each gave, texts, and the state at begin and end.
"""

from pathlib import Path
from typing import Any

from attrs import define

from mmactors.validate.document import read_object
from mmactors.validate.form import Problems
from mmactors.validate.limits import CPUS_MAX
from mmactors.validate.userland.budget import Budget
from mmactors.validate.userland.case_check import check_case, traced_operation
from mmactors.validate.userland.case_form import ADVICE, case_form


@define(kw_only=True)
class UserlandCase:
    """The parts of a case that a model is run with and compared to."""

    name: str
    topic: str
    op_list: list[str]
    ops: list[dict[str, Any]]
    texts: list[dict[str, Any]]
    begin: dict[str, Any]
    end: dict[str, Any]
    memory_mib: int
    mem_total_kb: int
    vcpus: int
    is_refreshed: bool
    """Whether the recorder brought all CPUs' counters together before each reading."""
    settings: list[str]
    """`path value`: what was written before the case."""
    totals: dict[str, Any]
    """Changes of /proc/vmstat and hits of tracepoints over the whole case, by name."""
    events: dict[int, list[str]]
    """By operation: `task cpu event: arguments` of one more run, which was traced."""
    budget: Budget
    """What its runs may take, all together."""


def read_case(path: Path) -> UserlandCase:
    """Read a case; raise UserError with all that is wrong with it."""
    content = read_object(path)
    problems = Problems(path=path, advice=ADVICE)
    guest = content.get("guest")
    nr_cpus = guest.get("vcpus") if isinstance(guest, dict) else None
    is_known = type(nr_cpus) is int and 1 <= nr_cpus <= CPUS_MAX
    case_form(nr_cpus if is_known else None).check(content, "", problems)
    if not problems:
        check_case(content, problems)
    problems.raise_any()
    return _case_of(path, content)


def _case_of(path: Path, content: dict[str, Any]) -> UserlandCase:
    guest = content["guest"]
    return UserlandCase(
        name=content["case"],
        topic=content["topic"],
        op_list=content["op_list"],
        ops=content["ops"],
        texts=content.get("texts", []),
        begin=content["begin"],
        end=content.get("end", {}),
        memory_mib=guest["memory_mib"],
        mem_total_kb=guest["mem_total_kb"],
        vcpus=guest["vcpus"],
        is_refreshed="refresh" in content.get("recording_flags", ()),
        settings=guest.get("settings", []),
        totals=content.get("delta_vmstat", {}) | content.get("delta_tracepoints", {}),
        events={
            index: of_op.get("events", [])
            for of_op in content.get("event_sequence", {}).get("ops", [])
            if (index := traced_operation(of_op["op"])) is not None
        },
        budget=Budget(path),
    )


def exact(value: object) -> int | None:
    """Return the number that all runs gave, or None for one that varied."""
    if isinstance(value, str) and value.startswith("0x"):
        return int(value, 16)
    return value if isinstance(value, int) else None


def kb_of_text(text: str) -> dict[str, int]:
    """Return the rows `Name: N kB` of a /proc text."""
    found = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        words = value.split()
        if colon and len(words) == 2 and words[1] == "kB":
            found[name] = int(words[0])
    return found
