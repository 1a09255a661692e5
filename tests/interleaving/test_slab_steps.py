"""SLAB's paths step by step: all orders of two CPUs, and an interrupt wherever one may come.

The order is tried out by hand, without machine or search: each label is a point where the other
may go on. A lock makes who wants it wait; an interrupt comes where interrupts are on, which is
while pages are waited for, and runs to its end.
"""

import pytest
from slabs import SlabAlone

from mmactors.label import Label
from mmactors.mm.page_alloc.gfp import GFP_DIRECT_RECLAIM, GFP_KERNEL, GFP_NOWAIT
from mmactors.mm.slab.request import (
    AlienLock,
    AlienUnlock,
    AllocSlabPages,
    ListLock,
    ListUnlock,
    LocalLock,
    LocalUnlock,
)
from mmactors.mm.slab.slab.reap import reap_cache
from mmactors.mm.slab.slab.struct_slab import TOUCHED

LATE = 1 << 20
"""Jiffies at which each node is due."""


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


def lock_of(request):
    """Return what a request takes or gives back; None: no lock."""
    match request:
        case ListLock(cache=cache, node=node) | ListUnlock(cache=cache, node=node):
            return cache, node
        case AlienLock() | AlienUnlock():
            return request.cache, request.node, request.alien
        case _:
            return None


class Path:
    """What one CPU, or an interrupt, does: operations one after the other."""

    def __init__(self, kernel, cpu, operations, gfp=GFP_KERNEL):
        self.kernel = kernel
        self.cpu = cpu
        self.gfp = gfp
        self.operations = list(operations)
        self.got = []
        self.irqs_off = 0
        self.request = None
        self.steps = None

    @property
    def is_done(self):
        return self.steps is None and not self.operations

    @property
    def is_blocked(self):
        return self.wanted in self.kernel.locked

    @property
    def wanted(self):
        return lock_of(self.request) if isinstance(self.request, ListLock | AlienLock) else None

    def go_on(self):
        """Go on to the next label, lock, wait for pages, or end."""
        kernel = self.kernel
        if self.steps is None:
            self.steps = self.operation(self.operations.pop(0))
        answer = None
        match self.request:
            case ListLock() | AlienLock():
                kernel.locked.add(lock_of(self.request))
            case AllocSlabPages():
                kernel.alone.cpu = self.cpu
                answer = kernel.alone._alloc_pages(self.request)
        while True:
            try:
                self.request = self.steps.send(answer)
            except StopIteration as done:
                if done.value:
                    self.got.append(done.value)
                self.steps = self.request = None
                return
            answer = None
            match self.request:
                case Label() | ListLock() | AlienLock() | AllocSlabPages():
                    return
                case ListUnlock() | AlienUnlock():
                    kernel.locked.remove(lock_of(self.request))
                case LocalLock():
                    self.irqs_off += 1
                case LocalUnlock():
                    self.irqs_off -= 1
                case _:
                    answer = kernel.alone._answer(self.request)

    def this_cpu(self):
        return self.cpu

    def operation(self, operation):
        kernel = self.kernel
        slab, s = kernel.alone.slab, kernel.s
        match operation:
            case "alloc":
                return slab.alloc(s, self.this_cpu, self.gfp)
            case "reap":
                return reap_cache(
                    s, self.this_cpu, reap_node=kernel.alone.slabs.nr_nodes - 1, jiffies=LATE
                )
        thing = kernel.held.pop(0)
        return slab.free(s, self.this_cpu, kernel.alone.slabs.head_of(thing), thing)


class Kernel:
    def __init__(self, prepare, *, nr_nodes=1):
        self.alone = SlabAlone(nr_cpus=2, nr_nodes=nr_nodes, wants_step=True)
        self.s = self.alone.create(4096)
        self.locked = set()
        self.held = []
        prepare(self)

    def check(self, *paths):
        held = [*self.held, *(thing for path in paths for thing in path.got)]
        self.alone.assert_laws(self.s, held)
        assert not self.locked
        assert not any(path.irqs_off for path in paths)


def nothing(_kernel):
    """No CPU has anything."""


def two_in_use(kernel):
    """CPU 0 has allocated two objects; its array is empty."""
    kernel.held = [kernel.alone.alloc(kernel.s, 0) for _ in range(2)]


