"""The line that is shown while a machine runs."""

from collections import deque

from mmactors.cli.terminal.progress import ProgressLine, compact, progress_line, sparkline
from mmactors.scenario.machine import Progress


def progress_of(*, now_ns, events, accesses, free_pages):
    return Progress(
        now_ns=now_ns, events=events, accesses=accesses, faults=7, free_pages=free_pages
    )


def test_rates_are_those_since_the_line_before():
    """Virtual time, accesses and events a second of wall time, free pages with their course."""
    line = ProgressLine(live=None, started=100.0)
    first = progress_of(now_ns=1_000, events=0, accesses=0, free_pages=100)
    second = progress_of(now_ns=2_500_000, events=500, accesses=3_000_000, free_pages=90)

    line.text(first, now=100.0)

    assert ("t=2.5ms  6 M accesses/s  1 k events/s  7 faults  free 90 pages █▁  0s") == line.text(
        second, now=100.5
    )


def test_a_constant_number_has_a_flat_sparkline():
    """No course is shown where there is none."""
    assert "▁▁▁" == sparkline(deque([5, 5, 5]))


def test_numbers_are_short():
    """Three digits and a unit."""
    assert ["7", "1.23 k", "4.57 M", "2 G"] == list(map(compact, (7, 1234, 4_567_890, 2e9)))


def test_without_a_terminal_there_is_no_line():
    """Tests and CI see no progress, and neither does who asks for quiet."""
    with progress_line(wanted=True) as not_a_terminal, progress_line(wanted=False) as unwanted:
        lines = (not_a_terminal, unwanted)

    assert (None, None) == lines
