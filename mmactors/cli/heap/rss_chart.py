"""RSS of runs as bars in a terminal, over virtual time or over calls of the library.

One scale for all, across and up; a column shows the most of what it stands for. Where nothing was
sampled it is what it was before; behind the end of a run there is nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.cli.heap.compared import CALLS
from mmactors.cli.heap.figures import Run
from mmactors.cli.terminal.heap_lines import mib
from mmactors.cli.terminal.progress import BLOCKS
from mmactors.observe.heap_usage import sampled, sampled_rss
from mmactors.units import format_ns

Over = Literal["time", "calls"]
_COLUMNS: Final = 72
_ROWS: Final = 5
"""Of each run."""


@frozen(kw_only=True, eq=False)
class Curve:
    """What was resident when."""

    label: str
    at: NDArray[np.int64]
    """Ascending: ns, or numbers of calls."""
    rss: NDArray[np.int64]
    """Bytes."""


def curve(run: Run, over: Over) -> Curve | None:
    """Return the samples of a run; None: nobody came to call the library."""
    usage, series = run.usage, run.report.outcome.series
    if usage is None or usage.levels is None or series is None:
        return None
    times = np.array(series.times_ns, np.int64)
    return Curve(
        label=run.choice.label,
        at=times if over == "time" else sampled(usage.processes, series, CALLS),
        rss=sampled_rss(usage.processes, series),
    )


def chart_lines(curves: Sequence[Curve], over: Over) -> Iterator[str]:
    """Yield the lines of a chart."""
    end = max(int(each.at[-1]) for each in curves)
    top = max(int(each.rss.max()) for each in curves)
    if not end or not top:
        return
    what = f"virtual time, {format_ns(end)}" if over == "time" else f"calls, {end:,}"
    yield f"RSS over {what} from left to right; at the top {mib(top)}"
    width = max(len(each.label) for each in curves)
    for each in curves:
        yield ""
        bars = columns(each, end)
        heights = [0 if bar is None else -(-bar * _ROWS * len(BLOCKS) // top) for bar in bars]
        for row in reversed(range(_ROWS)):
            label = each.label if row == _ROWS - 1 else ""
            yield f"{label:{width}} |{''.join(_cell(height, row) for height in heights)}"


def columns(curve: Curve, end: int, count: int = _COLUMNS) -> list[int | None]:
    """Return what was resident at most in each of so many equal parts up to `end`.

    None: the run had ended.
    """
    bars: list[int | None] = []
    for nth in range(count):
        first, last = end * nth / count, end * (nth + 1) / count
        if first > curve.at[-1]:
            bars.append(None)
            continue
        begin, stop = np.searchsorted(curve.at, [first, last], side="left")
        stop = len(curve.at) if nth == count - 1 else stop
        inside = curve.rss[max(int(begin) - 1, 0) : max(int(stop), 1)]
        bars.append(int(inside.max()))
    return bars


def _cell(height: int, row: int) -> str:
    eighths = min(max(height - row * len(BLOCKS), 0), len(BLOCKS))
    return BLOCKS[eighths - 1] if eighths else " "
