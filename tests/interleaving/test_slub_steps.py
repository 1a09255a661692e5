"""SLUB's paths step by step: all orders of two CPUs, and an interrupt at every step.

The order is tried out by hand, without machine or search: each label is a point where the other
may go on. A lock makes who wants it wait; an interrupt comes where interrupts are on and runs to
its end.
"""

import pytest
from slubs import SlubAlone

from mmactors.label import Label
from mmactors.mm.page_alloc.gfp import GFP_KERNEL
from mmactors.mm.slab.request import ListLock, ListUnlock, LocalLock, LocalUnlock
from mmactors.rules import Rules


class Orders:
    """Tries all ways to answer questions: each run answers the last one anew."""

    def __init__(self):
        self.taken = []
        self.nr_asked = 0
        self.nr_runs = 0

    def choose(self, nr_ways):
        if nr_ways == 1:
            return 0
        if self.nr_asked == len(self.taken):
            self.taken.append([0, nr_ways])
        self.nr_asked += 1
        return self.taken[self.nr_asked - 1][0]

    def again(self):
        self.nr_asked = 0
        self.nr_runs += 1
        while self.taken and self.taken[-1][0] + 1 == self.taken[-1][1]:
            self.taken.pop()
        if not self.taken:
            return False
        self.taken[-1][0] += 1
        return True


class Path:
    """What one CPU, or an interrupt, does: operations one after the other."""

    def __init__(self, kernel, cpu, operations):
        self.kernel = kernel
        self.cpu = cpu
        self.operations = list(operations)
        self.got = []
        self.irqs_off = 0
        self.request = None
        self.answer = None
        self.steps = None

    @property
    def is_done(self):
        return self.steps is None and not self.operations

    @property
    def is_blocked(self):
        return isinstance(self.request, ListLock) and self.kernel.locked is not None

    def go_on(self):
        """Go on to the next label, lock or end."""
        kernel = self.kernel
        if self.steps is None:
            self.steps = self.operation(self.operations.pop(0))
        if isinstance(self.request, ListLock):
            kernel.locked = self
            self.irqs_off += 1
        while True:
            try:
                self.request = self.steps.send(self.answer)
            except StopIteration as done:
                if done.value:
                    self.got.append(done.value)
                self.steps = self.request = self.answer = None
                return
            self.answer = None
            match self.request:
                case Label() | ListLock():
                    return
                case ListUnlock():
                    assert kernel.locked is self
                    kernel.locked = None
                    self.irqs_off -= 1
                case LocalLock():
                    self.irqs_off += 1
                case LocalUnlock():
                    self.irqs_off -= 1
                case _:
                    self.answer = kernel.alone._answer(self.request)

    def this_cpu(self):
        return self.cpu

    def operation(self, operation):
        kernel = self.kernel
        slub, s = kernel.alone.slub, kernel.s
        if operation == "alloc":
            return slub.alloc(s, self.this_cpu, GFP_KERNEL)
        thing = self.got.pop(0) if operation == "free own" else kernel.held.pop(0)
        return slub.free(s, self.this_cpu, kernel.alone.slabs.head_of(thing), thing)


class Kernel:
    def __init__(self, size, prepare, **rules):
        self.alone = SlubAlone(nr_cpus=2, wants_step=True, random=False, rules=Rules(**rules))
        self.alone.locked = None
        self.s = self.alone.create(size)
        self.locked = None
        self.held = []
        prepare(self)

    def check(self, *paths):
        held = [*self.held, *(thing for path in paths for thing in path.got)]
        self.alone.assert_laws(self.s, held)


def one_of_a_full_slab(kernel):
    """CPU 0 has filled a slab and has another; the first object of the full one is free next."""
    kernel.held = [kernel.alone.alloc(kernel.s, 0) for _ in range(kernel.s.layout.objects + 1)]


def two_of_a_slab(kernel):
    """CPU 0 has a slab with two objects in use."""
    kernel.held = [kernel.alone.alloc(kernel.s, 0) for _ in range(2)]


def all_but_one(kernel):
    """CPU 0's slab has one object left."""
    nr_objects = kernel.s.layout.objects - 1
    kernel.held = [kernel.alone.alloc(kernel.s, 0) for _ in range(nr_objects)]


