"""Reference counts with counters of CPUs' against plain numbers: whatever CPUs do, sums agree."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from mmactors.mm.percpu_ref.percpu_ref import (
    PERCPU_COUNT_BIAS,
    PERCPU_REF_ALLOW_REINIT,
    PERCPU_REF_ATOMIC,
    PercpuRefs,
    signed_count,
)
from mmactors.mm.percpu_ref.request import RefRequest, Warn

NR_CPUS = 3
RULES = SimpleNamespace(percpu_ref_sums_after_grace_period=True)
CPUS = st.integers(0, NR_CPUS - 1)
CHANGES = st.lists(st.tuples(st.sampled_from(["get", "tryget", "put"]), CPUS), max_size=20)


class Kernel:
    """Drives paths alone, and lets grace periods end when it is told."""

    def __init__(self, flags=0):
        refs = PercpuRefs(
            NR_CPUS, rules=RULES, share=lambda words, name: words, wants_step=lambda: False
        )
        self.ref = refs.init("R", 4096, flags=flags, release="release")
        self.refs = refs
        self.callbacks = 0
        self.nr_released = self.nr_warned = 0

    def do(self, steps):
        """Drive a path to its end."""
        try:
            while True:
                request = next(steps)
                self.callbacks += request is RefRequest.CALL_RCU
                self.nr_released += request is RefRequest.RELEASE
                self.nr_warned += isinstance(request, Warn)
                assert request is not RefRequest.SLEEP
        except StopIteration as done:
            return done.value

    def end_grace_periods(self):
        while self.callbacks:
            self.callbacks -= 1
            self.do(self.ref.switch_to_atomic_rcu(0))

    @property
    def count(self):
        return signed_count(self.refs.counts[0])


def change(kernel, changes, held):
    """Take and drop references, never one that is not held; return how many are."""
    for verb, cpu in changes:
        if verb == "put" and not held:
            continue
        got = kernel.do(getattr(kernel.ref, verb)(cpu))
        held += {"get": 1, "tryget": got, "put": -1}[verb]
    return held


@given(before=CHANGES, meanwhile=CHANGES, after=CHANGES, cpu=CPUS)
def test_a_count_is_released_once_with_the_last_reference(before, meanwhile, after, cpu):
    """Changes before it is killed, before the sum is made, and after that."""
    kernel = Kernel()
    held = change(kernel, before, 0)
    kernel.do(kernel.ref.kill_and_confirm(cpu, confirms=False))
    held = change(kernel, [each for each in meanwhile if held or each[0] == "put"], held)
    assert 0 == kernel.nr_released
    assert abs(kernel.count) > 1 << 62, "the bias is in it"
    kernel.end_grace_periods()
    assert held == kernel.count
    assert (0, not held) == (kernel.nr_warned, kernel.nr_released)
    if held:
        held = change(kernel, [each for each in after if each[0] != "put"], held)
        for nth in range(held):
            assert 0 == kernel.nr_released, nth
            kernel.do(kernel.ref.put((cpu + nth) % NR_CPUS))
    assert 1 == kernel.nr_released
    assert not kernel.do(kernel.ref.tryget(cpu))


@given(parts=st.lists(st.tuples(CHANGES, CHANGES, CPUS), max_size=5))
def test_a_mode_that_changes_to_and_fro_loses_no_reference(parts):
    """The atomic word has all of them, and the bias while CPUs count for themselves."""
    kernel = Kernel(PERCPU_REF_ALLOW_REINIT)
    held = 0
    for in_percpu_mode, in_atomic_mode, cpu in parts:
        held = change(kernel, in_percpu_mode, held)
        kernel.do(kernel.ref.switch_to_atomic(cpu))
        held = change(kernel, in_atomic_mode, held)
        kernel.end_grace_periods()
        assert 1 + held == kernel.count
        assert kernel.refs.pointers[0] & PERCPU_REF_ATOMIC
        kernel.do(kernel.ref.switch_to_percpu(cpu))
        assert signed_count(1 + held + PERCPU_COUNT_BIAS) == kernel.count
        assert not kernel.refs.pointers[0] & PERCPU_REF_ATOMIC
    assert 0 == kernel.nr_released
