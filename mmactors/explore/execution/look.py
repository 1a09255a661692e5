"""Looks at the clock within a schedule, so that a search ends when it has to.

`Execution.look_up` is called between two steps, every so many; it cuts the schedule short by what
it raises. Plain steps take next to no time, unless a model computes for long in one: of those,
strategies and whoever plays a schedule keep count (`Execution.look_every`); of others the execution
does itself.
"""

from typing import Final

LOOK_EVERY: Final = 32
"""So many steps are taken between two looks."""
SLOW_SECONDS: Final = 0.001
"""Where a step takes as long as this there is a look after each."""
