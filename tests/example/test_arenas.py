"""Which arena a thread allocates from, and what becomes of arenas and heaps (malloc/arena.c)."""

from typing import Any

import pytest
from ptmallocs import MAIN_ARENA, Guest, Mappings

from mmactors.malloc.library import MallocAbortError
from mmactors.malloc.mman import (
    MADV_DONTNEED,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
)
from mmactors.malloc.ptmalloc.arena.arena import all_arenas
from mmactors.malloc.ptmalloc.arena.fork import fork_lock_parent, fork_unlock_parent
from mmactors.malloc.ptmalloc.malloc_state import ATTACHED_THREADS, NEXT_FREE
from mmactors.malloc.request import LockMutex, Madvise, Mmap, Mprotect, Munmap, UnlockMutex
from mmactors.units import KIB, MIB

HEAP = 64 * MIB
MAP = MAP_PRIVATE | MAP_ANONYMOUS
RW = PROT_READ | PROT_WRITE


def process(**given: Any) -> Guest:
    """Begin a process whose main thread has allocated, from the main arena."""
    guest = Guest(**given)
    guest.call(guest.library.malloc(0, 24))
    return guest


def arena_of(guest: Guest, thread: int) -> int:
    return int(guest.library.arenas.thread_arena[thread])


def attached(guest: Guest, arena: int) -> int:
    return guest.library.words.load(arena + ATTACHED_THREADS)


def free_list(guest: Guest) -> list[int]:
    listed, arena = [], guest.library.arenas.free_list
    while arena:
        listed.append(arena)
        arena = guest.library.words.load(arena + NEXT_FREE)
    return listed


def thread_that_allocates(guest: Guest) -> int:
    """Begin a thread and let it allocate, which gives it an arena."""
    thread = guest.library.new_thread()
    guest.call(guest.library.malloc(thread, 24))
    return thread


def test_a_second_thread_gets_an_aligned_heap_out_of_twice_as_much() -> None:
    guest = process()
    thread = guest.library.new_thread()

    calls = guest.made(guest.library.malloc(thread, 24))

    start = guest.kernel.ranges[0][0]
    below = calls[1].address
    assert 0 == start % HEAP
    assert [
        Mmap(length=2 * HEAP, prot=PROT_NONE, flags=MAP | MAP_NORESERVE),
        Munmap(address=below, length=start - below),
        Munmap(address=start + HEAP, length=below + HEAP - start),
        Mprotect(address=start, length=132 * KIB, prot=RW),
    ] == calls
    assert start + 0x30 == arena_of(guest, thread)


def test_the_next_heap_is_put_behind_one_that_was_aligned_by_itself() -> None:
    guest = process()
    guest.kernel.ranges = [(0x7FFF_F000_0000, 0x7FFF_F7FF_F000)]
    first = thread_that_allocates(guest)

    calls = guest.made(guest.library.malloc(guest.library.new_thread(), 24))

    assert (
        Mmap(
            address=arena_of(guest, first) - 0x30 + HEAP,
            length=HEAP,
            prot=PROT_NONE,
            flags=MAP | MAP_NORESERVE,
        )
        == calls[0]
    )
    assert Mprotect(address=calls[0].address, length=132 * KIB, prot=RW) == calls[1]


def test_where_no_heap_can_be_mapped_a_thread_has_no_arena_and_requests_are_mapped() -> None:
    kernel = Mappings(refuses=lambda call: isinstance(call, Mmap) and call.prot == PROT_NONE)
    guest = process(kernel=kernel)
    thread = guest.library.new_thread()

    block = guest.call(guest.library.malloc(thread, 24))

    assert 16 == block % 4096
    assert 0 == arena_of(guest, thread)
    assert 1 == guest.library.arenas.narenas


def test_a_heap_that_is_not_aligned_is_given_back() -> None:
    """Where twice as much cannot be had, half of it may lie anywhere."""
    kernel = Mappings(refuses=lambda call: isinstance(call, Mmap) and call.length == 2 * HEAP)
    guest = process(kernel=kernel)
    thread = guest.library.new_thread()

    guest.call(guest.library.malloc(thread, 24))

    assert 0 == arena_of(guest, thread)
    assert all(end - start < HEAP for start, end in kernel.ranges)


def test_there_are_eight_arenas_for_each_cpu_then_they_are_shared_in_turn() -> None:
    guest = process(nr_cpus=1)

    own = [arena_of(guest, thread_that_allocates(guest)) for _ in range(8)]
    shared = [arena_of(guest, thread_that_allocates(guest)) for _ in range(10)]

    # One more than arena_test: the limit is computed when there are more than that.
    assert 8 == len(set(own))
    assert [MAIN_ARENA, *reversed(own), MAIN_ARENA] == shared


def test_the_limit_of_arenas_is_computed_once() -> None:
    guest = process(environment={"arena_max": 2})
    thread_that_allocates(guest)
    thread_that_allocates(guest)

    guest.call(guest.library.mallopt(0, -8, 5))
    thread_that_allocates(guest)

    assert 2 == guest.library.arenas.narenas


