"""vmalloc under any sequence of calls: addresses are somewhere once, failures leave nothing."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from vmallocs import VmallocAlone

from mmactors.mm.vmalloc.area_tree import END, START
from mmactors.mm.vmalloc.purge import vm_unmap_aliases
from mmactors.mm.vmalloc.space import FREE, VMALLOC_FIRST, VMALLOC_LAST, page_of
from mmactors.mm.vmalloc.vfree import vfree, vunmap
from mmactors.mm.vmalloc.vm_area import free_vm_area, get_vm_area
from mmactors.mm.vmalloc.vm_struct import VM_ALLOC, VM_IOREMAP
from mmactors.mm.vmalloc.vmalloc import vmalloc, vmap
from mmactors.mm.vmalloc.vmap_ram import vm_map_ram, vm_unmap_ram
from mmactors.units import PAGE_SHIFT, TIB

CPUS = 2
NESTED = 600
"""Pages of which the array has pages of its own."""
SIZES = st.one_of(st.integers(1, 40), st.sampled_from([NESTED]))


class Areas(RuleBasedStateMachine):
    """Two CPUs, all kinds of requests, memory that ends at any allocation."""

    def __init__(self):
        super().__init__()
        self.alone = VmallocAlone(nr_cpus=CPUS)
        self.space = self.alone.space
        self.held = []
        """What was handed out: how it is given back."""

    def ask(self, steps, give_back, *, lowest_of=None, fits=1):
        """Do a request; what it gives is kept, what fails leaves nothing.

        It fails only without memory, or if no area of `fits` pages is free.
        """
        alone = self.alone
        before = self.seen()
        expected = None if lowest_of is None else self.lowest(lowest_of)
        is_lazy = self.space.lazy_nr > 0
        address = alone.perform(steps)
        if not address:
            assert alone.has_failed or self.lowest(fits) is None
            assert before == self.seen()
            return
        if expected is not None and not is_lazy:
            assert expected == page_of(address)
        self.held.append((address, give_back))

    def seen(self):
        """Return what nobody may have more of after a failure."""
        alone = self.alone
        return (dict(alone.mapped), set(alone.pages), set(self.space.vm), len(self.held))

    def lowest(self, nr_pages):
        """Return the lowest free page from which so many are free, None: none."""
        view = self.space.view
        for area in self.space.areas_of(FREE):
            first = max(view[area + START], VMALLOC_FIRST)
            if first + nr_pages <= min(view[area + END], VMALLOC_LAST):
                return first
        return None

    @rule(cpu=st.integers(0, CPUS - 1), wants_step=st.booleans())
    def move(self, cpu, wants_step):
        self.alone.cpu, self.alone.wants_step = cpu, wants_step

    @rule(nr_pages=SIZES, less=st.integers(0, 4095))
    def vmalloc(self, nr_pages, less):
        steps = vmalloc(
            self.space, self.alone.this_cpu, (nr_pages << PAGE_SHIFT) - less, caller="test"
        )
        self.ask(steps, (vfree, 0), lowest_of=nr_pages + 1 if nr_pages <= 512 else None)

    @rule(nr_pages=st.integers(1, 20), shift=st.integers(13, 24))
    def vmalloc_aligned(self, nr_pages, shift):
        steps = vmalloc(
            self.space,
            self.alone.this_cpu,
            nr_pages << PAGE_SHIFT,
            align=1 << shift,
            caller="test",
        )
        nr_held = len(self.held)
        self.ask(steps, (vfree, 0))
        assert all(address % (1 << shift) == 0 for address, _ in self.held[nr_held:])

    @rule(nr_pages=st.integers(1, 30))
    def vmap(self, nr_pages):
        pfns = range(-nr_pages, 0)
        self.ask(
            vmap(self.space, self.alone.this_cpu, pfns, caller="test"),
            (vunmap, 0),
            lowest_of=nr_pages + 1,
        )

    @rule(nr_pages=st.sampled_from([1, 2, 3, 7, 16, 30, 60, 64, 65, 130]))
    def vm_map_ram(self, nr_pages):
        pfns = range(-nr_pages, 0)
        self.ask(vm_map_ram(self.space, self.alone.this_cpu, pfns), (vm_unmap_ram, nr_pages))

    @rule(nr_pages=st.integers(1, 9000), is_device=st.booleans())
    def get_vm_area(self, nr_pages, is_device):
        flags = VM_IOREMAP if is_device else VM_ALLOC
        nr_bytes = nr_pages << PAGE_SHIFT
        self.ask(
            get_vm_area(self.space, self.alone.this_cpu, nr_bytes, flags, caller="test"),
            (free_vm_area, nr_bytes),
            lowest_of=None if is_device else nr_pages + 1,
        )

    @rule()
    def get_most_of_all_addresses(self):
        steps = get_vm_area(self.space, self.alone.this_cpu, 20 * TIB, VM_ALLOC, caller="test")
        self.ask(steps, (free_vm_area, 20 * TIB), fits=page_of(20 * TIB) + 1)

    @rule(data=st.data())
    @precondition(lambda self: self.held)
    def give_back(self, data):
        self.free(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    def free(self, held):
        address, (how, size) = held
        space, alone = self.space, self.alone
        if how in (vfree, vunmap):
            alone.perform(how(space, alone.this_cpu, address))
        elif how is free_vm_area:
            alone.perform(how(space, address))
        else:
            alone.perform(how(space, address, size))

    @rule()
    def vm_unmap_aliases(self):
        """No CPU knows a translation of what is not mapped, whatever blocks are full."""
        self.alone.perform(vm_unmap_aliases(self.space))

        assert self.alone.stale.keys() <= self.alone.mapped.keys()

    @rule()
    def let_workers_work(self):
        self.alone.work()

    @rule()
    def grace_period(self):
        self.alone.grace_period()

    @rule(fails_in=st.integers(0, 12))
    def let_memory_end_soon(self, fails_in):
        self.alone.fails_in = fails_in

    @rule()
    def let_there_be_memory(self):
        self.alone.fails_in, self.alone.has_failed = None, False

    @invariant()
    def nothing_is_lost_or_twice(self):
        self.alone.assert_laws()

    def teardown(self):
        alone = self.alone
        alone.fails_in = None
        for held in self.held:
            self.free(held)
        alone.work()
        alone.perform(vm_unmap_aliases(self.space))
        alone.grace_period()
        alone.assert_laws()
        assert ([], {}, set()) == ([*self.space.vm], alone.mapped, alone.pages)
        assert 1 == len(list(self.space.areas_of(FREE)))
        # Nodes that were made before one that could not be had stay, and have no blocks.
        assert {} == self.space.blocks
        assert len(alone.things) <= CPUS + 1 + len(self.space.block_nodes.nodes)


TestAreas = Areas.TestCase
TestAreas.settings = settings(max_examples=60, stateful_step_count=40)
