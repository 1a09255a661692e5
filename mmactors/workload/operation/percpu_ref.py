"""Operations on reference counts with counters of CPUs', as a kernel module does them.

These are ours; they are named after the kernel's functions that they call
(include/linux/percpu-refcount.h). A count is known by a name to the program that made it; the name
means the count that it was bound to last, also when that was exited.
"""

from enum import IntFlag
from typing import ClassVar, Final

from attrs import frozen

from mmactors.workload.operation.grammar import (
    NAME_WORD,
    Written,
    flags,
    keyword,
    positional,
)


class PercpuRefFlag(IntFlag):
    """PERCPU_REF_* (include/linux/percpu-refcount.h)."""

    INIT_ATOMIC = 1
    INIT_DEAD = 2
    ALLOW_REINIT = 4


_FLAGS: Final = flags(PercpuRefFlag, {str(flag.name).lower(): flag for flag in PercpuRefFlag})


@frozen(kw_only=True)
class PercpuRefInit(Written):
    """Make a reference count of one reference, known as `name`; 0 or -ENOMEM.

    `release` names an object: the release function gives it back with kfree.
    """

    verb: ClassVar[str] = "percpu_ref_init"
    name: str = positional(NAME_WORD)
    release: str | None = keyword("release", NAME_WORD, None)
    flags: PercpuRefFlag = keyword("flags", _FLAGS, PercpuRefFlag(0))


@frozen(kw_only=True)
class PercpuRefGet(Written):
    """Take a reference."""

    verb: ClassVar[str] = "percpu_ref_get"
    ref: str = positional(NAME_WORD)


@frozen(kw_only=True)
class PercpuRefTryget(Written):
    """Take a reference unless there is none any more; 1: it was taken."""

    verb: ClassVar[str] = "percpu_ref_tryget"
    ref: str = positional(NAME_WORD)


@frozen(kw_only=True)
class PercpuRefTrygetLive(Written):
    """Take a reference unless the count was killed; 1: it was taken."""

    verb: ClassVar[str] = "percpu_ref_tryget_live"
    ref: str = positional(NAME_WORD)


@frozen(kw_only=True)
class PercpuRefPut(Written):
    """Drop a reference; with the last one the release function is called."""

    verb: ClassVar[str] = "percpu_ref_put"
    ref: str = positional(NAME_WORD)


@frozen(kw_only=True)
class PercpuRefKill(Written):
    """Give up the reference of who made the count, which ends when all others are dropped."""

    verb: ClassVar[str] = "percpu_ref_kill"
    ref: str = positional(NAME_WORD)


@frozen(kw_only=True)
class PercpuRefKillAndConfirm(Written):
    """Do the same, and wait until all CPUs know."""

    verb: ClassVar[str] = "percpu_ref_kill_and_confirm"
    ref: str = positional(NAME_WORD)


@frozen(kw_only=True)
class PercpuRefSwitchToAtomicSync(Written):
    """Let all CPUs count in one word from now on, and wait until all do."""

    verb: ClassVar[str] = "percpu_ref_switch_to_atomic_sync"
    ref: str = positional(NAME_WORD)


@frozen(kw_only=True)
class PercpuRefSwitchToPercpu(Written):
    """Let each CPU count for itself again."""

    verb: ClassVar[str] = "percpu_ref_switch_to_percpu"
    ref: str = positional(NAME_WORD)


@frozen(kw_only=True)
class PercpuRefReinit(Written):
    """Let a count that was released begin again with one reference."""

    verb: ClassVar[str] = "percpu_ref_reinit"
    ref: str = positional(NAME_WORD)


@frozen(kw_only=True)
class PercpuRefExit(Written):
    """Give back what a count is made of; nobody may use it any more."""

    verb: ClassVar[str] = "percpu_ref_exit"
    ref: str = positional(NAME_WORD)


PercpuRefOperation = (
    PercpuRefInit
    | PercpuRefGet
    | PercpuRefTryget
    | PercpuRefTrygetLive
    | PercpuRefPut
    | PercpuRefKill
    | PercpuRefKillAndConfirm
    | PercpuRefSwitchToAtomicSync
    | PercpuRefSwitchToPercpu
    | PercpuRefReinit
    | PercpuRefExit
)
