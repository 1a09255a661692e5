"""The page lock: a bit, and wait queues that all pages share."""

from engines import Log, cpu_of, engine_of, run, thread

import mmactors
from mmactors.actors.state.page_lock import PAGE_LOCK_UNFAIRNESS, PageLocks, page_waitqueue
from mmactors.arch.arena import Arena
from mmactors.arch.page import PG_LOCKED, PG_WAITERS, PageColumns
from mmactors.engine.cpu import Interrupt
from mmactors.engine.cpu_times import cpu_usage
from mmactors.sanitize.lockdep import Lockdep

PAGE = 5


def other_page_of_the_queue():
    """Return another page whose waiters sleep in the same queue as those of PAGE."""
    return next(pfn for pfn in range(6, 1024) if page_waitqueue(pfn) == page_waitqueue(PAGE))


class Pages:
    """CPUs, pages, and the locks of the pages."""

    def __init__(self, nr_cpus, engine=None):
        self.engine = engine_of() if engine is None else engine
        self.cpus = [cpu_of(self.engine, index) for index in range(nr_cpus)]
        self.pages = PageColumns(Arena(), 1024)
        self.locks = PageLocks(self.engine, self.pages)
        self.log = Log(self.engine)

    def flags(self, pfn=PAGE):
        """Return which of the two bits are set."""
        return self.pages.flags_view[pfn] & (PG_LOCKED | PG_WAITERS)

    async def hold(self, before_ns, ns, pfn=PAGE):
        """Lock a page after some time, and hold it."""
        await self.engine.spend(before_ns)
        await self.locks.lock(pfn)
        self.log("has it")
        await self.engine.spend(ns)
        await self.locks.unlock(pfn)


def test_a_page_is_locked_by_one_at_a_time():
    """The waiter sleeps until the page is unlocked; the bits tell."""
    world = Pages(2)
    seen = []

    async def looks():
        await world.engine.spend(50)
        seen.append(world.flags())

    thread(world.cpus[0], "first", world.hold(0, 100))
    thread(world.cpus[1], "second", world.hold(10, 100))
    world.engine.spawn("looks", looks(), daemon=False)
    run(world.engine)

    assert [(0, "first", "has it"), (100, "second", "has it")] == world.log.entries
    assert [PG_LOCKED | PG_WAITERS] == seen
    assert 0 == world.flags()


def test_a_waiter_gives_its_cpu_away():
    """Another thread of the CPU runs while the page is locked."""
    world = Pages(2)

    async def works():
        await world.engine.spend(10)
        world.log("works")

    thread(world.cpus[0], "holder", world.hold(0, 1000))
    thread(world.cpus[1], "waiter", world.hold(10, 1))
    thread(world.cpus[1], "worker", works(), at_ns=20)
    run(world.engine)

    assert {"works": 30, "has it": 1000} == world.log.times()


def test_who_waits_for_a_page_waits_for_io():
    """Its CPU's idle time is iowait as far as an interrupt ends it; who unlocks ends no idling."""
    world = Pages(2)
    cpu = world.cpus[1]
    seen = []

    async def nothing(_cpu):
        pass

    async def interrupts():
        for at_ns in (200, 500):
            await world.engine.spend(at_ns - world.cpus[0].clock.now)
            seen.append((cpu.nr_iowait, cpu_usage(cpu, at_ns).iowait_ns))
            if at_ns == 200:
                cpu.raise_interrupt(Interrupt("TEST", nothing), latency_ns=0)
        await world.locks.unlock(PAGE)

    async def locks():
        await world.locks.lock(PAGE)
        await interrupts()

    thread(world.cpus[0], "holder", locks())
    thread(cpu, "waiter", world.hold(10, 1))
    run(world.engine)

    assert [(1, 190), (1, 490)] == seen, "while it sleeps, all of it counts"
    assert 0 == cpu.nr_iowait
    assert (300, 190) == (cpu.times.idle_ns, cpu.times.iowait_ns)


def test_a_trylock_does_not_wait():
    """It fails while the page is locked, and locks it otherwise."""
    world = Pages(2)
    got = []

    async def tries(before_ns):
        await world.engine.spend(before_ns)
        got.append(await world.locks.trylock(PAGE))
        if got[-1]:
            await world.locks.unlock(PAGE)

    thread(world.cpus[0], "holder", world.hold(0, 100))
    thread(world.cpus[1], "tries", tries(50))
    thread(world.cpus[1], "tries again", tries(200))
    run(world.engine)

    assert [False, True] == got


def test_unlocking_wakes_who_waits_for_this_page():
    """Waiters of another page sleep on in the same queue, and the bit of theirs stays."""
    world = Pages(4)
    other = other_page_of_the_queue()
    thread(world.cpus[0], "holder", world.hold(0, 100))
    thread(world.cpus[1], "other holder", world.hold(0, 300, other))
    thread(world.cpus[2], "other waiter", world.hold(10, 1, other))
    thread(world.cpus[3], "waiter", world.hold(20, 1))
    run(world.engine)

    assert [
        (0, "holder"),
        (0, "other holder"),
        (100, "waiter"),
        (300, "other waiter"),
    ] == [(t_ns, name) for t_ns, name, _ in world.log.entries]
    assert 0 == world.flags(other)


def test_who_is_woken_may_find_that_somebody_was_faster():
    """The lock is not handed over at once: a CPU that is awake may take it first."""
    world = Pages(3)

    async def takes_often():
        for _ in range(PAGE_LOCK_UNFAIRNESS + 3):
            await world.locks.lock(PAGE)
            world.log("again")
            await world.engine.spend(100)
            await world.locks.unlock(PAGE)

    thread(world.cpus[0], "often", takes_often())
    thread(world.cpus[1], "waits", world.hold(10, 100))
    run(world.engine)
    order = [name for _, name, _ in world.log.entries]

    assert PAGE_LOCK_UNFAIRNESS + 1 == order.index("waits")
    assert PAGE_LOCK_UNFAIRNESS + 4 == len(order)


def test_pages_are_spread_over_the_queues_as_the_kernel_does():
    """hash_ptr of the address of struct page, with vmemmap at its place without randomization."""
    queues = {page_waitqueue(pfn) for pfn in range(4096)}

    assert set(range(256)) == queues
    assert 0xFFFFEA0000000140 * 0x61C8864680B583EB % (1 << 64) >> 56 == page_waitqueue(5)


def test_lockdep_knows_the_page_lock_and_lets_pages_nest():
    """Two pages may be locked in any order; a page and another lock may not."""
    world = Pages(2)
    lockdep = world.engine.lock_observer = Lockdep(world.engine)

    async def two(first, second):
        await world.locks.lock(first)
        await world.locks.lock(second)
        await world.locks.unlock(second)
        await world.locks.unlock(first)

    async def one_after_the_other():
        await two(PAGE, 6)
        await two(6, PAGE)

    thread(world.cpus[0], "both", one_after_the_other())
    run(world.engine)

    assert [] == lockdep.findings


@mmactors.explore(exhaustive=True)
def test_no_wake_up_is_lost_in_any_order(world):
    """Three CPUs lock a page: all get it, one at a time, whoever goes first."""
    pages = Pages(3, engine=world.engine)
    holders = []

    async def locks(cpu):
        await pages.locks.lock(PAGE)
        holders.append(cpu.index)
        assert [cpu.index] == holders, "two have it"
        await pages.locks.unlock(PAGE)
        holders.remove(cpu.index)

    for cpu in pages.cpus:
        thread(cpu, f"t{cpu.index}", locks(cpu))

    @world.at_end
    def nothing_is_left():
        return pages.flags() == 0
