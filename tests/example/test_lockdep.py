"""lockdep: possible deadlocks are reported from runs in which none happened."""

import pytest
from engines import cpu_of, engine_of, run, spawn, thread

from mmactors.engine.ipi import call_on
from mmactors.engine.lock.lock_observer import SINGLE_DEPTH_NESTING, Nesting
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.engine.lock.rcu import Rcu
from mmactors.engine.lock.rwsem import RwSem
from mmactors.engine.lock.seqcount import SeqCount
from mmactors.engine.lock.spinlock import Mutex, Spinlock
from mmactors.engine.mailbox import Mailbox
from mmactors.sanitize.law import Law
from mmactors.sanitize.lockdep import Lockdep

MMAP_LOCK = LockClass("&mm->mmap_lock")
I_RWSEM = LockClass("&sb->s_type->i_mutex_key")
PTL = LockClass("ptlock_ptr(page)")
PGD_LOCK = LockClass("pgd_lock")


class Watched:
    """An exact engine with CPUs, and a lockdep that watches it."""

    def __init__(self, nr_cpus=2):
        self.engine = engine_of()
        self.lockdep = Lockdep(self.engine)
        self.engine.lock_observer = self.lockdep
        self.cpus = [cpu_of(self.engine, index) for index in range(nr_cpus)]

    def lock(self, kind, lock_class, name="1"):
        """Return a lock of a class."""
        return kind(self.engine, lock_class, name=f"{lock_class.name} {name}")

    def run(self, *coros):
        """Run each on its own CPU, one after the other has ended."""
        for index, coro in enumerate(coros):
            thread(self.cpus[index], f"t{index}", coro, at_ns=10_000 * index)
        run(self.engine)

    def found(self):
        """Return what was found, one line each."""
        return [finding.what for finding in self.lockdep.findings]


async def nothing(cpu):
    """Handle an IPI."""
    await cpu.engine.spend(1)


async def hold(*locks):
    """Take locks one after the other, and give them back."""
    if locks:
        async with locks[0]:
            await hold(*locks[1:])


def test_two_orders_of_two_locks_are_a_possible_deadlock():
    """A and B ran one after the other; that they would deadlock together is seen anyway (C16)."""
    world = Watched()
    mmap_lock = world.lock(RwSem, MMAP_LOCK)
    i_rwsem = world.lock(RwSem, I_RWSEM)

    async def madvise_remove():
        async with mmap_lock.write(), i_rwsem.write():
            pass

    async def write():
        async with i_rwsem.write(), mmap_lock.read():
            pass

    world.run(madvise_remove(), write())
    (finding,) = world.lockdep.findings
    lines = str(finding).splitlines()

    assert Law.LOCK_ORDER == finding.law
    assert (
        "possible circular locking dependency detected: &sb->s_type->i_mutex_key -> "
        "&mm->mmap_lock -> &sb->s_type->i_mutex_key"
    ) == finding.what
    assert "WARNING: possible circular locking dependency detected" == lines[1]
    at = lines.index(" Possible unsafe locking scenario:")
    assert [
        "       CPU0                    CPU1",
        "       ----                    ----",
        "  lock(&mm->mmap_lock);",
        "                               lock(&sb->s_type->i_mutex_key);",
        "  lock(&sb->s_type->i_mutex_key);",
        "                               lock(&mm->mmap_lock);",
        "",
        " *** DEADLOCK ***",
    ] == lines[at + 2 : at + 10]


def test_a_report_names_both_sides_with_what_they_did_and_where():
    """Each order of the cycle has its actor, time, operation and functions."""
    world = Watched()
    first = world.lock(Mutex, LockClass("first"))
    second = world.lock(Mutex, LockClass("second"))

    async def opens():
        world.engine.current.doing = "madvise A remove"
        await hold(first, second)

    async def closes():
        world.engine.current.doing = "write F"
        await hold(second, first)

    world.run(opens(), closes())
    report = str(world.lockdep.findings[0])

    assert "by cpu0/t0 at t=0 ns, doing `madvise A remove`, interrupts on" in report
    assert "by cpu1/t1 at t=10000 ns, doing `write F`, interrupts on" in report
    assert "test_a_report_names_both_sides_with_what_they_did_and_where.opens (test_lockdep" in (
        report
    )
    assert "first 1 (first){+.+.}-{3:3}, at: hold (test_lockdep.py:" in report


