"""The words that a C library wrote: they are kept by page, and who touches them is noted."""

import random

from mmactors.malloc.user_words import (
    LOG_ENTRIES,
    NR_SLOTS,
    UserWords,
    clear_words,
    load_bits,
    store_bits,
)

PLACES = (0x5555_5555_9000, 0x7FFF_F7D0_0000, 0x7FFF_F000_0000, 0x7FFF_EC00_0000)
"""A heap, mappings, and heaps of arenas, whose pages have the same low bits."""


def signed(value):
    return (value & (1 << 64) - 1 ^ 1 << 63) - (1 << 63)


def test_words_are_what_was_written_last_and_zero_in_pages_given_back():
    words, model = UserWords(), {}
    chance = random.Random(3)
    for _ in range(6000):
        address = chance.choice(PLACES) + chance.randrange(1 << 22) & ~7
        match chance.randrange(8):
            case 0:
                assert model.get(address, 0) == words.load(address)
            case 1 if chance.random() < 0.05:
                start = address & -4096
                end = start + 4096 * chance.choice([1, 2, 300, 5000])
                words.discard(start, end)
                model = {each: model[each] for each in model if not start <= each < end}
            case 2:
                place, value = chance.randrange(4), chance.randrange(1 << 16)
                words.make_room()
                store_bits(words.words, words.log, address + 2 * place, 2, value)
                kept = model.get(address, 0) & ~(0xFFFF << 16 * place)
                model[address] = signed(kept | value << 16 * place)
                assert value == load_bits(words.words, words.log, address + 2 * place, 2)
            case _:
                model[address] = chance.randrange(-1 << 63, 1 << 63)
                words.store(address, model[address])

    assert all(words.load(address) == value for address, value in model.items())
    assert words.words[NR_SLOTS] > 1000


def test_a_child_has_the_same_words_and_its_own_from_then_on():
    parent = UserWords()
    parent.store(PLACES[0], 7)

    child = parent.copy()
    child.store(PLACES[0], 8)

    assert (7, 8) == (parent.load(PLACES[0]), child.load(PLACES[0]))


def test_accesses_are_noted_in_order_while_somebody_watches():
    words = UserWords()
    words.store(PLACES[0], 1)
    words.watch(on=True)
    words.store(PLACES[0], 2)
    words.load(PLACES[1])
    store_bits(words.words, words.log, PLACES[0] + 10, 2, 3)
    clear_words(words.words, words.log, PLACES[0], 64)
    words.put(PLACES[0], 9)

    address, meta = words.take_accesses()

    assert [PLACES[0], PLACES[1], PLACES[0] + 10, PLACES[0]] == address.tolist()
    assert [8 << 1 | 1, 8 << 1, 2 << 1 | 1, 64 << 1 | 1] == meta.tolist()
    assert 9 == words.load(PLACES[0])
    assert [PLACES[0]] == words.take_accesses()[0].tolist()
    words.watch(on=False)
    words.load(PLACES[0])
    assert [] == words.take_accesses()[0].tolist()


def test_the_log_of_accesses_has_room_for_any_operation():
    words = UserWords()
    words.watch(on=True)

    assert words.log.shape[0] == 1 + 2 * LOG_ENTRIES
