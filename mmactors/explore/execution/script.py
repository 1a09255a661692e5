"""A schedule as a value: who did what, in order. It is printed, stored, pasted and played again.

An entry is (actor, label), never a position among candidates, so that a schedule can be read, and
so that one that no longer fits is noticed at its first entry that does not.

The text form is `mm1.<fingerprint>.<entries>`, the entries compressed. The fingerprint is of the
world's program: the source of the function that builds it and of its actors (comments and layout do
not count), the arguments, the names of actors and objects, and the version of this package. What
builds a world and is no function says with a method `program()` what it builds, such as a scenario
with all its rules. A schedule is never played against another program: see `fit`.
"""

import ast
import binascii
import inspect
import re
import textwrap
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import version
from typing import Any, Final

from mmactors.engine.schedule import SEPARATOR, ScheduleMismatch, fingerprint_of
from mmactors.errors import Place, Problem, UserError
from mmactors.explore.execution.choice import INDEX_MASK, entry_of
from mmactors.explore.execution.execution import Build, Execution
from mmactors.explore.execution.fair import finish_fairly
from mmactors.explore.execution.loud import BecameVisible
from mmactors.limits import SCRIPT_BYTES_MAX

Script = tuple[tuple[str, str], ...]

_MAGIC: Final = "mm1"
_NR_DIGITS: Final = 12
_ESCAPED: Final = re.compile(r"\\(.)")
"""An end of a line, or a backslash, inside a label."""


def encode(script: Script, fingerprint: str) -> str:
    """Return the text form."""
    lines = [f"{name}{SEPARATOR}{label}" for name, label in script]
    text = "\n".join(line.replace("\\", "\\\\").replace("\n", "\\n") for line in lines)
    raw = zlib.compress(text.encode("utf-8", "surrogatepass"), 9)
    packed = urlsafe_b64encode(raw).decode().rstrip("=")
    return f"{_MAGIC}.{fingerprint}.{packed}"


def decode(given: str) -> tuple[str, Script]:
    """Return the fingerprint and the schedule of a text form; raise UserError if it is none."""
    parts = given.strip().split(".")
    if len(parts) != 3 or parts[0] != _MAGIC:
        raise _unreadable(given, f"expected {_MAGIC}.FINGERPRINT.ENTRIES")
    packed = parts[2]
    try:
        raw = urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        text = _unpacked(raw).decode("utf-8", "surrogatepass")
    except (binascii.Error, zlib.error, UnicodeDecodeError, ValueError) as error:
        raise _unreadable(
            given, f"expected entries that were not cut or changed ({error})"
        ) from error
    lines = [_ESCAPED.sub(_plain, line) for line in text.split("\n")] if text else []
    return parts[1], script_of(lines)


def _unpacked(raw: bytes) -> bytes:
    stream = zlib.decompressobj()
    data = stream.decompress(raw, SCRIPT_BYTES_MAX)
    if stream.unconsumed_tail:
        raise ValueError(f"they have more than {SCRIPT_BYTES_MAX:,} bytes")
    if not stream.eof or stream.unused_data:
        raise ValueError("their end is missing, or more follows it")
    return data


def _plain(match: "re.Match[str]") -> str:
    return "\n" if match[1] == "n" else match[1]


def script_of(entries: Sequence[str] | Script) -> Script:
    """Return the schedule of entries such as `"cpu0: read pte"`."""
    return tuple(_entry(entry) if isinstance(entry, str) else entry for entry in entries)


def _entry(text: str) -> tuple[str, str]:
    name, separator, label = text.partition(SEPARATOR)
    if not separator:
        raise UserError(
            Problem(
                place=Place("schedule"),
                found=f"the entry {text!r} names no actor",
                legal='expected "ACTOR: LABEL"',
                advice="copy the entry from a report",
            )
        )
    return name, label


def _unreadable(text: str, legal: str) -> UserError:
    shown = text if len(text) <= 40 else f"{text[:37]}..."
    return UserError(
        Problem(
            place=Place("replay"),
            found=f"{shown!r} is no schedule",
            legal=legal,
            advice="copy the whole line that the failure printed",
        )
    )


# -- does it fit? ----------------------------------------------------------------------------------


def fingerprint(build: Build, execution: Execution) -> str:
    """Return the digest of the program that `build` makes; `execution` has begun."""
    cast = execution.engine.party[: execution.nr_cast]
    codes = dict.fromkeys(getattr(actor.coro, "cr_code", None) for actor in cast)
    texts = [_version(), _source(build), *(_source(code) for code in codes)]
    texts += [*arguments(build), repr(execution.scope.names)]
    texts += [actor.name for actor in cast]
    texts += execution.named
    return fingerprint_of(*texts)[:_NR_DIGITS]


class OtherProgram(ScheduleMismatch):
    """The schedule is of another test, or of this one as it was."""


