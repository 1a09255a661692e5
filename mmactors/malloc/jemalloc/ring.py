"""Lists that close to rings, whose head is the address of the first (jemalloc 5.3.0, ql.h, qr.h).

Who is on one has two words for it: the next one's address, and the one's before.
"""

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.user_words import load_word, store_word


@compiled
def new_element(words: Words, log: Words, element: int) -> None:
    """Let somebody be on no list (ql_elm_new)."""
    store_word(words, log, element, element)
    store_word(words, log, element + 8, element)


@compiled
def append_element(words: Words, log: Words, head: int, element: int) -> None:
    """Let somebody be the last of a list (ql_tail_insert)."""
    first = load_word(words, log, head)
    if first == 0:
        store_word(words, log, head, element)
        return
    last = load_word(words, log, first + 8)
    store_word(words, log, element + 8, last)
    store_word(words, log, element, first)
    store_word(words, log, last, element)
    store_word(words, log, first + 8, element)


@compiled
def remove_element(words: Words, log: Words, head: int, element: int) -> None:
    """Take somebody from a list (ql_remove)."""
    following = load_word(words, log, element)
    if load_word(words, log, head) == element:
        store_word(words, log, head, 0 if following == element else following)
    if following != element:
        before = load_word(words, log, element + 8)
        store_word(words, log, before, following)
        store_word(words, log, following + 8, before)
        new_element(words, log, element)
