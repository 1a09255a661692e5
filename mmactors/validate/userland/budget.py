"""How much work one recorded case may make, over all the machines that it is run on.

A list of a few words may ask for more than anybody waits for: `touch` of 64 TiB, `churn` a billion
times, threads that hand each other a lock. What is counted is the same on every host; a clock would
not be. Time that passes while nobody works, or while a thread spins, costs nothing.
"""

from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from mmactors.actors.state.kernel import Kernel
from mmactors.engine.actor import NEVER
from mmactors.engine.cpu_times import cpu_usage
from mmactors.engine.driver import InlineDriver
from mmactors.engine.report import StepBudgetExceeded
from mmactors.errors import Place, Problem, UserError
from mmactors.observe.counters.read import nr_accesses
from mmactors.units import US, format_ns
from mmactors.validate.limits import ACCESSES_OF_CASE_MAX, SWITCHES_MAX, SYSTEM_NS_MAX

_STRETCH_NS: Final = 100 * US
"""Virtual time between two looks."""

_TOO_MANY_SWITCHES: Final = f"more than {SWITCHES_MAX:,} switches between threads"


@frozen(kw_only=True)
class Work:
    """What machines have done."""

    switches: int = 0
    accesses: int = 0
    """Of programs, to memory."""
    system_ns: int = 0
    """Time of all CPUs in the kernel: faults, calls, interrupts of threads."""

    def plus(self, other: "Work") -> "Work":
        """Return the sum."""
        return Work(
            switches=self.switches + other.switches,
            accesses=self.accesses + other.accesses,
            system_ns=self.system_ns + other.system_ns,
        )


def work_of(kernel: Kernel) -> Work:
    """Return what a machine has done up to now."""
    engine = kernel.engine
    now_ns = engine.now_ns
    return Work(
        switches=engine.statistics().switches,
        accesses=nr_accesses(kernel.hardware),
        system_ns=sum(cpu_usage(cpu, now_ns).system_ns for cpu in kernel.cpus),
    )


@define(eq=False)
class Budget:
    """What a case may still do."""

    path: Path
    done: Work = field(factory=Work, init=False)
    """By machines that have ended."""

    def run(self, kernel: Kernel) -> None:
        """Move a machine to its end; raise the engine's failure, or UserError for too much work."""
        engine = kernel.engine
        driver = InlineDriver(engine)
        while not (engine.is_complete or engine.stop_requested):
            engine.until_ns = min(engine.policy.next_ns + _STRETCH_NS, NEVER)
            try:
                driver.run_to_end()
            except StepBudgetExceeded:
                raise self._too_much(
                    f"more than {SWITCHES_MAX:,} switches between threads"
                ) from None
            self._must_be_enough(self.done.plus(work_of(kernel)))
        self.done = self.done.plus(work_of(kernel))

    def _must_be_enough(self, work: Work) -> None:
        if work.switches > SWITCHES_MAX:
            raise self._too_much(_TOO_MANY_SWITCHES)
        if work.accesses > ACCESSES_OF_CASE_MAX:
            raise self._too_much(f"more than {ACCESSES_OF_CASE_MAX:,} accesses to memory")
        if work.system_ns > SYSTEM_NS_MAX:
            raise self._too_much(f"more than {format_ns(SYSTEM_NS_MAX)} of work for the kernel")

    def _too_much(self, found: str) -> UserError:
        return UserError(
            Problem(
                place=Place(str(self.path)),
                found=f"op_list asks for {found}",
                legal="expected a case that is run within seconds",
                advice="record fewer pages, passes or repetitions",
            )
        )
