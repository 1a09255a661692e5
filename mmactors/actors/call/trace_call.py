"""A system call as the log shows it: its number, its arguments, its result (x86-64, Linux 6.1).

For sys_enter and sys_exit. Here are the calls that are made without an operation of their own.
"""

from collections.abc import Awaitable
from typing import Final

from attrs import frozen

from mmactors.actors.state.kernel import Kernel
from mmactors.events import SysEnter, SysExit
from mmactors.units import ULONG_MAX

MMAP: Final = 9
MPROTECT: Final = 10
MUNMAP: Final = 11
BRK: Final = 12
MREMAP: Final = 25
MADVISE: Final = 28
"""arch/x86/entry/syscalls/syscall_64.tbl."""
NO_FD: Final = 0xFFFFFFFF
"""-1 as compilers pass it."""


@frozen
class Call:
    """An operation as the log shows it."""

    text: str
    nr: int | None = None
    """None: no one call of the kernel."""
    args: tuple[int, ...] = ()
    """Six, or none: not known."""


def mmap_call(length: int, prot: int, flags: int, address: int = 0) -> Call:
    """Return a call that maps anonymous memory, anywhere or with a hint."""
    return padded_call("mmap", MMAP, (address, length, prot, flags, NO_FD, 0))


def brk_call(address: int) -> Call:
    """Return a call that moves the program break to an address, 0: that asks for it."""
    return padded_call("brk", BRK, (address,))


def mremap_call(start: int, old_length: int, new_length: int, flags: int) -> Call:
    """Return a call that lets a range have another length."""
    return padded_call("mremap", MREMAP, (start, old_length, new_length, flags))


def mprotect_call(start: int, length: int, prot: int) -> Call:
    """Return a call that protects a range."""
    return padded_call("mprotect", MPROTECT, (start, length, prot))


def munmap_call(start: int, length: int) -> Call:
    """Return a call that unmaps a range."""
    return padded_call("munmap", MUNMAP, (start, length))


def madvise_call(start: int, length: int, advice: int) -> Call:
    """Return a call that advises about a range."""
    return padded_call("madvise", MADVISE, (start, length, advice))


async def trace_call(kernel: Kernel, call: Call, work: Awaitable[int]) -> int:
    """Do the work of a call; tell the log when it begins and what came of it."""
    probe = kernel.probe
    probe.open(SysEnter(call=call.text, nr=call.nr, args=call.args))
    result = await work
    probe.close(SysExit(call=call.text, nr=call.nr, ret=result))
    return result


def padded_call(text: str, nr: int | None, args: tuple[int, ...]) -> Call:
    """Return a call with all six arguments, or with none if none is known."""
    padded = tuple(arg & ULONG_MAX for arg in args) + (0,) * (6 - len(args)) if args else ()
    return Call(text, nr, padded)