def in_all_orders(prepare, first, second):
    """Try all orders of the steps of two CPUs; return how many there were."""
    orders = Orders()
    going = True
    while going:
        kernel = Kernel(1024, prepare)
        paths = [Path(kernel, 0, first), Path(kernel, 1, second)]
        while any(not path.is_done for path in paths):
            able = [path for path in paths if not path.is_done and not path.is_blocked]
            assert able, "both wait"
            able[orders.choose(len(able))].go_on()
        kernel.check(*paths)
        going = orders.again()
    return orders.nr_runs


PREPARED = [one_of_a_full_slab, two_of_a_slab, all_but_one]


@pytest.mark.parametrize("prepare", PREPARED)
@pytest.mark.parametrize(
    ("first", "second"),
    [(["alloc"], ["free"]), (["free"], ["free"]), (["alloc"], ["alloc"])],
    ids=", ".join,
)
def test_two_cpus_in_any_order_keep_all_objects(prepare, first, second):
    """Whatever the order, an object is in one place, and the counters are right."""
    assert in_all_orders(prepare, first, second) > 10


@pytest.mark.slow
@pytest.mark.parametrize("prepare", PREPARED)
def test_two_cpus_in_any_order_of_more_steps_keep_all_objects(prepare):
    """One allocates and frees, the other frees: what the ordinary suite has, with another call."""
    assert in_all_orders(prepare, ["alloc", "free own"], ["free"]) > 500


def interrupted_once(orders, kernel, path, interrupt):
    """Run a path and, at a step where interrupts are on, an interrupt to its end."""
    is_over = False
    while not path.is_done:
        path.go_on()
        if not is_over and not path.is_done and not path.irqs_off and orders.choose(2):
            is_over = True
            while not interrupt.is_done:
                interrupt.go_on()


def run_with_interrupts(prepare, operations, handler, **rules):
    """Try all moments for an interrupt; return how many there were."""
    orders = Orders()
    going = True
    while going:
        kernel = Kernel(1024, prepare, **rules)
        path, interrupt = Path(kernel, 0, operations), Path(kernel, 0, handler)
        interrupted_once(orders, kernel, path, interrupt)
        kernel.check(path, interrupt)
        going = orders.again()
    return orders.nr_runs


ABA = (["alloc"], ["alloc", "alloc", "free own"])


@pytest.mark.parametrize("prepare", PREPARED)
@pytest.mark.parametrize(
    ("operations", "handler"),
    [ABA, (["free"], ["alloc"]), (["free"], ["alloc", "free own"]), (["alloc"], ["free"])],
    ids=", ".join,
)
def test_an_interrupt_at_any_step_takes_no_object_twice(prepare, operations, handler):
    """The transaction number tells a freelist from another one that begins with the same object."""
    assert run_with_interrupts(prepare, operations, handler) > 3


def test_without_a_transaction_number_an_object_is_handed_out_twice():
    """ABA: the freelist begins with the same object, which another one follows by now."""
    with pytest.raises(AssertionError, match="an object is in two places"):
        run_with_interrupts(two_of_a_slab, *ABA, slub_cmpxchg_compares_tid=False)


def both_have_full_slabs(kernel):
    """Both CPUs have slabs of which nothing is free."""
    s = kernel.s
    kernel.held = [kernel.alone.alloc(s, cpu) for cpu in range(2) for _ in range(s.layout.objects)]


def run_with_moves(prepare, operations, **rules):
    """Let a thread move to the other CPU at each step in turn; return how many steps there were."""
    nr_steps = 0
    for moment in range(20):
        kernel = Kernel(1024, prepare, **rules)
        path = Path(kernel, 0, operations)
        for nth in range(200):
            if path.is_done:
                break
            if nth == moment:
                path.cpu = 1
            path.go_on()
            nr_steps += 1
        assert path.is_done
        kernel.check(path)
    return nr_steps


@pytest.mark.parametrize("prepare", [*PREPARED, both_have_full_slabs])
@pytest.mark.parametrize("operations", [["alloc", "free own", "alloc"], ["free", "alloc"]])
def test_a_thread_that_moves_to_another_cpu_halfway_begins_again(prepare, operations):
    """At each step: what it read of one CPU changes nothing of the other."""
    assert run_with_moves(prepare, operations) > 100


def test_a_transaction_number_of_another_cpu_mixes_two_cpus_lists():
    """Both lists are empty, so nothing else tells one from the other (fixed in v3.9)."""
    with pytest.raises(AssertionError, match="a CPU's list is of two slabs"):
        run_with_moves(both_have_full_slabs, ["free"], slub_reads_tid_of_its_own_cpu=False)