def test_a_thread_that_finds_all_arenas_locked_waits_for_the_next_in_turn() -> None:
    guest = process(environment={"arena_max": 1})
    thread = guest.library.new_thread()
    holder = guest.start(guest.library.malloc_trim(0, 0))
    while MAIN_ARENA not in guest.held:
        guest.go_on(holder)

    waiting = guest.start(guest.library.malloc(thread, 24))
    while waiting.waits_for is None:
        guest.go_on(waiting)
    guest.finish(holder)

    assert 0 != guest.finish(waiting)
    assert MAIN_ARENA == arena_of(guest, thread)


def test_the_arena_of_a_thread_that_ends_is_the_next_thread_s() -> None:
    guest = process()
    thread = thread_that_allocates(guest)
    arena = arena_of(guest, thread)
    guest.call(guest.library.end_thread(thread))
    assert [arena] == free_list(guest)

    calls = guest.made(guest.library.malloc(guest.library.new_thread(), 24))

    assert [] == calls
    assert [] == free_list(guest)
    assert 1 == attached(guest, arena)


def test_an_arena_that_another_thread_uses_stays_off_the_free_list() -> None:
    guest = process(environment={"arena_max": 1})
    thread = thread_that_allocates(guest)
    assert 2 == attached(guest, MAIN_ARENA)

    guest.call(guest.library.end_thread(thread))

    assert [] == free_list(guest)
    assert 1 == attached(guest, MAIN_ARENA)


def test_a_full_heap_is_followed_by_another_which_goes_when_it_is_empty() -> None:
    """Without a thread's cache: it would keep what was left of the first heap's top."""
    guest = process(environment={"tcache_count": 0})
    thread = thread_that_allocates(guest)
    first = arena_of(guest, thread) - 0x30
    blocks = [guest.call(guest.library.malloc(thread, 120 * KIB)) for _ in range(600)]
    second = next(block for block in blocks if not first < block < first + HEAP)
    assert 0x40 == second % HEAP

    for block in reversed(blocks):
        guest.call(guest.library.free(thread, block))

    assert Munmap(address=second - 0x40, length=HEAP) in guest.kernel.calls
    assert all(start < first + HEAP for start, _ in guest.kernel.ranges if start >= first)


@pytest.mark.parametrize("may_shrink_heap", [False, True])
def test_a_top_that_is_given_back_stays_mapped_unless_promises_are_counted(
    may_shrink_heap: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """With vm.overcommit_memory=2 it is mapped anew, without rights."""
    guest = process(may_shrink_heap=may_shrink_heap, environment={"top_pad": 0})
    thread = thread_that_allocates(guest)
    blocks = [guest.call(guest.library.malloc(thread, 120 * KIB)) for _ in range(4)]

    for block in blocks[:-1]:
        guest.call(guest.library.free(thread, block))
    (call,) = guest.made(guest.library.free(thread, blocks[-1]))

    if may_shrink_heap:
        expected = Mmap(
            address=call.address, length=call.length, prot=PROT_NONE, flags=MAP | MAP_FIXED
        )
    else:
        expected = Madvise(address=call.address, length=call.length, advice=MADV_DONTNEED)
    assert expected == call
    grown = guest.made(guest.library.malloc(thread, 120 * KIB))
    assert may_shrink_heap == bool(grown)


def test_a_fork_locks_the_list_and_then_all_arenas() -> None:
    guest = process()
    thread_that_allocates(guest)
    arenas = list(all_arenas(guest.library.arenas))

    locks = [each.word for each in fork_lock_parent(guest.library.arenas)]
    unlocks = list(fork_unlock_parent(guest.library.arenas))

    assert [guest.library.arenas.list_lock.word, *arenas] == locks
    assert [UnlockMutex(word, name) for word, name in _words(guest)] == unlocks


def _words(guest: Guest) -> list[tuple[int, str]]:
    arenas = guest.library.arenas
    mutexes = [arenas.lock(arena) for arena in all_arenas(arenas)]
    all_locks: list[LockMutex] = [*mutexes, arenas.list_lock]
    return [(lock.word, lock.name) for lock in all_locks]


def test_a_forked_child_keeps_its_thread_s_arena_and_frees_all_others() -> None:
    guest = process()
    thread = thread_that_allocates(guest)
    own = arena_of(guest, thread)

    child = Guest(kernel=guest.kernel)
    child.library = guest.library.fork(1)
    child.call(child.library.begin_child(thread))

    assert [MAIN_ARENA] == free_list(child)
    assert (1, 0) == (attached(child, own), attached(child, MAIN_ARENA))
    assert (1, 1) == (attached(guest, own), attached(guest, MAIN_ARENA))


def test_an_arena_on_the_free_list_that_has_threads_ends_the_program() -> None:
    guest = process()
    thread = thread_that_allocates(guest)
    arena = arena_of(guest, thread)
    guest.call(guest.library.end_thread(thread))
    guest.library.words.store(arena + ATTACHED_THREADS, 1)

    with pytest.raises(MallocAbortError, match=r"get_free_list: result->attached_threads == 0"):
        guest.call(guest.library.malloc(guest.library.new_thread(), 24))