def test_each_possible_deadlock_is_reported_once():
    """Repeating either order says nothing new."""
    world = Watched()
    first = world.lock(Mutex, LockClass("first"))
    second = world.lock(Mutex, LockClass("second"))

    async def often(*locks):
        for _ in range(3):
            await hold(*locks)

    world.run(often(first, second), often(second, first))

    assert 1 == len(world.found())


def test_a_cycle_may_go_through_any_number_of_locks():
    """Each of three orders is harmless; all three together are not."""
    world = Watched(nr_cpus=3)
    a, b, c = (world.lock(Spinlock, LockClass(name)) for name in "abc")
    world.run(hold(a, b), hold(b, c), hold(c, a))

    assert ["possible circular locking dependency detected: c -> a -> b -> c"] == world.found()
    assert "Chain exists of:\n  c --> a --> b --> c\n" in str(world.lockdep.findings[0])


def test_a_trylock_adds_no_order():
    """Who does not wait closes no cycle; what is taken inside is still ordered after it."""
    world = Watched()
    a, b = (world.lock(Spinlock, LockClass(name)) for name in "ab")

    async def tries():
        async with b:
            assert await a.trylock()
            await a.release()

    world.run(hold(a, b), tries())

    assert [] == world.found()


def test_what_is_taken_after_a_trylock_is_ordered_after_it():
    """The holder of a trylock waits for the next lock like any other."""
    world = Watched()
    a, b = (world.lock(Spinlock, LockClass(name)) for name in "ab")

    async def tries():
        assert await a.trylock()
        await hold(b)
        await a.release()

    world.run(tries(), hold(b, a))

    assert ["possible circular locking dependency detected: b -> a -> b"] == world.found()


def test_two_locks_of_a_class_need_a_nesting_level():
    """As move_ptes takes two page-table locks, and fork two mmap_locks."""
    world = Watched()
    old, new = (world.lock(Spinlock, PTL, name) for name in ("old", "new"))

    async def nests():
        async with old, new.nested(SINGLE_DEPTH_NESTING):
            pass

    world.run(nests(), hold(old, new))

    assert ["possible recursive locking detected: ptlock_ptr(page)"] == world.found()


def test_nesting_levels_have_an_order_too():
    """The nested one first is the other way round."""
    world = Watched()
    parent, child = (world.lock(RwSem, MMAP_LOCK, name) for name in ("parent", "child"))

    async def forks():
        async with parent.write(), child.write(SINGLE_DEPTH_NESTING):
            pass

    async def reversed_levels():
        async with child.write(SINGLE_DEPTH_NESTING), parent.write():
            pass

    world.run(forks(), reversed_levels())
    (found,) = world.found()

    assert found.endswith("&mm->mmap_lock/1 -> &mm->mmap_lock -> &mm->mmap_lock/1")


def test_a_nest_lock_allows_any_number_of_a_class():
    """mm_take_all_locks takes every anon_vma under mmap_lock; without it, it is reported."""
    world = Watched()
    mmap_lock = world.lock(RwSem, MMAP_LOCK)
    roots = [world.lock(RwSem, LockClass("&anon_vma->rwsem"), "1")]
    roots.append(RwSem(world.engine, roots[0].lock_class, name="&anon_vma->rwsem 2"))
    nesting = Nesting(nest_lock=mmap_lock)

    async def takes_all():
        async with mmap_lock.write(), roots[0].write(nesting), roots[1].write(nesting):
            pass

    async def without():
        async with roots[0].write(nesting):
            pass

    world.run(takes_all(), without())

    assert ["Nested lock was not taken: &anon_vma->rwsem"] == world.found()


def test_a_semaphore_that_is_read_twice_may_deadlock():
    """A writer that comes between waits for the first, and the second for the writer."""
    world = Watched()
    sems = [RwSem(world.engine, MMAP_LOCK, name=f"mmap_lock {number}") for number in (1, 2)]

    async def reads_two():
        async with sems[0].read(), sems[1].read():
            pass

    world.run(reads_two())

    assert ["possible recursive locking detected: &mm->mmap_lock"] == world.found()


