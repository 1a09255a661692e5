"""Threads of a process that allocate, free, end and begin, in any order of their requests."""

import random
from typing import Any

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from ptmallocs import Guest, Running

from mmactors.malloc.ptmalloc.arena.arena import all_arenas
from mmactors.malloc.ptmalloc.malloc_state import ATTACHED_THREADS, NEXT_FREE

SIZES = (0, 24, 24, 24, 100, 1000, 5000, 70_000, 140_000)
NR_STEPS = 400
THREADS_MAX = 6


@define(eq=False)
class Threads:
    """Threads of a guest, each in a call or not, and the blocks that they have."""

    guest: Guest
    draw: random.Random
    running: dict[int, tuple[Running, Any]] = field(factory=dict)
    """By thread its call, and what is done when that has ended."""
    idle: list[int] = field(factory=lambda: [0])
    blocks: dict[int, int] = field(factory=dict)
    """By address the bytes that may be used."""

    def begin_call(self) -> None:
        """Let a thread that is idle call something."""
        library, draw = self.guest.library, self.draw
        thread = self.idle.pop(draw.randrange(len(self.idle)))
        kind = draw.random()
        if kind < 0.35 and self.blocks:
            address = draw.choice(list(self.blocks))
            del self.blocks[address]
            steps, done = library.free(thread, address), None
        elif kind < 0.45 and thread:
            self.running[thread] = self.guest.start(library.end_thread(thread)), "ended"
            return
        elif kind < 0.5:
            steps, done = library.malloc_trim(thread, 0), None
        else:
            steps, done = library.malloc(thread, draw.choice(SIZES)), "block"
        self.running[thread] = self.guest.start(steps), done

    def go_on(self) -> None:
        """Let some thread do what it asks for, which must be possible for one of them."""
        ready = [
            thread
            for thread, (call, _) in self.running.items()
            if call.waits_for not in self.guest.held
        ]
        assert ready, "nobody can go on"
        thread = self.draw.choice(ready)
        call, done = self.running[thread]
        self.guest.go_on(call)
        if not call.is_done:
            return
        del self.running[thread]
        if done == "block":
            self.take(call.result)
        if done != "ended":
            self.idle.append(thread)

    def take(self, address: int) -> None:
        """Note a block, which must lie beside all others."""
        size = self.guest.library.peek_usable_size(address)
        for other, its_size in self.blocks.items():
            assert other + its_size <= address or address + size <= other, f"{address:#x}"
        self.blocks[address] = size


def run(seed: int, environment: dict[str, int]) -> Threads:
    """Let threads run in a random order; then let each come to the end of its call."""
    draw = random.Random(seed)
    threads = Threads(Guest(environment=environment, asks_for_steps=True), draw)
    for _ in range(NR_STEPS):
        choice = draw.random()
        nr_threads = len(threads.idle) + len(threads.running)
        if choice < 0.03 and threads.idle and nr_threads < THREADS_MAX:
            # By one that is in no call: a process's only thread cannot be in one meanwhile.
            threads.idle.append(threads.guest.library.new_thread())
        elif threads.idle and (choice < 0.25 or not threads.running):
            threads.begin_call()
        else:
            threads.go_on()
    while threads.running:
        threads.go_on()
    return threads


@given(
    seed=st.integers(0, 1 << 32),
    arena_max=st.sampled_from([1, 2, 3, 16]),
    tcache_count=st.sampled_from([0, 2, 7]),
)
def test_threads_in_any_order_never_get_one_block_twice_and_are_counted_by_their_arenas(
    seed: int, arena_max: int, tcache_count: int
) -> None:
    environment = {"arena_max": arena_max, "tcache_count": tcache_count}
    threads = run(seed, environment)

    assert not threads.guest.held
    arenas, words = threads.guest.library.arenas, threads.guest.library.words
    users = [int(arenas.thread_arena[thread]) for thread in threads.idle]
    all_of_them = list(all_arenas(arenas))
    assert arenas.narenas == len(all_of_them) <= arena_max
    assert [users.count(arena) for arena in all_of_them] == [
        words.load(arena + ATTACHED_THREADS) for arena in all_of_them
    ]
    listed, arena = [], arenas.free_list
    while arena and arena not in listed:
        listed.append(arena)
        arena = words.load(arena + NEXT_FREE)
    assert not arena, "the free list has no end"
    assert set(listed) == {arena for arena in all_of_them if arena not in users}
