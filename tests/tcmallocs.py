"""tcmalloc without a machine, and its heap walked: where each byte is, by which laws."""

from collections import Counter
from typing import Final

import numpy as np
from attrs import define, field
from ptmallocs import Guest

from mmactors.arch.heap_trace import HeapOperations
from mmactors.malloc.replay import Replay
from mmactors.malloc.request import Madvise
from mmactors.malloc.tcmalloc.heap import span as of_span
from mmactors.malloc.tcmalloc.heap.page_map import LEAF_BITS, ROOT_LENGTH, peek_span_of
from mmactors.malloc.tcmalloc.layout import (
    CENTRAL_BYTES,
    CENTRAL_CACHE,
    CLASS_TO_SIZE,
    COUNTER,
    FREE_BYTES,
    FREE_LIST_SIZE,
    FREE_LISTS,
    LARGE_NORMAL,
    LARGE_RETURNED,
    MAX_PAGES,
    NEXT_CACHE,
    NONEMPTY,
    NUM_OBJECTS_TO_MOVE,
    NUM_SIZE_CLASSES,
    PAGE_SHIFT,
    PAGEMAP_ROOT,
    SYSTEM_BYTES,
    TC_SLOTS,
    THREAD_HEAPS,
    UNMAPPED_BYTES,
    USED_SLOTS,
)
from mmactors.malloc.tcmalloc.options.settings import Settings
from mmactors.malloc.tcmalloc.tcmalloc import Tcmalloc

DATA_AT: Final = 0x7FFF_F7E0_B000


