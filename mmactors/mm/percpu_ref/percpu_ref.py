"""A reference count with a counter a CPU (lib/percpu-refcount.c, percpu-refcount.h, Linux 6.1).

While it is in percpu mode, who takes or drops a reference changes a word of its own CPU's, and
nobody knows the sum: it cannot drop to nothing, as who made it has a reference. To kill it is to
give that one up. From then on all change one atomic word. Some CPU may have looked at the mode
before, and not have changed its own word yet; so the words are summed only when all who did so
have left their read sections, in a callback of RCU's. A bias keeps the atomic word far from 0 until
the sum is in it.

A path is a generator that asks for its turns, its locks and its callbacks by yielding requests.
Left out: mem_dump_obj() after an underflow; what the callback does to a count that has been exited
meanwhile, which is in memory that is somebody else's.
"""

from collections.abc import Callable, Hashable
from typing import Final, Protocol

from attrs import define

from mmactors.label import (
    PERCPU_REF,
    PERCPU_REF_COUNT,
    Label,
    Mode,
    WantsStep,
    percpu_count,
    percpu_count_of,
    percpu_ref,
    percpu_ref_count,
)
from mmactors.mm.percpu_ref.request import (
    Bug,
    NullPointer,
    PrintkError,
    RefRequest,
    RefSteps,
    Warn,
)
from mmactors.rules import Rules

PERCPU_COUNT_BIAS: Final = 1 << 63
PERCPU_REF_ATOMIC: Final = 1
PERCPU_REF_DEAD: Final = 2
PERCPU_REF_ATOMIC_DEAD: Final = PERCPU_REF_ATOMIC | PERCPU_REF_DEAD
PERCPU_REF_FLAG_BITS: Final = 2
"""Of the word that points to the counters (__PERCPU_REF_*)."""
PERCPU_REF_INIT_ATOMIC: Final = 1
PERCPU_REF_INIT_DEAD: Final = 2
PERCPU_REF_ALLOW_REINIT: Final = 4
"""What percpu_ref_init is told."""
SIZEOF_PERCPU_REF_DATA: Final = 56
"""Bytes of struct percpu_ref_data."""
_COUNT: Final = 0
_RELEASE: Final = 8
_CONFIRM_SWITCH: Final = 16
_FORCE_ATOMIC: Final = 24
"""Where its fields lie."""
_ULONG_MASK: Final = (1 << 64) - 1
_NR_UNDERFLOWS_TOLD: Final = 3
_FILE: Final = "lib/percpu-refcount.c"


def signed_count(word: int) -> int:
    """Return a word as a long."""
    return word - (1 << 64) if word & PERCPU_COUNT_BIAS else word


class Words(Protocol):
    """Shared words, one by index."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...


class PercpuRefs:
    """All reference counts of a machine: the words of each by its number."""

    def __init__(
        self,
        nr_cpus: int,
        *,
        rules: Rules,
        share: Callable[[Words, str], Words],
        wants_step: WantsStep,
    ) -> None:
        """`share`: returns words as those see them who share them, by what they are called."""
        self.nr_cpus: Final = nr_cpus
        self.rules: Final = rules
        self.wants_step: Final = wants_step
        self.share: Final = share
        self.refs: Final[list[PercpuRef]] = []
        """All that ever were."""
        self._pointers: Final[list[int]] = []
        self._counts: Final[list[int]] = []
        self._words: Final[list[list[int]]] = []
        """The CPUs' counters, of each."""
        self.pointers: Final = share(self._pointers, PERCPU_REF)
        """percpu_count_ptr: the flags below, above them where the counters lie."""
        self.counts: Final = share(self._counts, PERCPU_REF_COUNT)
        """percpu_ref_data.count, a long without its sign."""
        self.nr_underflows = 0

    def init(self, name: str, data: int, *, flags: int, release: str) -> "PercpuRef":
        """Make one (percpu_ref_init): of one reference, or dead; `data`: struct percpu_ref_data.

        `name`: what its owner calls it; `release`: the name of the function that is called when
        nobody has a reference.
        """
        pointer, count = 0, 0
        if flags & (PERCPU_REF_INIT_ATOMIC | PERCPU_REF_INIT_DEAD):
            pointer |= PERCPU_REF_ATOMIC
        else:
            count += PERCPU_COUNT_BIAS
        if flags & PERCPU_REF_INIT_DEAD:
            pointer |= PERCPU_REF_DEAD
        else:
            count += 1
        number = len(self.refs)
        words = [0] * self.nr_cpus
        ref = PercpuRef(
            refs=self,
            number=number,
            name=name,
            data=data,
            release=release,
            force_atomic=bool(flags & PERCPU_REF_INIT_ATOMIC),
            allow_reinit=bool(flags),
            per_cpu=self.share(words, percpu_count_of(number)),
        )
        self._words.append(words)
        self.refs.append(ref)
        self._pointers.append(pointer)
        self._counts.append(count)
        return ref

    def key(self, number: int) -> Hashable:
        """Return the mode of a count, and where a switch stands, as a value."""
        ref = self.refs[number]
        state = (ref.data, ref.force_atomic, ref.is_switching, ref.is_confirming)
        return self._pointers[number], ref.per_cpu is None, state

    def count_key(self, number: int) -> int:
        """Return the atomic word of a count as a value."""
        return self._counts[number]

    def cpu_key(self, number: int, cpu: int) -> int:
        """Return a CPU's counter of a count as a value."""
        return self._words[number][cpu]


