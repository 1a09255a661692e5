"""Looks at the clock within a schedule, so that a search ends when it has to.

`Execution.look_up` is called between two steps, every so many; it cuts the schedule short by what
it raises. Plain steps take next to no time: of those, strategies and whoever plays a schedule keep
count; of others the execution does itself.
"""

from typing import Final

LOOK_EVERY: Final = 32
"""So many steps are taken between two looks."""