@define(eq=False)
class TcGuest(Guest):
    """A process that is linked with tcmalloc, which has started."""

    settings: Settings = field(factory=Settings)
    library: Tcmalloc = field(init=False)
    kept: Counter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.library = Tcmalloc(
            data_at=DATA_AT,
            nr_cpus=self.nr_cpus,
            settings=self.settings,
            wants_step=lambda: self.asks_for_steps,
        )
        assert self.library.new_thread() == 0
        self.call(self.library.start(0))
        nr_taken, held = self._blocks(self.spans())
        self.kept = nr_taken - held
        assert self.kept.total() == 3, "what the process's start keeps"

    def go_on(self, running):
        """Let a thread come to its next request; pages that are given back read 0 from then on."""
        super().go_on(running)
        if isinstance(running.asked, Madvise):
            start = running.asked.address
            self.library.words.discard(start, start + running.asked.length)

    def malloc(self, size, thread=0):
        return self.call(self.library.malloc(thread, size))

    def free(self, block, thread=0):
        self.call(self.library.free(thread, block))

    def end_thread(self, thread):
        self.call(self.library.end_thread(thread))

    def peek(self, offset):
        """Return a word of the library's data."""
        return self.library.words.peek(DATA_AT + offset)

    def rows(self, rows, nr_threads=1):
        """Return a replay of rows of op, thread, object, size and argument."""
        columns = list(zip(*rows, strict=True)) if rows else [[]] * 5
        op, tid, number, size, arg = columns
        return Replay(
            library=self.library,
            operations=HeapOperations(
                first=0,
                op=np.array(op, np.uint8),
                tid=np.array(tid, np.int32),
                id=np.array(number, np.int64),
                size=np.array(size, np.int64),
                arg=np.array(arg, np.int64),
                line=np.arange(len(rows)),
            ),
            threads=np.arange(nr_threads, dtype=np.int64),
            objects=np.zeros(max(number, default=0) + 1, np.int64),
            address=np.zeros(len(rows), np.int64),
            usable=np.zeros(len(rows), np.int64),
        )

    # -- the heap, walked ------------------------------------------------------------------------

    def int_at(self, address):
        word = self.library.words.peek(address & ~7)
        return word >> (address & 4) * 8 & 0xFFFF_FFFF

    def nr_classes(self):
        return self.int_at(DATA_AT + NUM_SIZE_CLASSES)

    def class_size(self, number):
        return self.int_at(DATA_AT + CLASS_TO_SIZE + 4 * number)

    def batch(self, number):
        return self.int_at(DATA_AT + NUM_OBJECTS_TO_MOVE + 4 * number)

    def chain(self, block):
        """Return linked blocks."""
        blocks = []
        while block:
            blocks.append(block)
            assert len(blocks) < 1 << 20, "links lead round"
            block = self.library.words.peek(block)
        return blocks

    def ring(self, head):
        """Return the spans of a list, whose links must be right."""
        peek, spans, before = self.library.words.peek, [], head
        span = peek(head + of_span.NEXT)
        while span != head:
            assert before == peek(span + of_span.PREV)
            spans.append(span)
            before, span = span, peek(span + of_span.NEXT)
        assert before == peek(head + of_span.PREV)
        return spans

    def tree(self, header):
        """Return the spans of a set in order; its colors must be right."""
        peek = self.library.words.peek

        def walk(node, parent):
            if not node:
                return [], 1
            assert parent == peek(node + 8)
            left, blacks = walk(peek(node + 16), node)
            right, others = walk(peek(node + 24), node)
            assert blacks == others, "some ways down have more black nodes than others"
            is_black = peek(node) & 0xFFFF_FFFF
            children = [each for each in (peek(node + 16), peek(node + 24)) if each]
            assert is_black or all(peek(each) & 0xFFFF_FFFF for each in children)
            span = peek(node + 32)
            assert peek(span + of_span.LENGTH) == peek(node + 40)
            assert node == peek(span + of_span.OBJECTS)
            return [*left, span, *right], blacks + is_black

        spans, _ = walk(peek(header + 8), header)
        assert len(spans) == peek(header + 32)
        keys = [(peek(each + of_span.LENGTH), peek(each)) for each in spans]
        assert keys == sorted(keys)
        if spans:
            assert (spans[0], spans[-1]) == (
                peek(peek(header + 16) + 32),
                peek(peek(header + 24) + 32),
            )
        return spans

    def spans(self):
        """Return all spans by place: page, length, location, address of the span.

        They are where the map has a span for the page that it begins with: one that was joined with
        another begins nowhere.
        """
        words, par, peek = self.library.words.words, self.library.par, self.library.words.peek
        found, end = [], 0
        for page in sorted(page for pages in self._mapped() for page in pages):
            span = peek_span_of(words, par, page)
            if not span or peek(span + of_span.START) != page:
                continue
            length = peek(span + of_span.LENGTH)
            assert page >= end, f"two spans have page {page:#x}"
            end = page + length
            assert span == peek_span_of(words, par, end - 1)
            found.append((page, length, peek(span + of_span.REFCOUNT) >> 24 & 3, span))
        return found

    def _mapped(self):
        """Return the pages by number of which the map may know something."""
        root, peek, written = (
            DATA_AT + PAGEMAP_ROOT,
            self.library.words.peek,
            self.library.words.pages(),
        )
        for first in written:
            for word in range(first << 12, first + 1 << 12, 8):
                leaf = peek(word) if root <= word < root + 8 * ROOT_LENGTH else 0
                for page in written if leaf else ():
                    place = (page << 12) - leaf >> 3
                    low, high = max(place, 0), min(place + 512, 1 << LEAF_BITS)
                    number = word - root >> 3 << LEAF_BITS
                    yield range(number + low, number + high)

    def check(self, live):
        """Assert the laws of the heap, and that each block is live or in exactly one list."""
        spans = self.spans()
        free = {1: set(), 2: set()}
        for (page, length, location, _), behind in zip(spans, [*spans[1:], None], strict=True):
            if behind and location and behind[0] == page + length:
                assert location != behind[2], f"free spans side by side at {page:#x}"
        for _, length, location, span in spans:
            if location:
                free[location].add((length, span))
        for location, header in ((1, LARGE_NORMAL), (2, LARGE_RETURNED)):
            listed = [(length, span) for length, span in free[location] if length > MAX_PAGES]
            assert sorted(span for _, span in listed) == sorted(self.tree(DATA_AT + header))
            for length in range(1, MAX_PAGES + 1):
                head = DATA_AT + FREE_LISTS + 96 * (length - 1) + (48 if location == 2 else 0)
                expected = {span for its, span in free[location] if its == length}
                assert expected == set(self.ring(head))
            counted = self.peek(FREE_BYTES if location == 1 else UNMAPPED_BYTES)
            assert counted == sum(length for length, _ in free[location]) << PAGE_SHIFT
        assert self.peek(SYSTEM_BYTES) == sum(length for _, length, *_ in spans) << PAGE_SHIFT
        nr_taken, held = self._blocks(spans)
        assert nr_taken == held + self.kept + Counter(live)
        return spans

    def _blocks(self, spans):
        """Return all blocks that spans have, and those that are in lists."""
        peek, held = self.library.words.peek, Counter()
        cache = self.peek(THREAD_HEAPS)
        nr_taken = Counter()
        while cache:
            total = 0
            for number in range(self.nr_classes()):
                blocks = self.chain(peek(cache + FREE_LIST_SIZE * number))
                assert len(blocks) == self.int_at(cache + FREE_LIST_SIZE * number + 8)
                held.update(blocks)
                total += len(blocks) * self.class_size(number)
            assert total == self.int_at(cache + 4096)
            cache = peek(cache + NEXT_CACHE)
        for number in range(self.nr_classes()):
            central = DATA_AT + CENTRAL_CACHE + CENTRAL_BYTES * number
            for slot in range(self.int_at(central + USED_SLOTS)):
                blocks = self.chain(peek(central + TC_SLOTS + 16 * slot))
                assert self.batch(number) == len(blocks)
                assert blocks[-1] == peek(central + TC_SLOTS + 16 * slot + 8)
                held.update(blocks)
            in_spans = 0
            for span in self.ring(central + NONEMPTY):
                blocks = self.chain(peek(span + of_span.OBJECTS))
                assert blocks
                in_spans += len(blocks)
                held.update(blocks)
            assert in_spans == peek(central + COUNTER)
        for page, length, location, span in spans:
            number = peek(span + of_span.REFCOUNT) >> 16 & 0xFF
            if location == of_span.IN_USE and number:
                size = self.class_size(number)
                for block in range(
                    page << PAGE_SHIFT, (page + length << PAGE_SHIFT) - size + 1, size
                ):
                    nr_taken[block] = 1
            elif location == of_span.IN_USE:
                nr_taken[page << PAGE_SHIFT] = 1
        return nr_taken, held
