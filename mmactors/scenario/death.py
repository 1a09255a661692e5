"""Deaths as a run tells of them, and what a scenario expects of them.

A process that a signal ends fails the run unless `expect` names it, or another process sent the
signal on purpose (the operation `kill`).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import ClassVar, Final, Self

from attrs import evolve, frozen

from mmactors.actors.state.fatal_signal import FatalSignal
from mmactors.engine.report import LawBroken
from mmactors.errors import Place
from mmactors.mm.fault.siginfo import CODE_NAMES, SI_KERNEL, SI_TKILL, SIGKILL, SIGNAL_NAMES
from mmactors.scenario.structure import TextError, did_you_mean
from mmactors.units import format_ns
from mmactors.workload.names import name_of
from mmactors.workload.operation.all import By, Fork, Operation, Thread

DIED: Final = "died"
"""The verdict on a run in which somebody died who was not expected to."""
CAUSES: Final = (*SIGNAL_NAMES.values(), *CODE_NAMES.values())
_DEATH = re.compile(r"\s*(\S+)\s+(dies|may\s+die)(?:\s+of\s+(\S+))?\s*")
_IS_OF_DEATH = re.compile(r"\b(?:die|dies|died)\b")
_LEGAL: Final = (
    "expected `PROCESS dies` or `PROCESS may die`, and perhaps `of` a signal or its code, one of "
    f"{', '.join(CAUSES)}"
)


@frozen(kw_only=True)
class Death:
    """A process that a signal ended."""

    process: str
    """Its comm; of a child PROGRAM/NAME."""
    pid: int
    thread: str
    """Who received the signal: its comm."""
    cpu: int
    t_ns: int
    """When the signal came; the process ends when its threads next return to user mode."""
    signal: str
    """`SIGSEGV`, `SIGBUS`, `SIGKILL`, `SIGABRT`."""
    code: str | None
    """si_code, such as `SEGV_MAPERR`; None: the signal has none."""
    address: int | None
    """What was accessed; None: no access was the cause."""
    operation: str | None
    """What the thread, or the killer, did then; None: its program had not begun."""
    place: str | None
    """FILE:LINE of the operation; None: nobody knows."""
    killer: str | None
    """Who sent the signal on purpose; None: a fault was the cause."""
    message: str | None
    """What the C library said before it aborted; None: it did not."""
    is_expected: bool
    """`expect` allows it, or it was killed on purpose."""

    @property
    def who(self) -> str:
        """Who died, in words."""
        thread = "" if self.thread == self.process else f", thread {self.thread}"
        return f"{self.process} (pid {self.pid}{thread})"

    @property
    def how(self) -> str:
        """Of what, where and when, in words."""
        return f"of {self.cause} {self._where()} at t={format_ns(self.t_ns)}"

    @property
    def cause(self) -> str:
        """Of what, in words."""
        if self.killer is not None:
            return f"{self.signal} (sent by {self.killer})"
        if self.message is not None:
            return f"{self.signal} ({self.message})"
        at = "" if self.address is None else f" at {self.address:#x}"
        if self.code is not None:
            return f"{self.signal} ({self.code}{at})"
        return f"{self.signal} (out of memory{at})"

    def _where(self) -> str:
        if self.operation is None:
            return "before its program began"
        place = "" if self.place is None else f" ({self.place})"
        return f"in `{self.operation}`{place}"

    def __str__(self) -> str:
        return f"{self.who} died {self.how}"


class UnexpectedDeath(LawBroken):
    """A process died that was not expected to, where that ends a schedule."""

    def __init__(self, death: Death) -> None:
        self.law = f"{death.process} dies of {death.code or death.signal}"
        super().__init__(str(death))


@frozen
class ExpectedDeath:
    """A process that dies, or may, checked at the end of a run."""

    PATTERN: ClassVar[str] = f"^{_DEATH.pattern}$"

    process: str
    """Names of processes, `PROGRAM/NAME` of a child; * and ? match any."""
    cause: str | None
    """A signal, or the code of one; None: any."""
    is_certain: bool
    """The run fails if it does not come."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `a dies of SIGSEGV` says; raise TextError for anything else."""
        match = _DEATH.fullmatch(text)
        if match is None:
            raise TextError(
                found=f"{text[:80]!r} does not say who dies",
                legal=_LEGAL,
                advice="write it like `a dies of SIGSEGV`",
            )
        process, verb, cause = match.groups()
        if cause is not None and cause not in CAUSES:
            raise TextError(
                found=f"nobody dies of {cause[:80]!r}",
                legal=_LEGAL,
                advice=did_you_mean(cause.upper(), CAUSES, otherwise="leave the cause out"),
                column=match.start(3) + 1,
            )
        return cls(process, cause, verb == "dies")

    def __str__(self) -> str:
        verb = "dies" if self.is_certain else "may die"
        return f"{self.process} {verb}" + ("" if self.cause is None else f" of {self.cause}")

    def names(self, process: str) -> bool:
        """Return whether a process is meant."""
        return fnmatchcase(process, self.process)

    def is_met_by(self, death: Death) -> bool:
        """Return whether this is such a death."""
        return self.names(death.process) and self.cause in (None, death.signal, death.code)

    def lack(self, deaths: Sequence[Death], processes: Iterable[str]) -> str | None:
        """Return what is not as expected, as a clause; None: nothing. `processes`: all ever."""
        if not self.is_certain:
            return None
        meant = [process for process in processes if self.names(process)]
        if not meant:
            return "there was no such process"
        by_process = {death.process: death for death in deaths}
        for process in meant:
            death = by_process.get(process)
            if death is None:
                return f"{process} did not die"
            if not self.is_met_by(death):
                return str(death)
        return None


