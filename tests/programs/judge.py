"""What comes of a scenario, and whether it may: no crash, no finding, no leak, in bounded time.

A scenario is refused with four-part problems, or it runs twice: as it says, and with the other
driver, with sanitizers where it has none and none where it has some. Both runs have to agree.
"""

import re
import signal
import traceback
from contextlib import contextmanager
from pathlib import Path

import trio
from attrs import evolve, field, frozen

from mmactors.engine.actor import NEVER
from mmactors.engine.guard import GuardViolation
from mmactors.engine.report import (
    Deadlock,
    EngineError,
    NotSimulated,
    StepBudgetExceeded,
    TimeIsUp,
)
from mmactors.errors import UserError
from mmactors.observe.log import EventLog
from mmactors.rules import Rules
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.law import Law
from mmactors.scenario.dump import dump_scenario
from mmactors.scenario.load import parse_scenario
from mmactors.scenario.machine import Machine

from .words import CAREFUL

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FIRST_STRETCH_NS = 50_000
EVENTS_MAX = 10_000
ACCESSES_MAX = 50_000
SAMPLES_MAX = 2_000
"""A run is cut when it is found to be beyond these: it is looked at when its time has grown by a
GROWTH-th, so that little is done at once after a long sleep."""
GROWTH = 10
CPU_S = 20
MISTAKES = {
    *(Law.USE_AFTER_FREE, Law.OUT_OF_BOUNDS, Law.OBJECT_FREED_TWICE, Law.WRONG_CACHE),
    *(Law.OBJECT_LEAK, Law.NO_OBJECT_FREED, Law.WRONG_AREA, Law.AREA_LEAK),
}
"""What a program can do wrong with the kernel's objects; from then on they may be in disorder."""
OWN_MISTAKES = {law for law in Law if law.name.startswith("HEAP_")}
"""What it can do wrong with its own memory, which is nothing to the kernel."""
MAY_BE_MISTAKEN = re.compile(
    r"\b(?:k[mz]alloc|krealloc|kfree|kmem_cache_(?:alloc|free)|poke|peek"
    r"|alloc_(?:reserved_)?percpu|free_percpu|per_cpu_(?:write|read)"
    r"|v[mz]alloc|vfree|vmap|vunmap|vm_(?:un)?map_ram|(?:get|free)_vm_area)"
    rf" (?!{CAREFUL}\d)"
)
MAY_WAIT_FOR_EVER = re.compile(r"\b(barrier|offline_pages|spin|futex_wait|lll_lock)\b")
"""Operations that may wait for what never comes, which a deadlock says."""


class TooLong(BaseException):
    """A run has taken more than CPU_S of a processor of the host."""


@frozen
class Verdict:
    """What came of a scenario."""

    word: str
    """`refused`, `refused late`, `ok`, `died`, ..., or what went wrong."""
    is_failure: bool = False
    cause: str = ""
    """Equal for failures of one cause, as far as can be told."""
    detail: str = field(default="", eq=False, repr=False)

    @property
    def group(self):
        return f"{self.word}: {self.cause}" if self.cause else self.word


@frozen
class Came:
    """What came of one run."""

    word: str
    log: bytes
    counters: dict
    deaths: tuple
    end_ns: int
    failure: Verdict | None
    is_mistaken: bool = False
    """Log and verdict tell of a mistake: the program's with objects, or a wrong kernel's."""


@frozen(eq=False)
class Lines:
    """A file of the log in memory."""

    lines: list = field(factory=list)

    def write(self, lines):
        self.lines.append(bytes(lines))

    def flush(self):
        """Lines are here already."""

    def close(self):
        """Nothing to close."""


