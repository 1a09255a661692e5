"""What reference counts with counters of CPUs' hold, as text: a part of the teller."""

from typing import Final

from mmactors.actors.state.kernel import Kernel
from mmactors.mm.percpu_ref.percpu_ref import (
    PERCPU_COUNT_BIAS,
    PERCPU_REF_ATOMIC,
    PERCPU_REF_DEAD,
    signed_count,
)

Parts = dict[str, str]
_FAR: Final = PERCPU_COUNT_BIAS >> 1
"""No count is so large, and what has the bias is so near to it."""


class ToldPercpuRefs:
    """The parts of all counts of one machine."""

    def __init__(self, kernel: Kernel) -> None:
        self._refs: Final = kernel.percpu_refs

    def mode(self, number: int) -> Parts:
        """Return how it is counted."""
        pointer = self._refs.pointers[number]
        words = ["atomic" if pointer & PERCPU_REF_ATOMIC else "percpu"]
        words += ["dead"] if pointer & PERCPU_REF_DEAD else []
        return {f"mode of {self._refs.refs[number].name}": ", ".join(words)}

    def count(self, number: int) -> Parts:
        """Return the word that all CPUs change."""
        count = signed_count(self._refs.counts[number])
        beyond = count + PERCPU_COUNT_BIAS
        is_biased = beyond < _FAR
        sign = "+" if beyond >= 0 else "-"
        text = f"bias {sign} {abs(beyond)}" if is_biased else str(count)
        return {f"count of {self._refs.refs[number].name}": text}

    def of_cpu(self, number: int, cpu: int) -> Parts:
        """Return a CPU's counter."""
        count = signed_count(self._refs.cpu_key(number, cpu))
        return {f"counter of {self._refs.refs[number].name} on cpu{cpu}": str(count)}