def full_arrays(kernel):
    """Both arrays are full, and so is the shared one but for one place."""
    alone, s = kernel.alone, kernel.s
    things = [alone.alloc(s, 0) for _ in range(24 * 2 + 8 * 12 + 4)]
    kernel.held = [things.pop(), things.pop(), things.pop(), things.pop(), things.pop()]
    for thing in things:
        alone.free(s, thing, 0)
    for _ in range(24):
        alone.free(s, alone.alloc(s, 0), 1)


def unused_arrays(kernel):
    """CPU 0 has objects that it has not used since the reaper came last."""
    two_in_use(kernel)
    alone, s = kernel.alone, kernel.s
    for thing in [alone.alloc(s, 0) for _ in range(3)]:
        alone.free(s, thing, 0)
    alone.slabs.view[s.cpu_cache(0) + TOUCHED] = 0


def in_all_orders(prepare, first, second, **options):
    """Try all orders of the steps of two CPUs; return how many there were."""
    orders = Orders()
    going = True
    while going:
        kernel = Kernel(prepare, **options)
        paths = [Path(kernel, 0, first), Path(kernel, 1, second)]
        while any(not path.is_done for path in paths):
            able = [path for path in paths if not path.is_done and not path.is_blocked]
            assert able, "both wait"
            able[orders.choose(len(able))].go_on()
        kernel.check(*paths)
        going = orders.again()
    return orders.nr_runs


PAIRS = [
    (["alloc"], ["alloc"]),
    (["alloc"], ["free"]),
    (["free"], ["free"]),
    (["free", "free"], ["alloc"]),
]


@pytest.mark.parametrize("prepare", [two_in_use, full_arrays])
@pytest.mark.parametrize(("first", "second"), PAIRS, ids=", ".join)
def test_two_cpus_in_any_order_keep_all_objects(prepare, first, second):
    """Whatever the order, an object is in one place, and the counters are right."""
    assert in_all_orders(prepare, first, second) > 5


@pytest.mark.parametrize("prepare", [two_in_use, full_arrays])
@pytest.mark.parametrize("first", ["alloc", "free"])
def test_two_nodes_in_any_order_keep_all_objects(prepare, first):
    """CPU 1 frees an object of node 0 while CPU 0 allocates or frees one."""
    assert in_all_orders(prepare, [first], ["free"], nr_nodes=2) > 5


@pytest.mark.parametrize("nr_nodes", [1, 2])
def test_the_reaper_in_any_order_with_another_cpu_keeps_all_objects(nr_nodes):
    """It gives back what the other is about to join."""
    assert in_all_orders(unused_arrays, ["reap"], ["free"], nr_nodes=nr_nodes) > 10


@pytest.mark.slow
def test_the_reaper_in_any_order_with_who_allocates_keeps_all_objects():
    """It gives back what the other takes, or does not."""
    assert in_all_orders(unused_arrays, ["reap"], ["alloc"]) > 100


def only_with_reclaim(request):
    """Let pages be had only where the caller waits for them."""
    return not request.gfp & GFP_DIRECT_RECLAIM


@pytest.mark.parametrize("prepare", [nothing, two_in_use])
def test_an_interrupt_may_come_while_pages_are_waited_for_and_only_then(prepare):
    """It finds no object and no page, and leaves none behind."""
    kernel = Kernel(prepare)
    kernel.alone.fails = only_with_reclaim
    path = Path(kernel, 0, ["alloc"])
    interrupt = Path(kernel, 0, ["alloc"], gfp=GFP_NOWAIT)
    nr_interrupts = 0
    while not path.is_done:
        path.go_on()
        if not path.irqs_off and not path.is_done:
            nr_interrupts += 1
            while not interrupt.is_done:
                interrupt.go_on()
    kernel.check(path, interrupt)

    assert nr_interrupts == 1
    assert (1, 0) == (len(path.got), len(interrupt.got))


def test_a_thread_that_moves_while_pages_are_waited_for_takes_its_object_all_the_same():
    """Out of the new slab, which is its node's."""
    kernel = Kernel(nothing)
    kernel.alone.fails = only_with_reclaim
    path = Path(kernel, 0, ["alloc"])
    while not path.is_done:
        path.go_on()
        if not path.irqs_off and not path.is_done:
            path.cpu = 1
    kernel.check(path)

    assert (1, 1) == (path.cpu, len(path.got))