@contextmanager
def limited_to(cpu_s):
    """Raise TooLong inside after so much time of a processor, however busy the host is."""

    def ring(number, frame):
        raise TooLong(f"more than {cpu_s} s")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def judge(text, *, cpu_s=CPU_S):
    """Return the verdict on a scenario's text; all of it may take `cpu_s`."""
    try:
        with limited_to(cpu_s):
            return _judge(text)
    except TooLong as error:
        return Verdict("too long", True, "", _trace(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not have come
        return Verdict("crash", True, _where(error), _trace(error))


def _judge(text):
    try:
        scenario = parse_scenario(text, file="program.yaml", folder=CORPUS)
    except UserError as error:
        return _refusal(error, "refused")
    first = _run(scenario)
    if first.failure is not None:
        return first.failure
    sanitize = SanitizeConfig() if scenario.sanitize.is_on else SanitizeConfig.everything()
    driver = "inline" if scenario.engine.driver == "trio" else "trio"
    other = evolve(scenario, sanitize=sanitize, engine=evolve(scenario.engine, driver=driver))
    second = _run(other)
    if second.failure is not None:
        return second.failure
    for name in ("word", "end_ns", "deaths", "counters", "log"):
        one, two = getattr(first, name), getattr(second, name)
        may_differ = name in ("word", "log") and (first.is_mistaken or second.is_mistaken)
        if one != two and not may_differ:
            blame = _run(evolve(scenario, engine=evolve(scenario.engine, driver=driver)))
            cause = "sanitizers" if getattr(blame, name) == one else "drivers"
            return Verdict("disagreement", True, f"{cause}, {name}", _difference(one, two))
    return Verdict(first.word)


def _refusal(error, word):
    for problem in error.problems:
        parts = (problem.place, problem.found, problem.legal, problem.advice)
        if not all(str(part) for part in parts) or "\n" in str(problem):
            return Verdict("a problem lacks a part", True, "", str(problem))
    return Verdict(word, detail=str(error))


def _run(scenario):
    lines = Lines()
    word, failure, machine, is_mistaken = "ok", None, None, False
    try:
        machine = Machine(scenario, sink=EventLog(lines, scenario.record.events))
        if scenario.engine.driver == "inline":
            try:
                for until_ns in _stretches(machine):
                    machine.run_inline(until_ns=until_ns)
            finally:
                machine.close()
        else:
            trio.run(_move, machine)
    except UserError as error:
        verdict = _refusal(error, "refused late")
        return Came(verdict.word, b"", {}, (), 0, verdict)
    except StepBudgetExceeded:
        word = "step budget"
    except NotSimulated:
        word = "not simulated"
    except TimeIsUp:
        word = "time is up"
    except Deadlock as error:
        word = "deadlock"
        if MAY_WAIT_FOR_EVER.search(dump_scenario(scenario)) is None:
            failure = Verdict(word, True, "", str(error))
    except (EngineError, GuardViolation) as error:
        failure = _failure(error)
    if machine is None or failure is not None:
        return Came(word, b"", {}, (), 0, failure)
    found = machine.findings()
    findings = [finding for finding in found if finding.law not in OWN_MISTAKES]
    is_mistaken = len(findings) < len(found)
    if findings and scenario.kernel.rules != Rules():
        word, is_mistaken = "finding", True  # As it has to be: the kernel is a wrong one.
    elif findings and _is_mistake(scenario, findings):
        is_mistaken = True
    elif findings:
        failure = Verdict("finding", True, str(findings[0].law), "\n\n".join(map(str, findings)))
    summary = machine.summary()
    machine.proc()
    machine.schedule()
    if word == "ok":
        word = summary.verdict if machine.is_complete else "cut"
    return Came(
        word,
        b"".join(lines.lines),
        summary.counters,
        summary.deaths,
        machine.now_ns,
        failure,
        is_mistaken,
    )


def _is_mistake(scenario, findings):
    """Say whether the program has made a mistake with objects before anything else was found."""
    if MAY_BE_MISTAKEN.search(dump_scenario(scenario)) is None:
        return False
    if not scenario.sanitize.objects:
        machine = Machine(evolve(scenario, sanitize=SanitizeConfig.everything()))
        try:
            for until_ns in _stretches(machine):
                machine.run_inline(until_ns=until_ns)
        finally:
            machine.close()
        findings = [each for each in machine.findings() if each.law not in OWN_MISTAKES]
    return bool(findings) and findings[0].law in MISTAKES


async def _move(machine):
    async with machine:
        for until_ns in _stretches(machine):
            await machine.run(until_ns=until_ns)


def _stretches(machine):
    """Yield times up to which a machine is moved, until it has done enough."""
    until_ns = FIRST_STRETCH_NS
    sample_ns = machine.scenario.record.sample
    while not machine.is_complete and until_ns < NEVER:
        yield until_ns
        until_ns += until_ns // GROWTH
        if sample_ns is not None and until_ns > SAMPLES_MAX * sample_ns:
            return
        progress = machine.progress()
        if progress.events > EVENTS_MAX or progress.accesses > ACCESSES_MAX:
            return
    if not machine.is_complete:
        yield NEVER


def _failure(error):
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, UserError):
        return _refusal(cause, "refused late")
    if isinstance(cause, TooLong):
        return Verdict("too long", True, "", _trace(error))
    return Verdict("crash", True, _where(cause), _trace(error))


def _where(error):
    """Return kind, text and place of an exception, numbers left out."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "mmactors" in frame.filename] or frames
    place = f"{own[-1].filename.rpartition('mmactors/')[2]}:{own[-1].name}" if own else "?"
    text = re.sub(r"0x[0-9a-f]+|[0-9]+", "N", str(error).partition("\n")[0])[:80]
    return f"{type(error).__name__}: {text} at {place}"


def _trace(error):
    return "".join(traceback.format_exception(error))


def _difference(one, two):
    if isinstance(one, bytes):
        pairs = zip(one.splitlines(), two.splitlines(), strict=False)
        return next((f"{a}\n{b}" for a, b in pairs if a != b), f"{len(one)} and {len(two)} bytes")
    if isinstance(one, dict):
        return str(
            {key: (one.get(key), two.get(key)) for key in one if one.get(key) != two.get(key)}
        )
    return f"{one} and {two}"
