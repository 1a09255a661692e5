"""What paths of reference counts ask for: turns, locks, callbacks, lines in the kernel's log.

A path is a generator that yields requests and waits until each is done. A label (label.py) is the
request for the turn to do what follows.
"""

from collections.abc import Generator
from enum import Enum, auto
from typing import TypeVar

from attrs import frozen

from mmactors.label import Label


class RefRequest(Enum):
    """What a path asks of who drives it; answered when it is done."""

    RCU_READ_LOCK = auto()
    RCU_READ_UNLOCK = auto()
    LOCK = auto()
    """percpu_ref_switch_lock, with interrupts off."""
    UNLOCK = auto()
    SLEEP = auto()
    """Let go of that lock until somebody wakes who waits for a switch, and take it again."""
    WAKE_ALL = auto()
    CALL_RCU = auto()
    """Let `switch_to_atomic_rcu` run after a grace period."""
    CONFIRM = auto()
    """Call what wanted to know that all CPUs see the switch."""
    RELEASE = auto()
    """Call the release function."""


@frozen
class Warn:
    """A WARN() at a place in the source, once a machine; answered with None."""

    place: str
    text: tuple[str, ...] = ()


@frozen
class NullPointer:
    """The kernel reads a field of struct percpu_ref_data, which is gone: never answered."""

    offset: int
    """Bytes."""


@frozen
class Bug:
    """A BUG() at a line of the source: never answered."""

    file: str
    line: int


@frozen
class PrintkError:
    """Write a line into the kernel's log; answered with None."""

    line: str


T = TypeVar("T")
RefAsks = Label | RefRequest | Warn | NullPointer | Bug | PrintkError
RefSteps = Generator[RefAsks, None, T]
"""A path on its way; gives a T."""
