"""What may stand in a recorded case of what programs see of memory management, field by field.

The fields are those of the cases in tests/reference/linux-6.1/userland.
What only people read (`description`, `kernel`, `runs`) may be anything.
"""

import re
from typing import Final

from attrs import frozen

from mmactors.validate.form import (
    Either,
    Form,
    Lines,
    ListOf,
    Problems,
    Record,
    TableOf,
    Text,
    Truth,
    Whole,
)
from mmactors.validate.limits import (
    CPUS_MAX,
    MEMORY_MIB_MAX,
    OPERATIONS_MAX,
    TEXT_CHARS_MAX,
)

ADVICE: Final = "tests/reference/linux-6.1/userland has cases that are right, with READMEs"
TOPICS: Final = ("vma", "faults", "tlb", "mmap_lock")

MAPS_LINE: Final = re.compile(
    r"(?P<start>[0-9a-f]{8,16})-(?P<end>[0-9a-f]{8,16}) (?P<permissions>[r-][w-][x-][ps])"
    r" (?P<offset>[0-9a-f]{8,16}) (?P<major>[0-9a-f]{2,3}):(?P<minor>[0-9a-f]{2,5})"
    r" (?P<inode>[0-9]{1,19}) *(?P<name>[ -~]*)"
)
"""Of /proc/PID/maps (show_vma_header_prefix and show_map_vma of fs/proc/task_mmu.c, Linux 6.1)."""
_FLUSH: Final = (
    r"\S+ cpu([0-9]{1,4}) tlb_flush: pages:(-?[0-9]{1,10}) reason:[ -~]*\(([0-9]{1,2})\)"
)
FLUSH_EVENT: Final = re.compile(_FLUSH)
"""CPU, pages, reason."""
_EVENT: Final = re.compile(rf"(?!\S+ \S+ tlb_flush:)[ -~]+|{_FLUSH}")
"""Others are only counted."""
_ROW: Final = re.compile(r"[^:]*|[^:]+:(?:\s*[0-9]{1,15} kB\s*|(?!\s*\S+\s+kB\s*$).*)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
_CASE: Final = re.compile(r"[\w.+-]{1,100}", re.ASCII)
_LINE: Final = re.compile(r"[ -~]+")


@frozen
class Spread:
    """What a number that varied was in all runs: `[minimum, median, maximum]`."""

    legal: str = "[minimum, median, maximum]"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        ListOf(Whole(), 3, 3).check(value, path, problems)
        match value:
            case [int(low), int(middle), int(high)] if not low <= middle <= high:
                problems.add(f"{path} is {value}", self.legal)


_COUNT: Final = Either(number=Whole(), list_of=Spread())
_COUNTERS: Final = TableOf(_COUNT)
_POINTER: Final = Text("an address such as 0x7f00", re.compile(r"0x[0-9a-f]{1,16}"))
_VALUE: Final = Either(number=Whole(), text=_POINTER)
_RESULT: Final = Either(
    number=Whole(),
    text=_POINTER,
    list_of=ListOf(_VALUE, 3, 3),
    record=Record({"per_run": ListOf(_VALUE)}),
)
_PROC_TEXT: Final = Text("the text of a file", chars_max=TEXT_CHARS_MAX)
PROC_ROWS: Final = Lines("such as `VmSize:  1234 kB`", _ROW)
MAPS: Final = Lines("a line of /proc/PID/maps", MAPS_LINE)

_SNAPSHOT: Final[dict[str, Form]] = {
    "vmstat": _COUNTERS,
    "meminfo": _COUNTERS,
    "buddyinfo": TableOf(ListOf(_COUNT)),
    "maps": MAPS,
    "maps_same_in_all_runs": Truth(),
    "smaps_rollup": PROC_ROWS,
    "status": PROC_ROWS,
}


def case_form(nr_cpus: int | None) -> Record:
    """Return the form of a case of a guest with so many CPUs; None: nobody knows."""
    by_cpu = ListOf(_COUNT, nr_cpus or 0, nr_cpus or CPUS_MAX)
    operation = Record(
        {"i": Whole(0, OPERATIONS_MAX), "op": Text("an operation", _LINE)},
        {
            "by": Text("the name of a process or thread", _NAME),
            "ret": _RESULT,
            "minflt": _COUNT,
            "majflt": _COUNT,
            "sig": Whole(1, 64),
            "sicode": Whole(-128, 255),
            "siaddr": _VALUE,
            "dead": Truth(),
            "vmstat": _COUNTERS,
            "tp": _COUNTERS,
            "irq": TableOf(by_cpu),
            "status_kb": _COUNTERS,
            "rollup_kb": _COUNTERS,
            "child_settle_minflt": _COUNT,
        },
    )
    text = Record(
        {"after_op": Whole(0, OPERATIONS_MAX), "file": Text("a path", _LINE)},
        {"text": _PROC_TEXT, "same_in_all_runs": Truth()},
    )
    traced = Record(
        {"op": Text("`op N`, or what it is besides", _LINE)},
        {"events": ListOf(Text("`task cpuN event: arguments`", _EVENT))},
    )
    return Record(
        {
            "case": Text("a name of letters, digits and . + - _", _CASE),
            "topic": Text(" or ".join(TOPICS), re.compile("|".join(TOPICS))),
            "guest": Record(
                {
                    "memory_mib": Whole(1, MEMORY_MIB_MAX),
                    "mem_total_kb": Whole(1, MEMORY_MIB_MAX << 10),
                    "vcpus": Whole(1, CPUS_MAX),
                },
                {
                    "swap_mib": Whole(0, MEMORY_MIB_MAX),
                    "kernel_args": Text(),
                    "settings": ListOf(Text("`path value`", _LINE)),
                },
            ),
            "op_list": ListOf(Text("an operation, in one line", _LINE), 1, OPERATIONS_MAX),
            "ops": ListOf(operation, 0, OPERATIONS_MAX),
            "begin": Record({"maps": MAPS}, _SNAPSHOT),
        },
        {
            "end": Record({}, _SNAPSHOT),
            "texts": ListOf(text, 0, OPERATIONS_MAX),
            "recording_flags": ListOf(Text()),
            "delta_vmstat": _COUNTERS,
            "delta_tracepoints": _COUNTERS,
            "rusage_whole_process": _COUNTERS,
            "event_sequence": Record({"ops": ListOf(traced)}),
            "fresh_boot_per_run": Truth(),
            "complete_in_all_runs": Truth(),
        },
    )
