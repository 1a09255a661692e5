"""What a scenario says: the machine, the kernel, the processes, what to record, what must hold.

Composes the configuration classes of the layers below; each option's meaning, unit and limits stand
with the option. Frozen values: a run is a function of (scenario, seed, policy).
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import ClassVar, Final, Self

from attrs import frozen

from mmactors.actors.state.config import KernelConfig
from mmactors.engine.config import EngineConfig
from mmactors.errors import Place
from mmactors.hw.config import MAX_CPUS, HardwareConfig
from mmactors.malloc.config import LIBRARIES, PTMALLOC, VARIABLES, MallocConfig
from mmactors.mm.boot.boot import MemoryConfig
from mmactors.option import filled_in, option
from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.counter_names import CounterNames, instance_names, process_names
from mmactors.scenario.death import ExpectedDeath, is_of_death
from mmactors.scenario.faults.config import FaultsConfig
from mmactors.scenario.race_config import RaceConfig
from mmactors.scenario.structure import TextError
from mmactors.workload.operation.all import By, Operation
from mmactors.workload.operation.malloc import MallocOperation

SAMPLED_OF_HEAP: Final = (
    "anon_pages",
    "malloc_live_bytes",
    "malloc_usable_bytes",
    "malloc_system_bytes",
)
_COUNTER: Final = r"[A-Za-z_][\w./:-]*(?:\[[^\[\]\s]*\][\w./:-]*)?"
_COMPARISON = re.compile(rf"\s*({_COUNTER})\s*(==|!=|>=|<=|>|<)\s*(-?\d+)\s*")
_OPERATORS: Final[dict[str, Callable[[int, int], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@frozen
class Expectation:
    """A comparison of one counter with a number, checked at the end of a run."""

    PATTERN: ClassVar[str] = f"^{_COMPARISON.pattern}$"
    counter: str
    operator: str
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `pgfault >= 100` says; raise TextError for anything else."""
        match = _COMPARISON.fullmatch(text)
        if match is None or len(match[3]) > 19:
            raise TextError(
                found=f"{text[:80]!r} is not a comparison",
                legal=f"expected COUNTER OPERATOR NUMBER, the operator one of "
                f"{' '.join(_OPERATORS)}",
                advice="write it like `pgfault >= 100` or `cpu[1].pgfault >= 100`",
            )
        return cls(match[1], match[2], int(match[3]))

    def __str__(self) -> str:
        return f"{self.counter} {self.operator} {self.number}"

    def holds(self, value: int) -> bool:
        """Return whether the counter's value satisfies the comparison."""
        return _OPERATORS[self.operator](value, self.number)


def uses_malloc(operation: Operation) -> bool:
    """Return whether an operation asks the C library's allocator for something."""
    plain = operation.operation if isinstance(operation, By) else operation
    return isinstance(plain, MallocOperation)


Expected = Expectation | ExpectedDeath


def parse_expected(text: str) -> Expected:
    """Return what one line of `expect` says; raise TextError."""
    return ExpectedDeath.parse(text) if is_of_death(text) else Expectation.parse(text)


@frozen(kw_only=True)
class MachineConfig:
    """The simulated machine: processors, memory, caches and TLBs."""

    cpus: int = option(1, doc="Number of CPUs, numbered from 0.", minimum=1, maximum=MAX_CPUS)
    pku: bool = option(
        False,
        doc="The CPUs have protection keys for user pages: memory mapped or protected with "
        "`prot=x` alone can be executed, but not read.",
    )
    memory: MemoryConfig = option(
        factory=MemoryConfig, doc="Physical memory and what boot makes of it."
    )
    hardware: HardwareConfig = option(
        factory=HardwareConfig, doc="TLBs, caches, page-table levels and costs."
    )


@frozen(kw_only=True)
class ProcessConfig:
    """One process, or several equal ones, and what each does."""

    name: str = option(doc="The process's name (comm); copies are called NAME.0, NAME.1 ...")
    cpu: int | None = option(
        None,
        doc="CPU on which its main thread starts; copies start on the CPUs that follow, "
        "round robin. Empty: the CPU after that of the process before.",
        minimum=0,
    )
    copies: int = option(1, doc="How many processes run this program.", minimum=1, maximum=100_000)
    on_signal: str = option(
        "die",
        doc="What SIGSEGV and SIGBUS do to it and its children: `die` ends the process, as Linux "
        "does; `continue` ends the operation alone, as a handler would that jumps behind it.",
        choices=("die", "continue"),
    )
    make_it_fail: bool = option(
        False,
        doc="Faults with `task_filter` are for it and its children (/proc/PID/make-it-fail).",
    )
    malloc: str = option(
        PTMALLOC,
        doc="The allocator that it is linked with: `ptmalloc` is that of glibc 2.36, `tcmalloc` "
        "that of gperftools 2.10 (libtcmalloc_minimal), `jemalloc` that of 5.3.0. "
        "Without operations such as `malloc` it makes no difference.",
        choices=LIBRARIES,
    )
    environment: Mapping[str, str] = option(
        factory=dict,
        doc="Variables that the allocator reads when the program begins, such as GLIBC_TUNABLES: "
        "`glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0`, TCMALLOC_RELEASE_RATE: `10`, "
        "MALLOC_CONF: `narenas:1,dirty_decay_ms:0`.",
        choices=VARIABLES,
    )
    metadata_in_memory: bool = option(
        True,
        doc="What the allocator reads and writes by itself, as headers of chunks, goes through "
        "TLBs, caches and page faults. Without, only what the program touches does.",
    )
    program: tuple[Operation, ...] = option(
        doc="Operations, one text each, in the order in which they are executed."
    )
    places: tuple[Place, ...] = filled_in(())
    """Where each operation is written; empty: nobody knows."""

    def malloc_config(self) -> MallocConfig | None:
        """Return how its allocator is set up; None: the program never asks for it."""
        if not any(uses_malloc(operation) for operation in self.program):
            return None
        return MallocConfig(
            library=self.malloc,
            environment=self.environment,
            metadata_in_memory=self.metadata_in_memory,
        )


