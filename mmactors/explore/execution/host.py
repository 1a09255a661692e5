"""What the host decides and no schedule does: its clocks, its random numbers, addresses, names.

A world that asks for one of these does not do the same twice. Running schedules twice finds that
only if the two answers differ, so the code of actors and laws is read as well: whoever names
`random.random`, `time.time` or `id` there is told before anything is explored.

What is read is the code of the functions that a test hands to its world, and of those of the same
module that they name. A generator of its own with a seed, such as `random.Random(7)` made inside
the test, does the same each time, and is not meant.
"""

import builtins
import datetime as dt
import dis
import gc
import os
import random
import secrets
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

from mmactors.explore.conduct.program import closure_of
from mmactors.explore.execution.execution import Build, Execution

_CLOCKS: Final = tuple(
    getattr(time, name)
    for name in (
        "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns",
        "process_time", "process_time_ns", "thread_time", "thread_time_ns", "localtime", "gmtime",
    )
)  # fmt: skip
_CHANCE: Final = (
    os.urandom, uuid.uuid1, uuid.uuid4, random.SystemRandom, secrets.choice, secrets.randbelow,
    secrets.randbits, secrets.token_bytes, secrets.token_hex, secrets.token_urlsafe,
)  # fmt: skip
_NAMES: Final = (
    builtins.id, os.getpid, os.getppid, os.getenv, os.environ, os.times, gc.get_count,
    threading.get_ident,
)  # fmt: skip
_LOADS: Final = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF")
_ATTRIBUTES: Final = ("LOAD_ATTR", "LOAD_METHOD")


class Asked(NamedTuple):
    """A place where code asks the host."""

    what: str
    place: str
    is_chance: bool


def asks_host(build: Build, execution: Execution) -> str | None:
    """Return who asks the host for what, of a world that has begun; None: nobody as far as seen."""
    engine = execution.engine
    for actor in engine.party[: execution.nr_cast]:
        frame = getattr(actor.coro, "cr_frame", None)
        if frame is None:
            continue
        names = {**frame.f_globals, **frame.f_locals}
        found = next(_asked(frame.f_code, names, frame.f_globals, set()), None)
        if found is not None:
            return f"{actor} asks for {found.what} ({found.place})"
    world = execution.world
    for law in (*world.always_laws, *world.end_laws):
        found = next(_asked_by(law), None)
        if found is not None:
            name = getattr(law, "__name__", repr(law))
            return f"the law {name} asks for {found.what} ({found.place})"
    chance = [asked for asked in _asked_by(build) if asked.is_chance]
    if any(asked.what == "random.seed" for asked in chance):
        chance = [asked for asked in chance if not asked.what.startswith("random.")]
    found = next(iter(chance), None)
    return None if found is None else f"the test asks for {found.what} ({found.place})"


def _asked_by(function: Any) -> Iterator[Asked]:
    while isinstance(function, partial | MethodType):
        function = function.func if isinstance(function, partial) else function.__func__
    function = getattr(function, "__wrapped__", function)
    if isinstance(function, FunctionType):
        yield from _asked_in(function, set())


def _asked_in(function: FunctionType, seen: set[CodeType]) -> Iterator[Asked]:
    names = {**function.__globals__, **closure_of(function)}
    yield from _asked(function.__code__, names, function.__globals__, seen)


def _asked(
    code: CodeType, names: dict[str, Any], module: dict[str, Any], seen: set[CodeType]
) -> Iterator[Asked]:
    """Return where `code`, in which names mean this, and what it calls in its module, asks."""
    if code in seen or str(module.get("__name__", "")).startswith("mmactors."):
        return
    seen.add(code)
    inner = [part for part in code.co_consts if isinstance(part, CodeType)]
    local = {part.co_name for part in inner} | set(code.co_cellvars)
    for value, line in _named(code, {k: v for k, v in names.items() if k not in local}):
        what = _host_name(value)
        if what is not None:
            place = f"{code.co_filename}:{line}"
            yield Asked(what, place, is_chance=not _is_among(value, (*_CLOCKS, *_NAMES)))
        elif isinstance(value, FunctionType) and value.__globals__ is module:
            yield from _asked_in(value, seen)
    for part in inner:
        yield from _asked(part, names, module, seen)


def _named(code: CodeType, names: dict[str, Any]) -> Iterable[tuple[Any, int]]:
    """Return the values of the names and dotted names that code loads, and the lines."""
    value: Any = None
    line = code.co_firstlineno
    for instruction in dis.get_instructions(code):
        if instruction.starts_line is not None:
            line = instruction.positions.lineno or line if instruction.positions else line
        if instruction.opname in _LOADS:
            name = instruction.argval
            value = names.get(name, getattr(builtins, name, None))
        elif instruction.opname in _ATTRIBUTES and isinstance(value, ModuleType | type):
            value = getattr(value, instruction.argval, None)
        else:
            value = None
            continue
        if value is not None:
            yield value, line


def _host_name(value: Any) -> str | None:
    """Return how what the host decides is called; None: it is something else."""
    owner = getattr(value, "__self__", None)
    if value is os.environ:
        return "os.environ"
    if _is_among(value, (*_CLOCKS, *_CHANCE, *_NAMES)):
        module: str = value.__module__
        return f"{module}.{value.__qualname__}".removeprefix("builtins.")
    if owner is random._inst:  # noqa: SLF001 - whose functions these are
        return f"random.{value.__name__}"
    if isinstance(owner, type) and issubclass(owner, dt.date):
        is_now = value.__name__ in ("now", "utcnow", "today")
        return f"{owner.__name__}.{value.__name__}" if is_now else None
    is_of_numpy = type(owner).__module__ == "numpy.random.mtrand"
    return f"numpy.random.{value.__name__}" if is_of_numpy else None


def _is_among(value: Any, known: tuple[Any, ...]) -> bool:
    return any(value is each for each in known)  # Who knows what `==` would do.
