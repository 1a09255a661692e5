"""The address space in which the recordings' interpreter begins, as its maps text says.

The interpreter touches all of its own pages before the first operation: what the model is given
must have them, and fit into the guest.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from mmactors.actors.program.loader import HEAP, STACK, VDSO, VVAR, Segment
from mmactors.units import PAGE_SIZE, format_bytes
from mmactors.validate.userland.case_form import MAPS_LINE

STACK_PAGES: Final = 3
"""How much of its stack the interpreter touches."""
_SPECIAL: Final = (HEAP, STACK, VVAR, VDSO)
_USER_END: Final = (1 << 47) - PAGE_SIZE
_SHARE: Final = 4
"""The interpreter may take this part of the guest's memory: 2.4 MiB of 256 MiB are usual."""
_RECORD_AGAIN: Final = "record it again with the interpreter of the recordings"


def segments_of(maps: str) -> tuple[Segment, ...]:
    """Return what a maps text says, whose lines are well-formed."""
    return tuple(map(_segment, maps.splitlines()))


def maps_problems(maps: str, memory_bytes: int) -> Iterator[tuple[str, str, str]]:
    """Yield why the interpreter cannot have begun like this: found, legal, advice."""
    problem = _first_problem(segments_of(maps), memory_bytes)
    if problem is not None:
        found, legal = problem
        yield f"begin.maps {found}", legal, _RECORD_AGAIN


def _first_problem(segments: Sequence[Segment], memory_bytes: int) -> tuple[str, str] | None:
    if not segments:
        return "is empty", "the lines of the interpreter's /proc/PID/maps"
    end = 0
    for nth, each in enumerate(segments):
        if each.start < end or each.end <= each.start or each.end > _USER_END:
            return (
                f"line {nth} is of {each.start:#x}-{each.end:#x}",
                f"ascending ranges of user addresses, up to {_USER_END:#x}",
            )
        if (each.start | each.end | each.offset) % PAGE_SIZE:
            return f"line {nth} is not of whole pages", f"multiples of {PAGE_SIZE}"
        if each.name not in _SPECIAL and not each.name.startswith("/"):
            return f"line {nth} has the name {each.name!r}", f"a path or {', '.join(_SPECIAL)}"
        end = each.end
    nr_bytes = sum(each.end - each.start for each in segments)
    nr_bytes += sum(each.offset for each in segments)
    if nr_bytes > memory_bytes // _SHARE:
        return (
            f"is of {format_bytes(nr_bytes)} of memory and files",
            f"at most a quarter of the guest's memory, {format_bytes(memory_bytes // _SHARE)}",
        )
    names = Counter(each.name for each in segments)
    for name in _SPECIAL:
        if names[name] != 1:
            return f"has {names[name]} lines of {name}", "one"
    return _program_problem(segments)


def _program_problem(segments: Sequence[Segment]) -> tuple[str, str] | None:
    """Return what the interpreter would miss as it begins."""
    program = [each for each in segments if each.name == segments[0].name]
    heap = next(each for each in segments if each.name == HEAP)
    stack = next(each for each in segments if each.name == STACK)
    own = [*program, heap]
    if (
        len(program) < 2
        or segments[0].name in _SPECIAL
        or any(after.start != before.end for before, after in pairwise(own))
        or not all(each.is_readable and not each.is_shared for each in own)
        or not (program[-1].is_writable and heap.is_writable)
    ):
        return (
            f"begins with {len(program)} lines of {segments[0].name!r}",
            "the program's file, read-only and then writable, and [heap], without gaps",
        )
    if stack.end - stack.start < STACK_PAGES * PAGE_SIZE or not stack.is_writable:
        return "has a smaller stack", f"a writable [stack] of {STACK_PAGES} pages or more"
    shared = [each for each in segments if each.is_shared]
    if len(shared) != 1 or not (shared[0].is_writable and shared[0].is_readable):
        return (
            f"has {len(shared)} shared lines",
            "one, writable: the control memory of the recorder",
        )
    if stack is not segments[-1]:
        return f"ends with {segments[-1].name}", "[stack] last"
    return None


def _segment(line: str) -> Segment:
    match = MAPS_LINE.fullmatch(line)
    assert match is not None, f"{line!r} was checked"
    permissions = match["permissions"]
    return Segment(
        start=int(match["start"], 16),
        end=int(match["end"], 16),
        is_readable="r" in permissions,
        is_writable="w" in permissions,
        is_executable="x" in permissions,
        is_shared=permissions.endswith("s"),
        offset=int(match["offset"], 16),
        dev=(int(match["major"], 16), int(match["minor"], 16)),
        inode=int(match["inode"]),
        name=match["name"].strip(),
    )