def test_a_recursive_reader_meets_no_reader():
    """A seqcount is read inside and outside a lock that its writer takes; only writers matter."""
    world = Watched()
    lock = world.lock(Spinlock, LockClass("lock"))
    seqcount = SeqCount(world.engine, name="seqcount", lock_class=LockClass("seqcount"))

    async def reads_inside():
        async with lock:
            await seqcount.read_begin()

    async def writes_inside():
        async with lock:
            await seqcount.write_begin()
            await seqcount.write_end()

    world.run(reads_inside(), writes_inside())

    assert [] == world.found()


def test_waiting_for_an_ipi_under_a_lock_that_is_wanted_with_interrupts_off():
    """The TLB flush under page_table_lock, and pgd_lock with interrupts off around it (A15)."""
    world = Watched()
    page_table_lock = world.lock(Spinlock, LockClass("page_table_lock"))
    pgd_lock = world.lock(Spinlock, PGD_LOCK)

    async def flushes():
        async with page_table_lock:
            await call_on(world.cpus[0], [world.cpus[1]], nothing, vector="TLB", latency_ns=10)

    async def vmalloc_sync_all():
        async with pgd_lock.irqsave():
            await hold(page_table_lock)

    world.run(flushes(), vmalloc_sync_all())
    (finding,) = world.lockdep.findings
    report = str(finding)

    assert (
        "possible deadlock: an IPI is waited for that may never be handled: "
        "IPI -> page_table_lock -> IPI"
    ) == finding.what
    assert "-> #1 IPI, waited for with (page_table_lock){+.+.}-{2:2} held:" in report
    assert "-> #0 (page_table_lock){+.+.}-{2:2}, wanted with interrupts off:" in report
    assert "local_irq_disable();\n  wait for the IPI;\n" in report


def test_it_does_not_matter_which_side_of_an_ipi_comes_first():
    """The order closes the cycle from the other end."""
    world = Watched()
    lock = world.lock(Spinlock, LockClass("lock"))

    async def irqs_off():
        async with lock.irqsave():
            pass

    async def flushes():
        async with lock:
            await call_on(world.cpus[1], [world.cpus[0]], nothing, vector="TLB", latency_ns=10)

    world.run(irqs_off(), flushes())

    assert [
        "possible deadlock: an IPI is waited for that may never be handled: lock -> IPI -> lock"
    ] == world.found()


def test_interrupts_on_around_the_inner_lock_are_the_fix():
    """pgd_lock taken with interrupts on: nothing to report."""
    world = Watched()
    page_table_lock = world.lock(Spinlock, LockClass("page_table_lock"))
    pgd_lock = world.lock(Spinlock, PGD_LOCK)

    async def flushes():
        async with page_table_lock:
            await call_on(world.cpus[0], [world.cpus[1]], nothing, vector="TLB", latency_ns=10)

    world.run(flushes(), hold(pgd_lock, page_table_lock))

    assert [] == world.found()


def test_an_ipi_handler_that_wants_what_the_caller_holds():
    """The caller waits for the handler, and the handler for the caller's lock."""
    world = Watched()
    outer = world.lock(Spinlock, LockClass("outer"))
    inner = world.lock(Spinlock, LockClass("inner"))

    async def handler(cpu):
        await hold(inner)

    async def calls(lock):
        async with lock:
            await call_on(world.cpus[0], [world.cpus[1]], handler, vector="CAL", latency_ns=10)

    async def both():
        with world.cpus[1].irqs_off():
            await hold(inner, outer)

    world.run(calls(outer), both())

    assert (
        "possible deadlock: an IPI is waited for that may never be handled: IPI -> outer -> IPI"
        in world.found()
    )


def test_a_lock_that_interrupts_take_is_taken_with_interrupts_on():
    """The interrupt may come where the lock is held."""
    world = Watched()
    lock = world.lock(Spinlock, LockClass("lock"))

    async def handler(cpu):
        await hold(lock)

    async def calls():
        await call_on(world.cpus[0], [world.cpus[1]], handler, vector="CAL", latency_ns=10)

    world.run(calls(), hold(lock))

    assert ["inconsistent lock state: lock HARDIRQ-ON-W"] == world.found()
    assert "inconsistent {IN-HARDIRQ-W} -> {HARDIRQ-ON-W} usage." in str(world.lockdep.findings[0])


