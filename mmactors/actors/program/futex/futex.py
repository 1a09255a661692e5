"""futex(2): sleeping until a word changes, and waking (kernel/futex/waitwake.c, core.c, Linux 6.1).

Theory of operation. Who waits says what the word held when it was looked at. The kernel counts the
waiter, takes the lock of the word's bucket, and reads the word again, with page faults disabled: if
it is another by now, the call ends with EAGAIN, else the thread enters the chain and sleeps. Who
wakes has changed the word before, and takes the lock only if anybody is counted there. Either the
waiter sees the new value or the waker sees the waiter: each writes one of both, has a full barrier,
and then reads the other's. Threads are woken when the lock is free again (wake_q). A sleeper whom
nobody woke from the chain takes itself out: its time is over (ETIMEDOUT), a signal has come, or it
begins anew.

Left out: requeueing, FUTEX_WAKE_OP, priority inheritance, robust lists, waitv, the word that
is cleared when a thread ends (CLONE_CHILD_CLEARTID), and where the buckets lie in memory.
"""

import errno
from collections.abc import Iterable
from typing import Final, Protocol

from attrs import define, field, frozen

from mmactors.actors.alloc.page_alloc import put_and_free_page
from mmactors.actors.fault.page_work import perform_page_work
from mmactors.actors.program.futex.hash_bucket import FutexQ, HashBucket
from mmactors.actors.program.futex.user_word import get_word_nofault
from mmactors.actors.program.process import Thread
from mmactors.actors.program.thread import UserThread
from mmactors.actors.program.uaccess import fault_in_readable
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.frame_words import WORD_BYTES
from mmactors.engine.actor import NEVER, Actor
from mmactors.engine.cpu import Interrupt
from mmactors.engine.timer import Timer
from mmactors.engine.wait_queue import WaitQueue
from mmactors.label import Label, Mode, areas, page
from mmactors.mm.area.mapped_file import MappedFile
from mmactors.mm.area.vma import Vma
from mmactors.mm.fault.gup import FOLL_GET, FOLL_TOUCH, FOLL_WRITE, get_user_page
from mmactors.mm.futex.futex_key import (
    FUT_OFF_MMSHARED,
    FutexKey,
    futex_hash,
    futex_hashsize,
    inode_key,
    mm_key,
)
from mmactors.mm.rmap.rmap import is_anon
from mmactors.mm.slab.slab_common import PAGE_OFFSET
from mmactors.units import PAGE_MASK
from mmactors.workload.operation.futex import FUTEX_BITSET_MATCH_ANY

ERESTARTSYS: Final = 512
ERESTART_RESTARTBLOCK: Final = 516
"""What a sleep returns that a signal has ended, within the kernel (include/linux/errno.h)."""
_LOCK_CLASS: Final = "&futex_queues[i].lock"


class FutexWord(Protocol):
    """What a thread waits for, as the kernel reads it."""

    @property
    def address(self) -> int:
        """Where it lies."""

    async def get_nofault(self, thread: UserThread) -> int | None:
        """Read it with page faults disabled; None: its page is not there."""


@frozen
class MemoryWord:
    """A word in the memory of who waits."""

    address: int

    async def get_nofault(self, thread: UserThread) -> int | None:
        """Read it through the thread's page tables."""
        return await get_word_nofault(thread, self.address)


@define(eq=False)
class _Sleeper:
    """When a sleep ends by itself (struct hrtimer_sleeper)."""

    expires_ns: int
    is_over: bool = False
    interrupt: Interrupt | None = None


