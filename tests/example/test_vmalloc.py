"""vmalloc on small cases: what is handed out, flushed, freed, and what the kernel says."""

import pytest
from vmallocs import VmallocAlone

from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.vmalloc.kernel_mapping import VMALLOC_START
from mmactors.mm.vmalloc.purge import vm_unmap_aliases
from mmactors.mm.vmalloc.vfree import vfree, vfree_atomic, vunmap
from mmactors.mm.vmalloc.vm_area import free_vm_area, get_vm_area
from mmactors.mm.vmalloc.vm_struct import VM_ALLOC, VM_FLUSH_RESET_PERMS, VM_IOREMAP, VM_NO_GUARD
from mmactors.mm.vmalloc.vmalloc import vmalloc, vmap
from mmactors.mm.vmalloc.vmallocinfo import vmallocinfo
from mmactors.mm.vmalloc.vmap_ram import vm_map_ram, vm_unmap_ram
from mmactors.rules import Rules
from mmactors.units import GIB, MIB, PAGE_SIZE, TIB


def alloc(alone, size, **options):
    return alone.perform(vmalloc(alone.space, alone.this_cpu, size, caller="test", **options))


def free(alone, address):
    alone.perform(vfree(alone.space, alone.this_cpu, address))


def map_ram(alone, nr_pages):
    return alone.perform(vm_map_ram(alone.space, alone.this_cpu, range(-nr_pages, 0)))


def reserve(alone, size, flags=VM_ALLOC):
    return alone.perform(get_vm_area(alone.space, alone.this_cpu, size, flags, caller="test"))


