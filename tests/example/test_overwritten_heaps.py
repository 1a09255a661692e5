"""What a program writes over its heap's words ends with a message, never in a hang or a crash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from overwritten_heaps import Program, TcProgram
from ptmallocs import MAIN_ARENA, Guest

from mmactors.malloc.access_rows import take_accesses
from mmactors.malloc.library import MallocAbortError, MallocCircleError
from mmactors.malloc.user_words import LOG_ENTRIES, UserWords, note_access

SEEDS = range(1000, 1100)
PLAIN_SEEDS = (0, 8)
NR_CALLS = 60
UNSORTED = MAIN_ARENA + 0x60
TESTS = Path(__file__).parent.parent


def test_calls_on_overwritten_heaps_return_or_abort():
    ends = {Program(seed).run(NR_CALLS)[1] for seed in SEEDS}

    assert len(ends) > 10


def test_calls_on_overwritten_heaps_of_tcmalloc_return_or_abort():
    """It checks next to nothing: most programs that end follow a pointer that leads nowhere."""
    ends = {TcProgram(seed).run(NR_CALLS)[1].partition(" pointer")[0] for seed in SEEDS}

    assert {"went on", "Segmentation fault"} < ends
    assert len(ends) > 4


def test_compiled_paths_meet_what_is_overwritten_as_plain_python_does():
    first, end = PLAIN_SEEDS
    done = subprocess.run(
        [sys.executable, "overwritten_heaps.py", str(first), str(end), str(NR_CALLS)],
        cwd=TESTS,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    ours = [" ".join(Program(seed).run(NR_CALLS)) for seed in range(first, end)]
    assert done.stdout.splitlines() == ours


def circle_of_two(guest, size):
    """Return two free chunks of a bin whose older one leads back to the newer one."""
    library = guest.library
    blocks = [guest.call(library.malloc(0, each)) for each in (size, 24, size, 24)]
    for block in blocks[::2]:
        guest.call(library.free(0, block))
    return blocks[0] - 16, blocks[2] - 16


@pytest.mark.parametrize("call", ["mallinfo2", "malloc_info", "malloc_stats"])
def test_a_list_that_leads_round_is_never_counted_to_its_end(call):
    guest = Guest(environment={"tcache_count": 0})
    first, second = circle_of_two(guest, 2000)
    guest.library.words.store(first + 16, second)

    with pytest.raises(MallocCircleError):
        guest.call(getattr(guest.library, call)(0))


def test_a_trim_of_a_list_that_leads_round_never_ends():
    guest = Guest(environment={"tcache_count": 0})
    first, second = circle_of_two(guest, 2000)
    guest.library.words.store(second + 24, first)
    guest.library.words.store(first + 24, second)

    with pytest.raises(MallocCircleError):
        guest.call(guest.library.malloc_trim(0, 0))


def test_a_ring_of_sizes_that_leads_round_is_never_left():
    guest = Guest(environment={"tcache_count": 0})
    first, _ = circle_of_two(guest, 2000)
    guest.call(guest.library.malloc(0, 100_000))
    # Both are in a large bin by now; all chunks of its ring claim to be too small.
    words = guest.library.words
    words.store(first + 40, first)
    words.store(first + 8, 0x41)

    def mallocs():
        for _ in range(3):
            guest.call(guest.library.malloc(0, 1900))

    with pytest.raises(MallocAbortError):
        mallocs()


def test_more_accesses_than_the_log_holds_are_dropped_and_those_before_them_kept():
    words = UserWords()
    words.watch(on=True)
    words.log[0] = LOG_ENTRIES
    note_access(words.log, 4096, 8, 0)

    addresses, codes = words.take_accesses()

    assert (len(addresses), len(codes)) == (LOG_ENTRIES, LOG_ENTRIES)


@pytest.mark.parametrize("nr_before", [0, 70_000])
def test_an_access_that_leaves_the_addresses_of_programs_ends_what_is_accessed(nr_before):
    words = UserWords()
    words.watch(on=True)
    for nth in range(nr_before):
        note_access(words.log, 8 * nth, 8, 0)
    note_access(words.log, 4096, -8, 1)
    note_access(words.log, 4096, 8, 1)

    noted = take_accesses(words, 1 << 47)

    assert noted.beyond == 4096
    assert nr_before == sum(len(trace.address) for trace in noted.traces)


def test_an_access_of_all_memory_is_counted_not_walked():
    words = UserWords()
    words.watch(on=True)
    note_access(words.log, 0, 1 << 46, 0)

    (first, *_) = zip(take_accesses(words, 1 << 47).traces, range(2), strict=False)

    assert len(first[0].address) == 1 << 16
