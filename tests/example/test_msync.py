"""msync: its flags, its errors, what it asks to be written, and when it wants mmap_lock again."""

import errno

import pytest

from mmactors.arch.memory import PhysicalMemory
from mmactors.mm.area.mapped_file import MappedFile, Mapping, shmem_zero_file
from mmactors.mm.area.mm_config import MmConfig
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import VM_LOCKED, VM_SHARED
from mmactors.mm.area.vma import Vma
from mmactors.mm.page_table.page_table import PageTable
from mmactors.mm.syscall.mman import MS_ASYNC, MS_INVALIDATE, MS_SYNC
from mmactors.mm.syscall.msync import LockForReading, SyncFileRange, do_msync
from mmactors.units import PAGE_SIZE

PLACE = 0x70_0000_0000


@pytest.fixture
def mm():
    """Return a process: pages 0-3 and 6-7 are a shared file, 4 is its own; 8 is locked."""
    mm = MmStruct(config=MmConfig(), page_table=PageTable(PhysicalMemory(4), pgd_pfn=1, levels=4))
    mapping = Mapping(dev=(8, 1), inode=1, size_bytes=16 * PAGE_SIZE)
    file = MappedFile(mapping=mapping, path="/mnt/f")
    memory = shmem_zero_file(PAGE_SIZE, is_noreserve=False)
    for first, count, flags, pgoff, mapped in (
        (0, 4, VM_SHARED, 2, file),
        (4, 1, 0, 0, file),
        (6, 2, VM_SHARED, 0, file),
        (8, 1, VM_SHARED | VM_LOCKED, 0, memory),
    ):
        start = PLACE + first * PAGE_SIZE
        end = start + count * PAGE_SIZE
        vma = Vma(vm_start=start, vm_end=end, vm_flags=flags, vm_pgoff=pgoff, vm_file=mapped)
        mm.insert_vm_struct(vma)
    return mm


def sync(mm, first, count, flags, error=0):
    """Return the result, and what was asked for: pages of the file to write, or `lock`."""
    steps = do_msync(mm, start=PLACE + first * PAGE_SIZE, length=count * PAGE_SIZE, flags=flags)
    asked = []
    answer = None
    while True:
        try:
            request = steps.send(answer)
        except StopIteration as done:
            return done.value, asked
        answer = None
        match request:
            case SyncFileRange(offset=offset, length=length):
                asked.append((offset // PAGE_SIZE, length // PAGE_SIZE))
                answer = error
            case LockForReading():
                asked.append("lock")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (0, 0),
        (MS_ASYNC, 0),
        (MS_SYNC, 0),
        (MS_INVALIDATE, 0),
        (MS_ASYNC | MS_INVALIDATE, 0),
        (MS_SYNC | MS_INVALIDATE, 0),
        (MS_SYNC | MS_ASYNC, -errno.EINVAL),
        (MS_SYNC | MS_ASYNC | MS_INVALIDATE, -errno.EINVAL),
        (8, -errno.EINVAL),
        (MS_SYNC | 16, -errno.EINVAL),
    ],
)
def test_only_ms_sync_writes(mm, flags, expected):
    """The others look at areas; both kinds at once, or others, are refused."""
    result, asked = sync(mm, 1, 2, flags)

    assert expected == result
    assert ([(3, 2)] if not expected and flags & MS_SYNC else []) == asked


def test_a_call_that_is_done_does_not_take_mmap_lock_again(mm):
    """Behind the last area that was written it ends without the lock."""
    assert (0, [(2, 4)]) == sync(mm, 0, 4, MS_SYNC)
    assert (0, [(2, 4), "lock"]) == sync(mm, 0, 5, MS_SYNC)


def test_gaps_are_passed_over_and_reported(mm):
    """ENOMEM at the end, when all areas behind were written; behind the last area at once."""
    assert (-errno.ENOMEM, [(3, 3), "lock", (0, 2)]) == sync(mm, 1, 7, MS_SYNC)
    assert (-errno.ENOMEM, [(1, 1), "lock", (0, 1), "lock"]) == sync(mm, 7, 5, MS_SYNC)
    assert (-errno.ENOMEM, []) == sync(mm, 12, 2, MS_SYNC)


def test_ms_async_alone_ends_at_a_gap(mm):
    """It would only report the gap; with MS_INVALIDATE it goes on to what is locked."""
    assert (-errno.ENOMEM, []) == sync(mm, 4, 5, MS_ASYNC)
    assert (-errno.EBUSY, []) == sync(mm, 4, 5, MS_ASYNC | MS_INVALIDATE)
    assert (-errno.ENOMEM, []) == sync(mm, 4, 5, 0)


def test_locked_memory_is_not_invalidated(mm):
    """EBUSY, when what lies before was written."""
    assert (-errno.EBUSY, [(0, 2), "lock"]) == sync(mm, 6, 3, MS_SYNC | MS_INVALIDATE)
    assert (0, [(0, 2), "lock", (0, 1)]) == sync(mm, 6, 3, MS_SYNC)


def test_what_cannot_be_written_ends_the_call(mm):
    """The error of the first file is the call's, and mmap_lock is not taken again."""
    assert (-errno.EIO, [(2, 4)]) == sync(mm, 0, 8, MS_SYNC, error=-errno.EIO)


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(PLACE + 1, PAGE_SIZE, -errno.EINVAL), (PLACE, 0, 0), (PLACE + (1 << 30), 0, 0)],
)
def test_a_range_has_to_begin_with_a_page(mm, start, length, expected):
    """No length is no work, wherever it is."""
    steps = do_msync(mm, start=start, length=length, flags=MS_SYNC)
    with pytest.raises(StopIteration) as ended:
        next(steps)

    assert expected == ended.value.value