def test_areas_lie_one_after_the_other_with_a_guard_page_between():
    alone = VmallocAlone()

    addresses = [alloc(alone, size) for size in (1, PAGE_SIZE, 3 * PAGE_SIZE, 1)]

    pages = [(address - VMALLOC_START) // PAGE_SIZE for address in addresses]
    assert [0, 2, 4, 8] == pages
    assert 6 == alone.space.nr_vmalloc_pages == len(alone.pages)


def test_an_area_without_guard_page_touches_the_next():
    alone = VmallocAlone()

    first = reserve(alone, PAGE_SIZE, VM_NO_GUARD)

    assert first + PAGE_SIZE == reserve(alone, PAGE_SIZE)


def test_what_was_freed_is_used_again_after_a_purge_only():
    alone = VmallocAlone()
    first = alloc(alone, PAGE_SIZE)
    free(alone, first)

    second = alloc(alone, PAGE_SIZE)
    alone.perform(vm_unmap_aliases(alone.space))

    assert (first + 2 * PAGE_SIZE, first) == (second, alloc(alone, PAGE_SIZE))
    assert [(first, first + 2 * PAGE_SIZE)] == alone.flushed


@pytest.mark.parametrize(("nr_cpus", "nr_mib"), [(1, 32), (2, 64), (3, 64), (4, 96), (8, 128)])
def test_more_cpus_wait_longer_until_a_purge(nr_cpus, nr_mib):
    """fls(CPUs) times 32 MiB may be lazy, and no page more."""
    alone = VmallocAlone(nr_cpus=nr_cpus)
    areas = [reserve(alone, nr_mib * MIB - PAGE_SIZE), reserve(alone, PAGE_SIZE)]

    alone.perform(free_vm_area(alone.space, areas[0]))
    assert [] == alone.waiting
    alone.perform(free_vm_area(alone.space, areas[1]))
    alone.work()

    assert (1, 0) == (len(alone.flushed), alone.space.lazy_nr)


def test_an_array_of_more_than_a_page_is_vmalloced_too():
    alone = VmallocAlone()

    address = alloc(alone, 513 * PAGE_SIZE)

    assert [2, 513] == sorted(vm.nr_pages for vm in alone.space.vm.values())
    assert (
        " vmalloc vpages N0=513"
        in vmallocinfo(alone.space, node_of_page=lambda _pfn: 0, nr_nodes=1)[0]
    )
    free(alone, address)
    assert ({}, set()) == (alone.mapped, alone.pages)


def test_devices_get_areas_aligned_to_their_size_up_to_1_gib():
    alone = VmallocAlone()
    alloc(alone, PAGE_SIZE)

    sizes = (PAGE_SIZE, 3 * PAGE_SIZE, 5 * MIB, 3 * GIB)
    addresses = [reserve(alone, size, VM_IOREMAP) for size in sizes]

    alignments = (PAGE_SIZE, 4 * PAGE_SIZE, 8 * MIB, GIB)
    assert [0] * 4 == [
        address % align for address, align in zip(addresses, alignments, strict=True)
    ]


def test_without_addresses_all_is_purged_once_and_then_the_kernel_says_so():
    alone = VmallocAlone()
    most = reserve(alone, 20 * TIB)

    assert 0 == reserve(alone, 20 * TIB)
    text = "vmap allocation for size {} failed: use vmalloc=<size> to increase size"
    assert [text.format(20 * TIB + PAGE_SIZE)] == alone.log
    alone.perform(free_vm_area(alone.space, most))
    assert most == reserve(alone, 20 * TIB)
    assert 1 == len(alone.flushed)
    alone.assert_laws()


@pytest.mark.parametrize("fails_in", range(9))
def test_a_vmalloc_that_fails_anywhere_leaves_nothing(fails_in):
    """Objects, the array, pages in bulk and one by one, the page table."""
    alone = VmallocAlone()
    alone.fails_in = fails_in

    address = alloc(alone, 2 * PAGE_SIZE)

    # The struct, the vm_struct, one that the CPU has ready, the array, pages, then a page table.
    assert (fails_in >= 6) == (address != 0)
    if not address:
        assert ({}, set(), {}) == (alone.space.vm, alone.pages, alone.mapped)
    alone.assert_laws()


def test_what_the_kernel_says_when_memory_does_not_suffice():
    alone = VmallocAlone(totalram=100)

    assert 0 == alloc(alone, 102 * PAGE_SIZE)
    alone.fails_in = 0
    assert 0 == alloc(alone, PAGE_SIZE)

    assert [
        f"vmalloc error: size {102 * PAGE_SIZE}, exceeds total pages",
        f"vmalloc error: size {PAGE_SIZE}, vm_struct allocation failed",
    ] == alone.log


def test_vmap_of_more_pages_than_there_are_is_refused():
    alone = VmallocAlone(totalram=10)

    assert 0 == alone.perform(vmap(alone.space, alone.this_cpu, range(11), caller="test"))
    assert [] == alone.log


def test_an_interrupt_leaves_vfree_to_a_worker():
    alone = VmallocAlone()
    addresses = [alloc(alone, PAGE_SIZE) for _ in range(2)]
    alone.is_interrupt = True
    for address in addresses:
        free(alone, address)
    alone.is_interrupt = False

    assert (1, 2) == (len(alone.waiting), len(alone.mapped))
    alone.work()
    assert {} == alone.mapped
    alone.perform(vfree_atomic(alone.space, alone.this_cpu, 0))
    assert [] == alone.waiting


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (VMALLOC_START + 1, "Trying to vfree() bad address (ffffc90000000001)"),
        (VMALLOC_START, "Trying to vfree() nonexistent vm area (ffffc90000000000)"),
    ],
)
def test_vfree_of_what_is_no_area_warns_and_goes_on(address, text):
    alone = VmallocAlone()

    free(alone, address)
    alone.perform(vunmap(alone.space, alone.this_cpu, address))

    assert [text, text] == alone.log