@define(eq=False, kw_only=True)
class Futexes:
    """All futexes of a machine."""

    kernel: Kernel
    timer: Timer
    hashsize: int = field(init=False)
    _buckets: dict[int, HashBucket] = field(factory=dict, init=False)
    """By number; those that were ever used."""
    _sleeps: dict[Actor, WaitQueue] = field(factory=dict, init=False)
    """Where each thread sleeps that ever did."""
    _sequence: dict[object, int] = field(factory=dict, init=False)
    """By file: a number that no other ever had (i_sequence)."""

    def __attrs_post_init__(self) -> None:
        self.hashsize = futex_hashsize(len(self.kernel.cpu_node))

    async def wait(
        self,
        thread: UserThread,
        word: FutexWord,
        value: int,
        *,
        timeout_ns: int | None = None,
        bitset: int = FUTEX_BITSET_MATCH_ANY,
        shared: bool = False,
    ) -> int:
        """Sleep until woken if the word is `value`; return 0 or minus an errno (futex_wait).

        Minus ERESTARTSYS or ERESTART_RESTARTBLOCK: the thread has to end.
        """
        kernel = self.kernel
        await kernel.engine.spend(kernel.costs.syscall_ns)
        if not bitset:
            return -errno.EINVAL
        sleeper = None
        if timeout_ns is not None:
            sleeper = _Sleeper(min(thread.cpu.clock.now + timeout_ns, NEVER))
        while True:
            q = await self._setup(thread, word, value, bitset=bitset, shared=shared)
            if isinstance(q, int):
                return q
            await self._sleep(thread, q, sleeper)
            if not await self._unqueue(q):
                return 0
            kernel.engine.touch(q.sleep.name, Mode.READ)  # Where the timer tells that it is over.
            if sleeper is not None and sleeper.is_over:
                return -errno.ETIMEDOUT
            if thread.must_end:
                return -ERESTARTSYS if sleeper is None else -ERESTART_RESTARTBLOCK

    async def wake(
        self,
        thread: UserThread,
        address: int,
        nr_wake: int,
        *,
        bitset: int = FUTEX_BITSET_MATCH_ANY,
        shared: bool = False,
    ) -> int:
        """Wake those who wait at an address, in their order; return how many (futex_wake)."""
        kernel = self.kernel
        engine = kernel.engine
        await engine.spend(kernel.costs.syscall_ns)
        if not bitset:
            return -errno.EINVAL
        key = await self._key(thread, address, shared=shared)
        if isinstance(key, int):
            return key
        bucket = self._bucket(key)
        if kernel.rules.futex_wake_orders_waiters:
            await engine.fence()
        if not await bucket.has_waiters():
            return 0
        async with bucket.lock:
            await engine.spend(kernel.costs.futex_ns)
            woken = bucket.take(key, bitset, nr_wake)
        for q in woken:
            q.sleep.wake_all(at_ns=thread.cpu.clock.now)
        return len(woken)

    def wake_killed(self, threads: Iterable[Thread], at_ns: int) -> None:
        """Let threads that sleep at a word look whether they must end."""
        for thread in threads:
            sleep = self._sleeps.get(thread.actor)
            if sleep is not None:
                sleep.wake_all(at_ns=at_ns)

    # -- waiting ---------------------------------------------------------------------------------

    async def _setup(
        self, thread: UserThread, word: FutexWord, value: int, *, bitset: int, shared: bool
    ) -> FutexQ | int:
        """Enter the chain if the word is `value`; else return minus an errno (futex_wait_setup)."""
        kernel = self.kernel
        reads_early = not kernel.rules.futex_wait_checks_under_hb_lock
        key = await self._key(thread, word.address, shared=shared)
        while not isinstance(key, int):
            bucket = self._bucket(key)
            seen = await word.get_nofault(thread) if reads_early else None
            await bucket.count_waiter(1)
            async with bucket.lock:
                await kernel.engine.spend(kernel.costs.futex_ns)
                if not reads_early:
                    seen = await word.get_nofault(thread)
                if seen == value:
                    q = FutexQ(
                        key=key,
                        bitset=bitset,
                        task=thread.actor,
                        sleep=self._sleep_of(thread),
                        bucket=bucket,
                    )
                    bucket.enqueue(q)
                    return q
            await bucket.count_waiter(-1)
            if seen is not None:
                return -errno.EAGAIN
            if not await fault_in_readable(thread, word.address):
                return -errno.EFAULT
            if shared:
                key = await self._key(thread, word.address, shared=shared)
        return key

    async def _sleep(self, thread: UserThread, q: FutexQ, sleeper: _Sleeper | None) -> None:
        """Sleep until somebody wakes the thread, whoever it is (futex_wait_queue)."""
        engine = self.kernel.engine
        sleep = q.sleep

        def is_over() -> bool:
            engine.touch(q.bucket.queue_name, Mode.READ)
            is_late = sleeper is not None and sleeper.is_over
            return not q.is_queued or is_late or thread.must_end

        if sleeper is not None and sleeper.expires_ns < NEVER and not sleeper.is_over:
            self._arm(thread, sleep, sleeper)
        if engine.is_exploring or not is_over():
            await sleep.sleep(unless=is_over)
        if sleeper is not None and sleeper.interrupt is not None and not sleeper.is_over:
            thread.cpu.cancel_interrupt(sleeper.interrupt)

    def _arm(self, thread: UserThread, sleep: WaitQueue, sleeper: _Sleeper) -> None:
        """Start the timer that ends a sleep (hrtimer_sleeper_start_expires)."""

        def expire(now_ns: int) -> None:
            sleeper.is_over = True
            sleep.wake_all(at_ns=now_ns)

        ns = max(sleeper.expires_ns - thread.cpu.clock.now, 0)
        sleeper.interrupt = self.timer.start(thread.cpu, ns, expire)

    async def _unqueue(self, q: FutexQ) -> bool:
        """Take a thread out of its chain; False: who woke it has (futex_unqueue)."""
        engine = self.kernel.engine
        bucket = q.bucket
        if engine.wants_step():
            await engine.step(Label("read lock_ptr", ((bucket.queue_name, Mode.READ),)))
        if not q.is_queued:
            return False
        async with bucket.lock:
            engine.touch(bucket.queue_name, Mode.READ)
            is_queued = q.is_queued
            if is_queued:
                bucket.dequeue(q)
        return is_queued

    def _sleep_of(self, thread: UserThread) -> WaitQueue:
        sleep = self._sleeps.get(thread.actor)
        if sleep is None:
            sleep = WaitQueue(self.kernel.engine, f"futex_wake[{thread.tid}]")
            self._sleeps[thread.actor] = sleep
        return sleep

    # -- keys and buckets ------------------------------------------------------------------------

    def _bucket(self, key: FutexKey) -> HashBucket:
        index = futex_hash(key, self.hashsize)
        bucket = self._buckets.get(index)
        if bucket is None:
            lock_class = self.kernel.locks.of(_LOCK_CLASS)
            bucket = self._buckets[index] = HashBucket(self.kernel.engine, index, lock_class)
        return bucket

    async def _key(self, thread: UserThread, address: int, *, shared: bool) -> FutexKey | int:
        """Return the key of a word, or minus an errno (get_futex_key)."""
        mm = thread.space.mm
        if address % WORD_BYTES:
            return -errno.EINVAL
        if address + WORD_BYTES > mm.task_size:
            return -errno.EFAULT
        if not shared:
            return mm_key(PAGE_OFFSET + mm.thing, address)
        return await self._shared_key(thread, address)

    async def _shared_key(self, thread: UserThread, address: int) -> FutexKey | int:
        """Return the key of a word that several address spaces may have, by its page."""
        is_readonly = False
        vma, pfn, error = await self._get_page(thread, address, FOLL_WRITE)
        if error == -errno.EFAULT:
            is_readonly = True
            vma, pfn, error = await self._get_page(thread, address, 0)
        if pfn is None or vma is None:
            return error
        kernel = self.kernel
        if kernel.engine.wants_step():
            await kernel.engine.step(Label("read page->mapping", ((page(pfn), Mode.READ),)))
        pages = kernel.shared_pages
        key: FutexKey | int = -errno.EFAULT
        if is_anon(pages, pfn):
            if not is_readonly:
                mm = thread.space.mm
                key = mm_key(PAGE_OFFSET + mm.thing, address, FUT_OFF_MMSHARED)
        elif isinstance(vma.vm_file, MappedFile) and pfn != kernel.zero_pfn:
            sequence = self._sequence_of(vma.vm_file.mapping)
            key = inode_key(sequence, pages.index_view[pfn], address)
        else:
            return key  # The page of zeros, or one of the kernel's own: nobody counts references.
        await put_and_free_page(kernel, thread.cpu, pfn)
        return key

    async def _get_page(
        self, thread: UserThread, address: int, flags: int
    ) -> tuple[Vma | None, int | None, int]:
        """Get the page of a word with a reference, and the area that it is in; or minus an errno.

        Left out: the way without mmap_lock (get_user_pages_fast).
        """
        kernel, space, cpu = self.kernel, thread.space, thread.cpu
        mm = space.mm
        async with space.mmap_lock.read():
            steps = get_user_page(
                kernel.fault_context(cpu),
                mm,
                address & PAGE_MASK,
                flags | FOLL_GET | FOLL_TOUCH,
                keeps_foll_write=True,
            )
            pfn, error = await perform_page_work(kernel, cpu, space, steps)
            if kernel.engine.wants_step():
                await kernel.engine.step(Label("find the area", ((areas(mm.ctx_id), Mode.READ),)))
            vma = mm.tree.find_vma(address)
            return vma, pfn, error

    def _sequence_of(self, mapping: object) -> int:
        """Return the number of a file (get_inode_sequence_number)."""
        return self._sequence.setdefault(mapping, len(self._sequence) + 1)