@frozen(kw_only=True)
class RecordConfig:
    """What goes into the event log, and which counters are sampled."""

    events: tuple[str, ...] = option(
        ("*",),
        doc="Names of events (tracepoints), * and ? match any; an empty list switches the log off.",
    )
    sample: int | None = option(
        None,
        doc="Every so much virtual time the counters below are written to series.jsonl, with what "
        "had happened before that time, and once more at the end. Empty: never. A series has at "
        "most 100000 samples and ten million numbers; what comes later is left out. The run and "
        "its log are the same with and without it.",
        unit="ns",
        minimum=1_000,
    )
    counters: tuple[str, ...] = option(
        (
            "pgfault",
            "pgmajfault",
            "nr_free_pages",
            "nr_anon_pages",
            "nr_file_pages",
            "context_switches",
            "tlb_shootdowns",
            "*.llc_misses",
            "*_tlb.walks",
            "user_ns",
            "system_ns",
            "idle_ns",
        ),
        doc="What is sampled: names of counters (docs/counters.md), * and ? match any: `pg*` those "
        "of the machine, `cpu[*].read.*` those of all CPUs, `process[a].*` those of a process. "
        "Left out, what is said here, and of each process that allocates by its C library "
        "`anon_pages`, `malloc_live_bytes`, `malloc_usable_bytes` and `malloc_system_bytes`.",
    )


@frozen(kw_only=True)
class Scenario:
    """Everything that decides a run."""

    machine: MachineConfig = option(factory=MachineConfig, doc="The simulated machine.")
    kernel: KernelConfig = option(factory=KernelConfig, doc="The simulated kernel.")
    engine: EngineConfig = option(
        factory=EngineConfig, doc="How the interleaving is chosen and how long a run may take."
    )
    processes: tuple[ProcessConfig, ...] = option(doc="What runs.")
    record: RecordConfig = option(factory=RecordConfig, doc="What is written while it runs.")
    sanitize: SanitizeConfig = option(
        factory=SanitizeConfig, doc="Which laws of the kernel are checked while it runs."
    )
    faults: FaultsConfig = option(
        factory=FaultsConfig, doc="What goes wrong on purpose while it runs (docs/faults.md)."
    )
    race: RaceConfig | None = option(
        None, doc="What `mmactors explore` searches for; a run takes no notice of it."
    )
    expect: tuple[Expected, ...] = option(
        (),
        doc="What must hold at the end: comparisons of counters, such as `pgfault >= 100`, "
        "`cpu[1].read.l1_misses < 50000`, `process[a].maj_flt == 0` (docs/counters.md lists them), "
        "and who dies: `a dies of SIGSEGV`, `a/child may die`. A death that is not expected fails "
        "the run.",
    )

    def counter_names(self) -> CounterNames:
        """Return the names of all counters of its runs."""
        instances = ((instance.name, instance.program) for instance in self.instances())
        return CounterNames(nr_cpus=self.machine.cpus, processes=process_names(instances))

    def sampled(self) -> tuple[str, ...]:
        """Return the names of the counters that are sampled.

        Where none are named, what heaps hold and what of processes is resident are among them.
        """
        globs = self.record.counters
        if globs == RecordConfig().counters:
            heaps = (each.name for each in self.instances() if each.malloc is not None)
            globs += tuple(f"process[{heap}].{what}" for heap in heaps for what in SAMPLED_OF_HEAP)
        known = self.counter_names()
        return tuple(dict.fromkeys(chain.from_iterable(map(known.match, globs))))

    def instances(self) -> Iterator["ProcessInstance"]:
        """Yield the processes that run, copies expanded, in the order in which they start."""
        cpu = 0
        for process in self.processes:
            if process.cpu is not None:
                cpu = process.cpu
            for name in instance_names(process.name, process.copies):
                yield ProcessInstance(
                    name=name,
                    cpu=cpu % self.machine.cpus,
                    program=process.program,
                    catches_signals=process.on_signal == "continue",
                    makes_it_fail=process.make_it_fail,
                    places=process.places,
                    malloc=process.malloc_config(),
                )
                cpu += 1


@frozen(kw_only=True)
class ProcessInstance:
    """One process that runs: its name, the CPU of its main thread, its program."""

    name: str
    cpu: int
    program: tuple[Operation, ...]
    catches_signals: bool
    makes_it_fail: bool
    places: tuple[Place, ...]
    malloc: MallocConfig | None
    """None: the program never allocates by the C library."""