def test_small_requests_share_blocks_in_powers_of_two():
    alone = VmallocAlone()

    addresses = [map_ram(alone, nr_pages) for nr_pages in (3, 1, 64, 64, 64, 64)]

    pages = [(address - VMALLOC_START) // PAGE_SIZE for address in addresses]
    assert [0, 4, 5, 69, 133, 256] == pages
    assert [59, 192] == [block.free for block in alone.space.blocks.values()]


def test_each_cpu_has_blocks_of_its_own():
    alone = VmallocAlone(nr_cpus=2)
    first = map_ram(alone, 1)
    alone.cpu = 1

    assert first + MIB == map_ram(alone, 1)
    assert [1, 1] == [len(alone.queued_on(cpu)) for cpu in range(2)]


def test_more_than_64_pages_have_an_area_without_guard_page():
    alone = VmallocAlone()

    address = map_ram(alone, 65)

    assert address + 65 * PAGE_SIZE == map_ram(alone, 65)
    alone.perform(vm_unmap_ram(alone.space, address, 65))
    assert 65 == alone.space.lazy_nr


def test_a_block_goes_when_all_of_it_was_unmapped_or_with_a_purge():
    alone = VmallocAlone()
    whole = [map_ram(alone, 64) for _ in range(4)]
    part = map_ram(alone, 8)
    for address in whole:
        alone.perform(vm_unmap_ram(alone.space, address, 64))
    assert 256 == alone.space.lazy_nr

    alone.perform(vm_unmap_ram(alone.space, part, 8))
    assert 1 == len(alone.space.blocks)
    alone.perform(vm_unmap_aliases(alone.space))

    assert ({}, 0) == (alone.space.blocks, alone.space.lazy_nr)


@pytest.mark.parametrize("sees_full_blocks", [True, False])
def test_aliases_in_a_block_that_is_handed_out_whole_are_flushed(sees_full_blocks):
    """A kernel before v6.5 does not see it: a CPU knows the translation still."""
    rules = Rules(vm_unmap_aliases_sees_full_blocks=sees_full_blocks)
    alone = VmallocAlone(rules=rules)
    addresses = [map_ram(alone, 64) for _ in range(4)]
    alone.perform(vm_unmap_ram(alone.space, addresses[0], 64))

    alone.perform(vm_unmap_aliases(alone.space))

    assert sees_full_blocks == (alone.stale.keys() <= alone.mapped.keys())


@pytest.mark.parametrize(("of_block", "locked"), [(True, [1]), (False, [0])])
def test_a_purge_takes_the_lock_of_the_list_that_the_block_is_on(of_block, locked):
    """Kernels of v6.5 to v6.9 took that of the CPU that the block's address belongs to."""
    alone = VmallocAlone(nr_cpus=2, rules=Rules(purge_locks_queue_of_block=of_block))
    alone.cpu = 1
    address = map_ram(alone, 1)
    alone.perform(vm_unmap_ram(alone.space, address, 1))
    taken = []
    lock_it = alone._lock

    def lock_and_look(key):
        taken.append(key)
        lock_it(key)

    alone._lock = lock_and_look
    alone.perform(vm_unmap_aliases(alone.space))

    assert locked == [lock[1] for lock in taken if lock[0] == "vbq->lock"]


def test_permissions_that_are_reset_flush_all_aliases():
    alone = VmallocAlone()
    address = alloc(alone, PAGE_SIZE, vm_flags=VM_FLUSH_RESET_PERMS)

    free(alone, address)

    assert [(address, address + 2 * PAGE_SIZE)] == alone.flushed


@pytest.mark.parametrize(
    ("address", "nr_pages", "line"),
    [
        (0, 1, "kernel BUG at mm/vmalloc.c:2281!"),
        (PAGE_SIZE, 1, "kernel BUG at mm/vmalloc.c:2282!"),
        (-PAGE_SIZE, 1, "kernel BUG at mm/vmalloc.c:2283!"),
        (VMALLOC_START + 1, 1, "kernel BUG at mm/vmalloc.c:2284!"),
        (VMALLOC_START, 65, "kernel BUG at mm/vmalloc.c:2295!"),
        (VMALLOC_START, 0, "kernel BUG at mm/vmalloc.c:486!"),
        (VMALLOC_START, 1, "BUG: kernel NULL pointer dereference, address: 0000000000000000"),
    ],
)
def test_unmapping_what_is_not_mapped_is_the_end_of_the_kernel(address, nr_pages, line):
    alone = VmallocAlone()

    with pytest.raises(KernelOopsError) as caught:
        alone.perform(vm_unmap_ram(alone.space, address, nr_pages))

    assert line == caught.value.lines[0]


def test_vmallocinfo_lists_areas_by_address_and_what_waits_behind_the_last():
    alone = VmallocAlone()
    gone = alloc(alone, PAGE_SIZE)
    alloc(alone, 2 * PAGE_SIZE)
    alone.perform(vmap(alone.space, alone.this_cpu, [-1], caller="module_init"))
    reserve(alone, PAGE_SIZE, VM_IOREMAP)
    map_ram(alone, 1)
    free(alone, gone)

    lines = vmallocinfo(alone.space, node_of_page=lambda pfn: pfn % 2, nr_nodes=2)

    assert [
        "0xffffc90000002000-0xffffc90000005000   12288 test pages=2 vmalloc N0=1 N1=1",
        "0xffffc90000005000-0xffffc90000007000    8192 module_init vmap",
        "0xffffc90000007000-0xffffc90000009000    8192 test ioremap",
        "0xffffc90000100000-0xffffc90000200000 1048576 vm_map_ram",
        "0xffffc90000000000-0xffffc90000002000    8192 unpurged vm_area",
    ] == lines


def test_nothing_in_use_is_an_empty_vmallocinfo():
    """What waits to be purged is only told behind an area in use, as in 6.1."""
    alone = VmallocAlone()
    free(alone, alloc(alone, PAGE_SIZE))

    assert [] == vmallocinfo(alone.space, node_of_page=int, nr_nodes=1)