@define(eq=False, kw_only=True)
class PercpuRef:
    """One reference count (struct percpu_ref); methods are what `<percpu_ref_>method` does."""

    refs: PercpuRefs
    number: int
    name: str
    data: int
    """Where struct percpu_ref_data lies; 0: it was given back."""
    release: str
    force_atomic: bool
    allow_reinit: bool
    per_cpu: Words | None
    """The CPUs' counters; None: they were given back."""
    is_switching: bool = False
    """All CPUs do not yet see that the mode is atomic."""
    is_confirming: bool = False
    """Somebody wants to know when they do."""

    def get(self, cpu: int) -> RefSteps[None]:
        """Take a reference; who calls knows that there is one."""
        yield RefRequest.RCU_READ_LOCK
        per_cpu = yield from self._counters_if_percpu()
        if per_cpu is None:
            yield from self._add(1)
        else:
            yield from self._add_on(cpu, per_cpu, 1)
        yield RefRequest.RCU_READ_UNLOCK

    def tryget(self, cpu: int) -> RefSteps[bool]:
        """Take a reference unless there is none any more; say whether it was done."""
        yield RefRequest.RCU_READ_LOCK
        per_cpu = yield from self._counters_if_percpu()
        if per_cpu is None:
            is_taken = yield from self._add_unless_0()
        else:
            yield from self._add_on(cpu, per_cpu, 1)
            is_taken = True
        yield RefRequest.RCU_READ_UNLOCK
        return is_taken

    def tryget_live(self, cpu: int) -> RefSteps[bool]:
        """Take a reference unless it was killed; say whether it was done."""
        yield RefRequest.RCU_READ_LOCK
        per_cpu = yield from self._counters_if_percpu()
        is_taken = False
        if per_cpu is not None:
            yield from self._add_on(cpu, per_cpu, 1)
            is_taken = True
        else:
            pointer = yield from self._pointer()
            if not pointer & PERCPU_REF_DEAD:
                is_taken = yield from self._add_unless_0()
        yield RefRequest.RCU_READ_UNLOCK
        return is_taken

    def put(self, cpu: int) -> RefSteps[None]:
        """Drop a reference; the last one, where the mode is atomic, releases."""
        yield RefRequest.RCU_READ_LOCK
        per_cpu = yield from self._counters_if_percpu()
        if per_cpu is not None:
            yield from self._add_on(cpu, per_cpu, -1)
        elif not (yield from self._add(-1)):
            yield RefRequest.RELEASE
        yield RefRequest.RCU_READ_UNLOCK

    def kill_and_confirm(self, cpu: int, *, confirms: bool) -> RefSteps[None]:
        """Give up the reference of who made it; `confirms`: tell when all CPUs know."""
        yield RefRequest.LOCK
        pointer = yield from self._pointer()
        if pointer & PERCPU_REF_DEAD:
            if not self.data:
                yield NullPointer(_RELEASE)
            text = f"percpu_ref_kill_and_confirm called more than once on {self.release}!"
            yield Warn(f"{_FILE}:389 percpu_ref_kill_and_confirm", (text,))
        yield from self._set_flags(PERCPU_REF_DEAD)
        yield from self._switch_mode(cpu, confirms=confirms)
        yield from self.put(cpu)
        yield RefRequest.UNLOCK

    def switch_to_atomic(self, cpu: int) -> RefSteps[None]:
        """Let all change one word from now on, until `switch_to_percpu`."""
        yield from self._force(cpu, is_atomic=True)

    def switch_to_percpu(self, cpu: int) -> RefSteps[None]:
        """Let each CPU change its own again, or as soon as the count lives again."""
        yield from self._force(cpu, is_atomic=False)

    def reinit(self, cpu: int) -> RefSteps[None]:
        """Let a count that was released live again, as it was when it was made."""
        if not (yield from self._is_zero()):
            yield Warn(f"{_FILE}:442 percpu_ref_reinit")
        yield RefRequest.LOCK
        pointer = yield from self._pointer()
        if not pointer & PERCPU_REF_DEAD:
            yield Warn(f"{_FILE}:469 percpu_ref_resurrect")
        if not pointer & PERCPU_REF_ATOMIC_DEAD:
            yield Warn(f"{_FILE}:470 percpu_ref_resurrect")
        yield from self._set_flags(0, clear=PERCPU_REF_DEAD)
        yield from self.get(cpu)
        yield from self._switch_mode(cpu, confirms=False)
        yield RefRequest.UNLOCK

    def exit(self) -> RefSteps[int]:
        """Undo `PercpuRefs.init`; return the struct percpu_ref_data that goes with it, 0: none."""
        yield from self._exit_percpu()
        data = self.data
        if not data:
            return 0
        yield RefRequest.LOCK
        count = yield from self._read_count()
        if self.refs.wants_step():
            touched = (percpu_ref(self.number), percpu_ref_count(self.number))
            yield Label("data = NULL", tuple((name, Mode.WRITE) for name in touched))
        self.refs.pointers[self.number] |= count << PERCPU_REF_FLAG_BITS & _ULONG_MASK
        self.data = 0
        yield RefRequest.UNLOCK
        return data

    def switch_to_atomic_rcu(self, cpu: int) -> RefSteps[None]:
        """Sum what the CPUs have counted, when none counts for itself any more."""
        yield from self._pointer()
        per_cpu = self.per_cpu
        if not self.data or per_cpu is None:
            return  # It was exited meanwhile.
        total = 0
        for each in range(self.refs.nr_cpus):
            if self.refs.wants_step():
                touched = ((percpu_count(self.number, each), Mode.READ),)
                yield Label(f"sum the counter of cpu{each}", touched)
            total += per_cpu[each]
        yield from self._add(total - PERCPU_COUNT_BIAS)
        count = yield from self._read_count()
        if signed_count(count) <= 0:
            yield from self._tell_underflow(count)
        if self.is_confirming:
            yield RefRequest.CONFIRM
        if self.refs.wants_step():
            yield Label("confirm_switch = NULL", ((percpu_ref(self.number), Mode.WRITE),))
        self.is_switching = self.is_confirming = False
        yield RefRequest.WAKE_ALL
        if not self.allow_reinit:
            yield from self._exit_percpu()
        yield from self.put(cpu)

    # How it is done.

    def _force(self, cpu: int, *, is_atomic: bool) -> RefSteps[None]:
        yield RefRequest.LOCK
        if not self.data:
            yield NullPointer(_FORCE_ATOMIC)
        self.force_atomic = is_atomic
        yield from self._switch_mode(cpu, confirms=False)
        yield RefRequest.UNLOCK

    def _switch_mode(self, cpu: int, *, confirms: bool) -> RefSteps[None]:
        while True:
            pointer = yield from self._pointer()
            if not self.data:
                yield NullPointer(_CONFIRM_SWITCH)
            if not self.is_switching:
                break
            yield RefRequest.SLEEP
        if self.force_atomic or pointer & PERCPU_REF_DEAD:
            yield from self._to_atomic(cpu, pointer, confirms=confirms)
        else:
            yield from self._to_percpu(pointer)

    def _to_atomic(self, cpu: int, pointer: int, *, confirms: bool) -> RefSteps[None]:
        if pointer & PERCPU_REF_ATOMIC:
            if confirms:
                yield RefRequest.CONFIRM
            return
        yield from self._set_flags(PERCPU_REF_ATOMIC)
        self.is_switching, self.is_confirming = True, confirms
        yield from self.get(cpu)  # dropped after the switch
        if self.refs.rules.percpu_ref_sums_after_grace_period:
            yield RefRequest.CALL_RCU
        else:
            yield from self.switch_to_atomic_rcu(cpu)

    def _to_percpu(self, pointer: int) -> RefSteps[None]:
        if self.per_cpu is None:
            yield Bug(_FILE, 241)
            raise AssertionError("who met a BUG() does not go on")
        if not pointer & PERCPU_REF_ATOMIC:
            return
        if not self.allow_reinit:
            yield Warn(f"{_FILE}:246 __percpu_ref_switch_to_percpu")
            return
        yield from self._add(PERCPU_COUNT_BIAS)
        for each in range(self.refs.nr_cpus):
            if self.refs.wants_step():
                touched = ((percpu_count(self.number, each), Mode.WRITE),)
                yield Label(f"clear the counter of cpu{each}", touched)
            self.per_cpu[each] = 0
        yield from self._set_flags(0, clear=PERCPU_REF_ATOMIC)

    def _exit_percpu(self) -> RefSteps[None]:
        if self.per_cpu is None:
            return
        if self.data and self.is_switching:
            yield Warn(f"{_FILE}:114 __percpu_ref_exit")
        yield from self._set_flags(PERCPU_REF_ATOMIC_DEAD)
        self.per_cpu = None

    def _tell_underflow(self, count: int) -> RefSteps[None]:
        refs = self.refs
        number = signed_count(count)
        what = f"percpu ref ({self.release}) <= 0 ({number}) after switching to atomic"
        yield Warn(f"{_FILE}:197 percpu_ref_switch_to_atomic_rcu", (what,))
        refs.nr_underflows += 1
        if refs.nr_underflows <= _NR_UNDERFLOWS_TOLD:
            name = "percpu_ref_switch_to_atomic_rcu"
            yield PrintkError(f"{name}: {name}(): percpu_ref underflow")

    def _pointer(self) -> RefSteps[int]:
        """Read the word with the flags."""
        if self.refs.wants_step():
            yield Label("read percpu_count_ptr", ((percpu_ref(self.number), Mode.READ),))
        return self.refs.pointers[self.number]

    def _counters_if_percpu(self) -> RefSteps[Words | None]:
        """Return the CPUs' counters, None: all change one word (__ref_is_percpu)."""
        pointer = yield from self._pointer()
        return None if pointer & PERCPU_REF_ATOMIC_DEAD else self.per_cpu

    def _set_flags(self, flags: int, *, clear: int = 0) -> RefSteps[None]:
        if self.refs.wants_step():
            yield Label("write percpu_count_ptr", ((percpu_ref(self.number), Mode.WRITE),))
        pointers, number = self.refs.pointers, self.number
        pointers[number] = pointers[number] & ~clear | flags

    def _add_on(self, cpu: int, per_cpu: Words, delta: int) -> RefSteps[None]:
        """Add to the counter of a CPU (this_cpu_add), whether or not it still counts."""
        if self.refs.wants_step():
            touched = ((percpu_count(self.number, cpu), Mode.ADD),)
            yield Label("this_cpu_add" if delta > 0 else "this_cpu_sub", touched)
        per_cpu[cpu] = (per_cpu[cpu] + delta) & _ULONG_MASK

    def _add(self, delta: int) -> RefSteps[int]:
        """Add to the atomic word; return what it is then."""
        yield from self._turn_on_count("atomic_long_add" if delta > 0 else "atomic_long_sub")
        counts, number = self.refs.counts, self.number
        count = counts[number] = (counts[number] + delta) & _ULONG_MASK
        return count

    def _add_unless_0(self) -> RefSteps[bool]:
        yield from self._turn_on_count("atomic_long_add_unless")
        counts, number = self.refs.counts, self.number
        count = counts[number]
        if count:
            counts[number] = (count + 1) & _ULONG_MASK
        return count != 0

    def _read_count(self) -> RefSteps[int]:
        yield from self._turn_on_count("atomic_long_read", Mode.READ)
        return self.refs.counts[self.number]

    def _turn_on_count(self, text: str, mode: Mode = Mode.WRITE) -> RefSteps[None]:
        if self.refs.wants_step():
            yield Label(text, ((percpu_ref_count(self.number), mode),))
        if not self.data:
            yield NullPointer(_COUNT)

    def _is_zero(self) -> RefSteps[bool]:
        pointer = yield from self._pointer()
        if not pointer & PERCPU_REF_ATOMIC_DEAD:
            return False
        yield RefRequest.LOCK
        if self.data:
            count = yield from self._read_count()
        else:
            pointer = yield from self._pointer()
            count = pointer >> PERCPU_REF_FLAG_BITS
        yield RefRequest.UNLOCK
        return count == 0
