"""Signals that end processes, and what comes with them (struct siginfo, Linux 6.1).

Numbers and codes are those of include/uapi/asm-generic/{signal.h,siginfo.h}. Left out: signals that
have nothing to do with memory.
"""

from typing import Final

from attrs import frozen

SIGABRT: Final = 6
SIGBUS: Final = 7
SIGKILL: Final = 9
SIGSEGV: Final = 11
SEGV_MAPERR: Final = 1
SEGV_ACCERR: Final = 2
SEGV_PKUERR: Final = 4
BUS_ADRERR: Final = 2
SI_KERNEL: Final = 0x80
"""Any signal: the kernel sent it and knows no address (a general protection fault)."""
SI_TKILL: Final = -6
"""A thread of the process sent it to itself (tgkill), as abort() does."""

SIGNAL_NAMES: Final = {
    SIGABRT: "SIGABRT",
    SIGBUS: "SIGBUS",
    SIGKILL: "SIGKILL",
    SIGSEGV: "SIGSEGV",
}
CODE_NAMES: Final = {
    (SIGABRT, SI_TKILL): "SI_TKILL",
    (SIGSEGV, SEGV_MAPERR): "SEGV_MAPERR",
    (SIGSEGV, SEGV_ACCERR): "SEGV_ACCERR",
    (SIGSEGV, SEGV_PKUERR): "SEGV_PKUERR",
    (SIGSEGV, SI_KERNEL): "SI_KERNEL",
    (SIGKILL, SI_KERNEL): "SI_KERNEL",
    (SIGBUS, BUS_ADRERR): "BUS_ADRERR",
}
"""si_code by signal."""
DUMPS_CORE: Final = frozenset({SIGABRT, SIGBUS, SIGSEGV})
"""Those before whose end all threads are gathered for a core dump (SIG_KERNEL_COREDUMP_MASK)."""


@frozen(kw_only=True)
class FaultSignal:
    """What a thread gets for an access that cannot be made good, or sends itself to end."""

    number: int
    code: int
    address: int


ABORT: Final = FaultSignal(number=SIGABRT, code=SI_TKILL, address=0)
"""What abort() of the C library raises."""
OOPS: Final = FaultSignal(number=SIGKILL, code=SI_KERNEL, address=0)
"""The kernel met what it could not bear while it worked for a thread."""
