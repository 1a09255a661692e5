"""Accesses that a library notes are those that the machine makes: byte for byte, in order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmactors.arch.trace import KIND_MASK, LOAD, SIZE_MASK, SIZE_SHIFT, STORE, Trace
from mmactors.malloc import access_rows
from mmactors.malloc.access_rows import take_accesses
from mmactors.malloc.user_words import UserWords, note_access
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

END = 1 << 47
ACCESSES = st.lists(
    st.tuples(
        st.integers(0, 8 * PAGE_SIZE),
        st.sampled_from((0, 1, 8, 16, PAGE_SIZE, 5 * PAGE_SIZE + 3)),
        st.integers(0, 1),
    ),
    max_size=30,
)


def noted(accesses):
    words = UserWords()
    words.watch(on=True)
    for address, nr_bytes, is_store in accesses:
        note_access(words.log, address, nr_bytes, is_store)
    return words


def traces_in(words):
    """Return all traces of what was noted."""
    taken = take_accesses(words, END)
    if taken is None:
        return []
    return [taken] if isinstance(taken, Trace) else list(taken.traces)


def bytes_of(traces):
    """Return each byte that is accessed, with its kind, in order; no row is in two pages."""
    found = []
    for trace in traces:
        for address, meta in zip(trace.address.tolist(), trace.meta.tolist(), strict=True):
            size = meta >> SIZE_SHIFT & SIZE_MASK
            assert address >> PAGE_SHIFT == (address + size - 1) >> PAGE_SHIFT
            found.append((address, size, meta & KIND_MASK))
    return found


def pieces(accesses):
    """Return the same by hand."""
    found = []
    for address, nr_bytes, is_store in accesses:
        start, end = address, address + nr_bytes
        while start < end:
            stop = min(end, (start // PAGE_SIZE + 1) * PAGE_SIZE)
            found.append((start, stop - start, STORE if is_store else LOAD))
            start = stop
    return found


@given(ACCESSES)
def test_each_access_is_a_row_a_page(accesses):
    """And they are forgotten."""
    words = noted(accesses)

    assert pieces(accesses) == bytes_of(traces_in(words))
    assert [] == traces_in(words)


@given(ACCESSES)
def test_accesses_of_very_many_pages_are_cut_the_same_way(accesses):
    """As if a trace had room for a few rows only."""
    address = np.array([each[0] for each in accesses if each[1]], np.int64)
    code = np.array([each[1] << 1 | each[2] for each in accesses if each[1]], np.int64)
    if len(address):
        traces = list(access_rows._traces_of(address, code))
        assert pieces(accesses) == bytes_of(traces)


@given(ACCESSES, st.sampled_from((-8, -1, END - 4, END, 1 << 62)))
def test_what_follows_an_access_to_nowhere_is_not_done(accesses, nowhere):
    """It is told apart; those before it are done."""
    words = noted([*accesses, (nowhere, 8, 0), (64, 8, 1)])
    taken = take_accesses(words, END)

    assert nowhere == taken.beyond
    assert pieces(accesses) == bytes_of(taken.traces)
    assert [] == traces_in(words)
