"""Machines take locks in the order that mm/rmap.c of Linux 6.1 documents."""

from attrs import evolve
from machines import run, scenario_of

from mmactors.sanitize.config import SanitizeConfig
from mmactors.units import MIB

PROGRAM = [
    *("thread T1 cpu=1", "thread T2 cpu=2", "mmap Z 64K", "mmap A 1M", "touch A write"),
    *("T1& touch A read", "T2& touch A write", "wait", "mprotect A prot=r", "mprotect A prot=rw"),
    *("fork C", "C: touch A 0..16 write", "touch A 0..16 write", "mremap A len=4M flags=maymove"),
    *("mlock A 0..16", "munlock A 0..16", "madvise A 32..64 FREE", "madvise A 64..96 PAGEOUT"),
    *("T1& touch A 0..64 write", "madvise A 0..64 DONTNEED", "wait", "C: exit", "reap"),
    *("open F /mnt/f create", "ftruncate F 1M", "mmap B 1M flags=shared file=F"),
    *("touch B 0..32 write", "T1: touch B 0..32 read", "fsync F", "madvise B 0..4 REMOVE"),
    *("write F 0 64K bs=4K from=A", "read F 0 64K bs=4K", "ftruncate F 8K", "msync B"),
    *("munmap B", "close F", "pin A 0..4 as=D", "fork C2", "C2: touch A 0..4 write", "dma D write"),
    *("unpin D", "memwrite A 0..4", "munmap A", "churn 20 64K touch"),
]
"""A little of everything that programs do to memory."""

ORDER = [
    ["&sb->s_type->i_mutex_key"],
    ["&mm->mmap_lock"],
    ["&mm->mmap_lock/1"],
    ["PG_locked"],
    ["&mapping->i_mmap_rwsem"],
    ["&anon_vma->rwsem"],
    ["&mm->page_table_lock", "ptlock_ptr(page)"],
    ["ptlock_ptr(page)/1"],
    ["IPI"],
    ["&zone->lock"],
]
"""From the outside in: "Lock ordering in mm" of mm/rmap.c; nested locks of a class after it; an IPI
is waited for under all of these but zone->lock, which is taken with interrupts off."""


def test_locks_are_taken_in_the_order_that_the_kernel_documents():
    """lockdep finds nothing, and every order that it saw goes inwards."""
    scenario = scenario_of(PROGRAM, cpus=3, size=128 * MIB, policy="seeded")
    ran = run(evolve(scenario, sanitize=SanitizeConfig(lockdep=True)))
    rank = {name: at for at, names in enumerate(ORDER) for name in names}
    orders = set(ran.machine.lock_orders())

    assert () == ran.machine.findings()
    assert dict.fromkeys(ran.results(), 0) == {
        call: min(ret, 0) for call, ret in ran.results().items()
    }
    assert [] == [(outer, inner) for outer, inner in orders if rank[outer] >= rank[inner]]
    assert len(orders) > 25, orders
