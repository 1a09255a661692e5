"""Rows of a heap trace in one loop, the library's calls, and plain Python do the same."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ptmallocs import Guest

from mmactors.arch.heap_trace import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, HeapOperations
from mmactors.malloc.replay import Replay
from mmactors.malloc.replay_rows import TOUCH_FIRST
from mmactors.malloc.user_words import FIRST_SLOT, SLOT, TABLE

TUNABLES = ({}, {"tcache_count": 0}, {"tcache_count": 2, "arena_max": 2, "perturb": 7})
SMALL, MIDDLE, LARGE = (0, 120), (500, 3000), (60_000, 300_000)


def trace(seed, nr_rows, nr_threads):
    """Draw operations of some threads: many small objects, fewer large ones."""
    chance = random.Random(seed)
    rows, held, number = [], [], 0
    for _ in range(nr_rows):
        kind = chance.choices([SMALL, MIDDLE, LARGE], [20, 8, 1])[0]
        size, thread = chance.randint(*kind), chance.randrange(nr_threads)
        op = chance.choices([MALLOC, CALLOC, REALLOC, FREE, MEMALIGN], [8, 2, 3, 11, 1])[0]
        if op in {FREE, REALLOC} and held:
            chosen = held.pop(chance.randrange(len(held)))
            size = 0 if op == REALLOC and chance.random() < 0.1 else size
            if op == REALLOC and size:
                held.append(chosen)
            rows.append((op, thread, chosen, size, 0))
            continue
        op = MALLOC if op == FREE else op
        arg = 1 << chance.randrange(3, 12) if op == MEMALIGN else 4
        size = size // 4 * 4 if op == CALLOC else size
        rows.append((op, thread, number, size, arg))
        held.append(number)
        number += 1
    op, tid, id_, sizes, args = np.array(rows).T
    return HeapOperations(
        first=0,
        op=op.astype(np.uint8),
        tid=tid.astype(np.int32),
        id=np.ascontiguousarray(id_),
        size=np.ascontiguousarray(sizes),
        arg=np.ascontiguousarray(args),
        line=np.arange(len(rows)),
    )


def guest_of(nr_threads, tunables):
    guest = Guest(environment=tunables)
    guest.library.words.watch(on=True)
    for _ in range(nr_threads - 1):
        guest.call(guest.library.calloc(0, 17, 16))
        guest.library.new_thread()
    return guest


def by_calls(operations, nr_threads, tunables):
    """Do a trace by the library's calls; return what they returned, and what is left."""
    guest = guest_of(nr_threads, tunables)
    blocks, returned = {}, []
    columns = (operations.op, operations.tid, operations.id, operations.size, operations.arg)
    for op, thread, number, size, arg in zip(*(each.tolist() for each in columns), strict=True):
        steps = call_of(guest.library, op, thread, blocks.get(number, 0), size, arg)
        blocks[number] = guest.call(steps) or 0
        returned.append(blocks[number])
    return returned, guest


def call_of(library, op, thread, old, size, arg):
    match op:
        case 0:
            return library.malloc(thread, size)
        case 1:
            return library.calloc(thread, arg, size // arg)
        case 2:
            return library.realloc(thread, old, size)
        case 3:
            return library.free(thread, old)
    return library.memalign(thread, arg, size)


def by_rows(operations, nr_threads, tunables, **options):
    """Do a trace in the loop; return the same."""
    guest = guest_of(nr_threads, tunables)
    replay = Replay(
        library=guest.library,
        operations=operations,
        threads=np.arange(nr_threads),
        objects=np.zeros(len(operations), dtype=np.int64),
        address=np.zeros(len(operations), dtype=np.int64),
        most_accesses=1 << 20,
        **options,
    )
    while replay.row < len(operations):
        if replay.run(len(operations)):
            guest.call(replay.finish())
    return replay.address.tolist(), guest


def left_by(guest):
    """Return all words that are not 0, by address of their page, and all accesses."""
    words = guest.library.words
    accesses = [each.tolist() for each in words.take_accesses()]
    table = words.words[TABLE : words.words[FIRST_SLOT]].reshape(-1, 2)
    pages = {
        int(key) >> 1: words.words[slot : slot + SLOT].tobytes()
        for key, slot in table.tolist()
        if key and words.words[slot : slot + SLOT].any()
    }
    return sorted(pages.items()), accesses


def digest(seed, nr_rows, nr_threads):
    """Return one number for all that a trace leaves."""
    operations = trace(seed, nr_rows, nr_threads)
    found = hashlib.sha256()
    for tunables in TUNABLES:
        returned, guest = by_rows(operations, nr_threads, tunables)
        found.update(repr((returned, *left_by(guest), guest.kernel.calls)).encode())
    return found.hexdigest()


@pytest.mark.parametrize("tunables", TUNABLES, ids=str)
@pytest.mark.parametrize("nr_threads", [1, 3])
def test_rows_in_the_loop_do_what_the_calls_do(nr_threads, tunables):
    operations = trace(nr_threads, 2500, nr_threads)

    returned, called = by_calls(operations, nr_threads, tunables)
    address, looped = by_rows(operations, nr_threads, tunables)

    assert returned == address
    assert called.kernel.calls == looped.kernel.calls
    assert left_by(called) == left_by(looped)


def test_a_program_touches_the_first_byte_of_what_it_gets():
    operations = trace(5, 300, 1)
    touched = np.zeros(1000, dtype=np.int64)
    address, _ = by_rows(operations, 1, {}, touches=TOUCH_FIRST, touched=touched)
    written = [
        block
        for block, size in zip(address, operations.size.tolist(), strict=True)
        if block and size
    ]

    places, metas = touched[1 : 1 + 2 * touched[0]].reshape(-1, 2).T.tolist()
    assert written == places
    assert {1 << 1 | 1} == set(metas)


def test_the_loop_stops_when_enough_accesses_are_noted():
    operations = trace(5, 300, 1)
    guest = guest_of(1, {})
    replay = Replay(
        library=guest.library,
        operations=operations,
        threads=np.zeros(1, dtype=np.int64),
        objects=np.zeros(300, dtype=np.int64),
        address=np.zeros(300, dtype=np.int64),
        usable=np.zeros(300, dtype=np.int64),
        touched=guest.library.words.log,
        most_accesses=100,
    )
    taken = []
    while replay.row < 300:
        if replay.run(300):
            guest.call(replay.finish())
        taken.append(len(guest.library.words.take_accesses()[0]))

    assert len(taken) > 20
    got = replay.address != 0
    assert (replay.usable[got] >= operations.size[got]).all()
    assert not replay.usable[~got].any()


def test_compiled_paths_are_what_they_are_as_plain_python():
    here = Path(__file__)
    program = f"import {here.stem}; print({here.stem}.digest(8, 260, 2))"
    environment = {
        **os.environ,
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONPATH": os.pathsep.join(
            [str(here.parent), str(here.parent.parent), str(here.parent.parent.parent)]
        ),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stderr, done.stdout.strip()) == ("", digest(8, 260, 2))
