"""Signals that end processes: to whom, why, at which operation (kernel/signal.c, Linux 6.1).

Here is what is kept of such a signal; who receives it and what happens then is in actors/program.
"""

from typing import Final

from attrs import frozen

from mmactors.mm.fault.siginfo import FaultSignal

FATAL_SIGNAL_SEEN: Final = "a fatal signal"
"""What a step observes that looks for a fatal signal and finds one (`Engine.observe`).

Who sends it writes every CPU, which every step of a thread reads: a search tries both orders.
"""


@frozen(kw_only=True)
class FatalSignal:
    """A signal that ended a process."""

    pid: int
    process: str
    """The process's comm; of a child PROGRAM/NAME."""
    thread: str
    """Who received the signal: its comm."""
    cpu: int
    t_ns: int
    signal: FaultSignal
    program: str
    """The process whose program the operation belongs to: its comm."""
    operation: object | None
    """What the thread, or the killer, did then; None: its program had not begun."""
    index: int | None
    """The operation's place in the program, from 0; None: it is not of the program."""
    killer: str | None
    """Who sent it on purpose; None: a fault did."""
    message: str | None = None
    """What the C library said before it aborted; None: it did not."""