def is_of_death(text: str) -> bool:
    """Return whether an expectation is one of a death, perhaps with mistakes."""
    return _IS_OF_DEATH.search(text) is not None


def names_of_processes(name: str, program: Iterable[Operation]) -> Iterator[str]:
    """Yield the names of all processes that a program called `name` may make, its own first."""
    yield name
    nr_started: Counter[str] = Counter()
    for operation in program:
        plain = operation.operation if isinstance(operation, By) else operation
        if isinstance(plain, Thread):
            nr_started[plain.name] += 1
        if isinstance(plain, Fork):
            nr_started[plain.child] += 1
            yield f"{name}/{name_of(plain.child, nr_started[plain.child])}"


def deaths_of(
    fatal: Iterable[FatalSignal],
    expected: Sequence[ExpectedDeath],
    places: Mapping[str, Sequence[Place]],
) -> tuple[Death, ...]:
    """Return who died of fatal signals, in order of time.

    `places`: where operations are written, by the name of the process whose program they are.
    """
    in_order = sorted(fatal, key=lambda each: (each.t_ns, each.pid))
    return tuple(_death(each, expected, places.get(each.program, ())) for each in in_order)


def _death(fatal: FatalSignal, expected: Sequence[ExpectedDeath], places: Sequence[Place]) -> Death:
    signal = fatal.signal
    is_access = signal.code not in (SI_KERNEL, SI_TKILL) and (
        signal.number != SIGKILL or signal.address != 0
    )
    place = None
    if fatal.index is not None and fatal.index < len(places):
        written = places[fatal.index]
        place = str(Place(written.file, written.line))
    death = Death(
        process=fatal.process,
        pid=fatal.pid,
        thread=fatal.thread,
        cpu=fatal.cpu,
        t_ns=fatal.t_ns,
        signal=SIGNAL_NAMES[signal.number],
        code=CODE_NAMES.get((signal.number, signal.code)),
        address=signal.address if is_access else None,
        operation=None if fatal.operation is None else str(fatal.operation),
        place=place,
        killer=fatal.killer,
        message=fatal.message,
        is_expected=fatal.killer is not None,
    )
    if any(each.is_met_by(death) for each in expected):
        return evolve(death, is_expected=True)
    return death
