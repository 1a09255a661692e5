"""One recorded case of what programs see of memory management: reading it, and its values.

The format is that of tests/reference/linux-6.1/userland: a JSON object, plain or gzip, with the
operations, what each gave, texts, and the state at begin and end.
"""

import gzip
import json
from pathlib import Path
from typing import Any, Final

from attrs import define

from mmactors.errors import Place, Problem, UserError

_REQUIRED: Final = ("case", "guest", "op_list", "ops", "begin")


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


def read_case(path: Path) -> UserlandCase:
    """Read a case; raise UserError for a file that is none."""
    try:
        raw = path.read_bytes()
        content = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except (OSError, ValueError, EOFError) as error:
        raise _no_case(path, f"it cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise _no_case(path, "it is no JSON object")
    missing = [key for key in _REQUIRED if key not in content]
    if missing:
        raise _no_case(path, f"it has no {missing[0]!r}")
    guest = content["guest"]
    return UserlandCase(
        name=content["case"],
        topic=content.get("topic", "userland"),
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
            int(of_op["op"].split()[1]): of_op["events"]
            for of_op in content.get("event_sequence", {}).get("ops", [])
            if of_op["op"].startswith("op ")
        },
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


def _no_case(path: Path, found: str) -> UserError:
    return UserError(
        [
            Problem(
                place=Place(str(path)),
                found=found,
                legal=f"expected a recorded case with {', '.join(_REQUIRED)}",
                advice="tests/reference/linux-6.1/userland has some, with a README of the format",
            )
        ]
    )
