"""The whole text of lockdep's reports: sections and words are the kernel's."""

import os
import re
from pathlib import Path

import pytest
from engines import cpu_of, engine_of, run, thread

from mmactors.engine.ipi import call_on
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.engine.lock.rwsem import RwSem
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.sanitize.lockdep import Lockdep

GOLDEN = Path(__file__).parent


def circular(engine, cpus):
    """Two semaphores in two orders, one of them through a third."""
    mmap_lock = RwSem(engine, LockClass("&mm->mmap_lock"), name="mmap_lock[1]")
    i_rwsem = RwSem(engine, LockClass("&sb->s_type->i_mutex_key"), name="i_rwsem[12]")
    page = RwSem(engine, LockClass("PG_locked"), name="page_lock[0x5]")

    async def madvise():
        engine.current.doing = "madvise A REMOVE"
        async with mmap_lock.write(), page.write():
            pass
        async with page.write(), i_rwsem.write():
            pass

    async def write():
        engine.current.doing = "write F 0 4K bs=4K from=B"
        async with i_rwsem.write(), mmap_lock.read():
            pass

    return madvise(), write()


def ipi(engine, cpus):
    """A flush under a lock that another CPU wants with interrupts off."""
    page_table_lock = Spinlock(engine, LockClass("&mm->page_table_lock"), name="page_table_lock[1]")
    pgd_lock = Spinlock(engine, LockClass("pgd_lock"), name="pgd_lock")

    async def flush(cpu):
        await engine.spend(1)

    async def fork():
        async with page_table_lock:
            await call_on(cpus[0], [cpus[1]], flush, vector="TLB", latency_ns=10)

    async def vmalloc_sync_all():
        async with pgd_lock.irqsave(), page_table_lock:
            pass

    return fork(), vmalloc_sync_all()


def irq_inversion(engine, cpus):
    """A handler's lock leads to one that the handler may interrupt."""
    safe = Spinlock(engine, LockClass("&q->lock"), name="q 1")
    unsafe = Spinlock(engine, LockClass("&zone->lock"), name="zone 1")

    async def handler(cpu):
        async with safe:
            pass

    async def calls():
        async with unsafe:
            pass
        await call_on(cpus[0], [cpus[1]], handler, vector="CAL", latency_ns=10)

    async def orders():
        async with safe.irqsave(), unsafe:
            pass

    return calls(), orders()


@pytest.mark.parametrize("build", [circular, ipi, irq_inversion])
def test_a_report_reads_as_it_did(build):
    """Line numbers aside. MMACTORS_RENEW_GOLDEN=1 writes the files anew."""
    engine = engine_of()
    lockdep = engine.lock_observer = Lockdep(engine)
    cpus = [cpu_of(engine, index) for index in range(2)]
    for cpu, coro in zip(cpus, build(engine, cpus), strict=True):
        thread(cpu, f"t{cpu.index}", coro, at_ns=1000 * cpu.index)
    run(engine)
    (finding,) = lockdep.findings
    text = re.sub(r"\.py:\d+\)", ".py:N)", str(finding)) + "\n"
    golden = GOLDEN / f"lockdep-{build.__name__}.txt"
    if os.environ.get("MMACTORS_RENEW_GOLDEN"):
        golden.write_text(text)

    assert golden.read_text() == text
