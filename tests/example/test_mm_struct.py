"""The address space's own counters and its snapshots."""

from mmactors.arch.memory import PhysicalMemory
from mmactors.mm.area.anon_vma_chain import anon_vma_prepare, unlink_anon_vmas
from mmactors.mm.area.mm_config import MmConfig
from mmactors.mm.area.mm_struct import (
    MM_ANONPAGES,
    MM_FILEPAGES,
    MM_SHMEMPAGES,
    MM_SWAPENTS,
    MmStruct,
)
from mmactors.mm.page_table.page_table import PageTable
from mmactors.mm.syscall import mman, mmap
from mmactors.mm.syscall.munmap import UnmapRegion, do_munmap
from mmactors.units import MIB, PAGE_SIZE


def test_rss_is_all_but_swap():
    """Resident pages are file, anonymous and shared memory; the peak is kept when asked."""
    mm = new_mm()
    for member, nr_pages in (
        (MM_FILEPAGES, 1),
        (MM_ANONPAGES, 20),
        (MM_SWAPENTS, 300),
        (MM_SHMEMPAGES, 4000),
    ):
        mm.add_mm_counter(member, nr_pages)
    mm.update_hiwater_rss()
    mm.add_mm_counter(MM_ANONPAGES, -20)
    mm.update_hiwater_rss()

    assert (4001, 4021) == (mm.get_mm_rss(), mm.hiwater_rss)


def test_unmapping_keeps_the_peak_size():
    """hiwater_vm is the size before areas went."""
    mm = new_mm()
    address = map_anonymous(mm, MIB)
    finish(do_munmap(mm, start=address, length=MIB // 2))

    assert (256, 128) == (mm.hiwater_vm, mm.total_vm)


def test_a_snapshot_brings_back_areas_and_counters():
    """After restore the same objects have their old values, and the key is the old one."""
    mm = new_mm()
    address = map_anonymous(mm, MIB)
    (vma,) = mm.tree
    snapshot, key = mm.snapshot(), mm.key()
    finish(anon_vma_prepare(mm, vma))
    finish(do_munmap(mm, start=address, length=MIB // 2))
    mm.mm_cpumask = 5
    mm.add_mm_counter(MM_ANONPAGES, 1)
    other_key = mm.key()

    mm.restore(snapshot)

    assert [vma] == list(mm.tree)
    assert (address, None, 256) == (vma.vm_start, vma.anon_vma, mm.total_vm)
    assert mm.find_vma(address) is vma
    assert key == mm.key()
    assert key != other_key


def test_the_key_does_not_know_identities():
    """Two address spaces with the same history have equal keys."""
    spaces = [new_mm(), new_mm()]
    for mm in spaces:
        finish(anon_vma_prepare(mm, mm.find_vma(map_anonymous(mm, MIB))))

    assert spaces[0].key() == spaces[1].key()


def test_user_addresses_end_where_the_tables_do():
    """Half of the address space, less one page, is the user's."""
    assert ((1 << 47) - PAGE_SIZE, (1 << 56) - PAGE_SIZE) == (
        new_mm().task_size,
        new_mm(levels=5).task_size,
    )


def new_mm(*, levels=4):
    table = PageTable(PhysicalMemory(4), pgd_pfn=1, levels=levels)
    return MmStruct(config=MmConfig(), page_table=table)


def map_anonymous(mm, length):
    flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS
    return finish(mmap.do_mmap(mm, address=0, length=length, prot=3, flags=flags))


def finish(steps):
    try:
        while True:
            request = next(steps)
            if isinstance(request, UnmapRegion):
                for vma in request.areas:
                    finish(unlink_anon_vmas(vma))
    except StopIteration as stop:
        return stop.value