def fit(given: str, fingerprint: str) -> None:
    """Raise OtherProgram unless a schedule with the fingerprint `given` is of this program."""
    if given != fingerprint:
        raise OtherProgram(
            f"the schedule is of program {given}, this is program {fingerprint}: the test, its "
            "arguments, its actors, the rules or the version of mmactors have changed since; "
            "search anew"
        )


@cache
def _version() -> str:
    return version("mmactors")


def _source(function: Any) -> str:
    if isinstance(function, partial):
        function = function.func
    program = getattr(function, "program", None)
    if program is not None:
        text: str = program()
        return text
    function = inspect.unwrap(function) if callable(function) else function
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        code = getattr(function, "__code__", function)
        kind = type(function)
        return repr(getattr(code, "co_code", f"{kind.__module__}.{kind.__qualname__}"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.decorator_list = []  # Options of the search are no part of what is searched.
    return ast.unparse(tree)


def arguments(build: Build) -> list[str]:
    """Return what `build` is called with besides the world, as far as it can be written down."""
    if not isinstance(build, partial):
        return []
    given = [repr(value) for value in build.args]
    given += [f"{name}={value!r}" for name, value in build.keywords.items()]
    return [text for text in given if " at 0x" not in text]


# -- playing it ------------------------------------------------------------------------------------


def entries(execution: Execution) -> Script:
    """Return the schedule that just ended, up to where everybody got turns."""
    actors = execution.engine.party
    steps = execution.steps[: execution.fair_from]
    choices = execution.choices[: execution.fair_from]
    return tuple(
        (actors[choice & INDEX_MASK].name, step.text)
        for choice, step in zip(choices, steps, strict=True)
    )


def play(
    execution: Execution,
    script: Script,
    *,
    max_steps: int,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Run exactly this schedule; raise ScheduleMismatch at the first entry that does not fit.

    Raise BecameVisible if it has to be run once more, with more steps.

    What the schedule leaves open is done in turns. `on_step` is called before each step.
    """
    execution.begin()
    for at, entry in enumerate(script):
        found = _find(execution, entry)
        if execution.is_over or execution.broken is not None or found is None:
            execution.loud.require(entry)
            raise _mismatch(execution, at, entry)
        if on_step is not None:
            on_step(found)
        execution.advance(found)
    if not execution.is_over and execution.broken is None:
        finish_fairly(execution, max_steps=max_steps)


def play_settled(execution: Execution, script: Script, *, max_steps: int) -> None:
    """Play a schedule, again and again while code on the way turns out to be a step of its own."""
    while True:
        try:
            play(execution, script, max_steps=max_steps)
        except BecameVisible:
            continue
        return


def guide(execution: Execution, script: Script, *, max_steps: int) -> int:
    """Run a schedule like this one; return its preemptions.

    Entries that cannot be taken are left out. Afterwards nobody is preempted.
    """
    execution.begin()
    at = 0
    nr_preemptions = 0
    while not execution.is_over and execution.broken is None:
        candidates = execution.candidates()
        if not candidates or len(execution.steps) >= max_steps:
            finish_fairly(execution, max_steps=max_steps)
            break
        choice = None
        while choice is None and at < len(script):
            choice = _find(execution, script[at])
            if choice is None and execution.engine.nr_choosing:
                break
            at += 1
        if choice is None:
            choice = candidates[0]
        nr_preemptions += is_preemption(execution, candidates, choice)
        if len(execution.steps) % execution.look_every == execution.look_every - 1:
            execution.look_up()
        execution.advance(choice)
    return nr_preemptions


def is_preemption(execution: Execution, candidates: list[int], choice: int) -> bool:
    """Return whether `choice` leaves an actor that could go on."""
    engine = execution.engine
    if engine.nr_choosing:
        return engine.is_preempting and choice != candidates[0]
    first = candidates[0] & INDEX_MASK
    return first == execution.current and choice & INDEX_MASK != first


def _find(execution: Execution, entry: tuple[str, str]) -> int | None:
    if execution.is_over or execution.broken is not None:
        return None
    for choice in execution.candidates():
        if entry_of(execution.engine, choice) == entry:
            return choice
    return None


def _mismatch(execution: Execution, at: int, entry: tuple[str, str]) -> ScheduleMismatch:
    where = f"entry {at + 1} is {SEPARATOR.join(entry)!r}"
    if execution.broken is not None:
        return ScheduleMismatch(f"{where}, but before: {execution.broken}")
    can = [SEPARATOR.join(entry_of(execution.engine, choice)) for choice in execution.candidates()]
    found = f"only these can be taken: {', '.join(can) or 'none'}"
    if execution.is_over:
        found = "all actors have ended"
    return ScheduleMismatch(
        f"{where}, but {found}; the steps have changed since: search anew, and delete this schedule"
    )
