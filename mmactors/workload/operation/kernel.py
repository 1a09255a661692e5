"""Operations that no program can ask for: what walkers do by themselves.

These are ours, not the recordings'. They let a race say when a processor speculates.
"""

from typing import ClassVar, Final

from attrs import frozen

from mmactors.workload.operation.address import Range
from mmactors.workload.operation.grammar import RANGE, Written, integer, keyword, positional

_CPU: Final = integer(0, 8191, "CPU")


@frozen(kw_only=True)
class Prefetch(Written):
    """Let the walker of a CPU translate the first byte of a range by speculation, as it may."""

    verb: ClassVar[str] = "prefetch"
    range: Range = positional(RANGE)
    cpu: int = keyword("cpu", _CPU)