@pytest.mark.parametrize("is_order_first", [True, False])
def test_a_lock_that_interrupts_take_leads_to_one_that_they_may_interrupt(is_order_first):
    """Who holds the second is interrupted by who wants the first, whose holder wants the second."""
    world = Watched()
    safe = world.lock(Spinlock, LockClass("safe"))
    unsafe = world.lock(Spinlock, LockClass("unsafe"))

    async def handler(cpu):
        async with safe:
            pass

    async def orders():
        async with safe.irqsave():
            await hold(unsafe)

    async def calls():
        if is_order_first:
            await orders()
        await hold(unsafe)
        await call_on(world.cpus[0], [world.cpus[1]], handler, vector="CAL", latency_ns=10)
        if not is_order_first:
            await orders()

    world.run(calls())
    headline = (
        "possible irq lock inversion dependency detected"
        if is_order_first
        else "HARDIRQ-safe -> HARDIRQ-unsafe lock order detected"
    )
    assert [f"{headline}: safe -> unsafe"] == world.found()


def test_turning_interrupts_on_while_a_lock_is_held_makes_it_unsafe():
    """It was taken with interrupts off, as it should be; then they were turned on too early."""
    world = Watched()
    lock = world.lock(Spinlock, LockClass("lock"))

    async def handler(cpu):
        await hold(lock)

    async def turns_on_too_early():
        cpu = world.cpus[0]
        await call_on(cpu, [world.cpus[1]], handler, vector="CAL", latency_ns=10)
        cpu.disable_irqs()
        await lock.acquire()
        cpu.enable_irqs()
        await lock.release()

    world.run(turns_on_too_early())

    assert ["inconsistent lock state: lock HARDIRQ-ON-W"] == world.found()


@pytest.mark.parametrize("how", ["spinlock", "interrupts off", "rcu"])
def test_a_sleeping_lock_in_atomic_context_is_reported_though_it_was_free(how):
    """might_sleep() complains before anybody has to sleep."""
    world = Watched()
    rcu = Rcu(world.engine, world.cpus)
    spinlock = world.lock(Spinlock, LockClass("spinlock"))
    mutex = world.lock(Mutex, LockClass("mutex"))

    async def takes():
        if how == "spinlock":
            await hold(spinlock, mutex)
        elif how == "rcu":
            await hold(rcu.read(world.cpus[0]), mutex)
        else:
            with world.cpus[0].irqs_off():
                await hold(mutex)

    world.run(takes())
    (finding,) = world.lockdep.findings

    assert Law.ATOMIC_SLEEP == finding.law
    assert "sleeping function called from invalid context: mutex" == finding.what


def test_a_mailbox_that_is_a_lock_is_taken_by_asking():
    """zone->lock is taken with interrupts off: nobody may wait for an IPI while he is served."""
    world = Watched()
    zone = Mailbox(world.engine, "zone 0 Normal", lock_class=LockClass("&zone->lock"))
    lock = world.lock(Spinlock, LockClass("lock"))

    async def serve():
        while True:
            request = await zone.receive()
            await world.engine.spend(5)
            request.reply.send(None)

    async def asks():
        with world.cpus[0].irqs_off():
            await zone.ask("pages")
        async with lock:
            await zone.ask("pages")

    spawn_server = world.engine.spawn("zone", serve())
    world.run(asks())

    assert spawn_server.daemon
    assert [] == world.found()
    held = world.lockdep._graph.node(lock.lock_class, 0, sleeps=False).after
    assert ["&zone->lock"] == [str(node) for node in held]


def test_a_downgraded_semaphore_is_held_for_reading():
    """Orders that begin then are those of a reader, who keeps writers out as well."""
    world = Watched()
    sem = world.lock(RwSem, MMAP_LOCK)
    other = world.lock(Mutex, LockClass("other"))

    async def downgrades():
        async with sem.write():
            await sem.downgrade()
            await hold(other)

    async def opposite():
        async with other, sem.write():
            pass

    world.run(downgrades(), opposite())

    assert 1 == len(world.found())


def test_locks_of_actors_without_a_cpu_are_ordered_too():
    """A user's own actors need no CPU."""
    engine = engine_of()
    engine.lock_observer = lockdep = Lockdep(engine)
    a, b = (Mutex(engine, LockClass(name), name=name) for name in "ab")

    async def second():
        await engine.spend(100)
        await hold(b, a)

    spawn(engine, "one", hold(a, b))
    spawn(engine, "two", second())
    run(engine)

    assert ["possible circular locking dependency detected: b -> a -> b"] == [
        finding.what for finding in lockdep.findings
    ]
    with pytest.raises(AssertionError, match="possible circular locking"):
        lockdep.has_found_nothing()
