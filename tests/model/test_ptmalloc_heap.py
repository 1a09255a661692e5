"""ptmalloc under any sequence of calls: blocks are apart, every chunk is somewhere once."""

from heap_walk import Walk
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ptmallocs import Guest

from mmactors.malloc.user_words import NR_LOST

SIZES = st.one_of(
    st.integers(0, 200),
    st.integers(0, 5000),
    st.sampled_from([1000, 1032, 1033, 65_500, 100_000, 131_000, 140_000, 300_000]),
)
TUNABLES = st.fixed_dictionaries(
    {},
    optional={
        "tcache_count": st.sampled_from([0, 1, 3]),
        "mxfast": st.sampled_from([0, 32, 160]),
        "mmap_threshold": st.sampled_from([4096, 1 << 25]),
        "trim_threshold": st.sampled_from([4096, 65_536]),
        "top_pad": st.sampled_from([0, 1 << 20]),
        "arena_max": st.sampled_from([1, 2]),
        "tcache_unsorted_limit": st.sampled_from([1, 3]),
    },
)


class Heap(RuleBasedStateMachine):
    """Up to three threads, one after the other; memory may end at any system call."""

    @initialize(tunables=TUNABLES, nr_threads=st.integers(1, 3))
    def begin(self, tunables, nr_threads):
        self.guest = Guest(environment=tunables)
        self.library = self.guest.library
        for _ in range(nr_threads - 1):
            self.library.new_thread()
        self.threads = list(range(nr_threads))
        self.live = {}
        """By block how many bytes its owner has asked for."""
        self.is_full = False
        self.guest.kernel.refuses = lambda _: self.is_full

    def got(self, block, size):
        if not block:
            assert self.is_full
            return
        assert block % 16 == 0
        assert size <= self.library.peek_usable_size(block)
        end = block + self.library.peek_usable_size(block)
        for other in self.live:
            other_end = other + self.library.peek_usable_size(other)
            assert end <= other or other_end <= block, "blocks overlap"
        self.live[block] = size

    def thread(self, data):
        return data.draw(st.sampled_from(self.threads))

    def block(self, data):
        return data.draw(st.sampled_from(sorted(self.live)))

    @rule(data=st.data(), size=SIZES, times=st.sampled_from([1, 2, 9, 20]))
    def malloc(self, data, size, times):
        thread = self.thread(data)
        for _ in range(times):
            self.got(self.guest.call(self.library.malloc(thread, size)), size)

    @rule(data=st.data(), size=SIZES)
    def calloc(self, data, size):
        self.got(self.guest.call(self.library.calloc(self.thread(data), 1, size)), size)

    @rule(data=st.data(), size=SIZES, shift=st.integers(4, 14))
    def memalign(self, data, size, shift):
        block = self.guest.call(self.library.memalign(self.thread(data), 1 << shift, size))
        assert block % (1 << shift) == 0
        self.got(block, size)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), size=SIZES)
    def realloc(self, data, size):
        old = self.block(data)
        block = self.guest.call(self.library.realloc(self.thread(data), old, size))
        if size == 0 or block:
            del self.live[old]
        if size:
            self.got(block, size)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), times=st.sampled_from([1, 1, 3, 10]))
    def free(self, data, times):
        thread = self.thread(data)
        for _ in range(min(times, len(self.live))):
            block = self.block(data)
            del self.live[block]
            self.guest.call(self.library.free(thread, block))

    @rule(data=st.data(), pad=st.sampled_from([0, 4096, 1 << 20]))
    def malloc_trim(self, data, pad):
        self.guest.call(self.library.malloc_trim(self.thread(data), pad))

    @rule(data=st.data())
    def end_thread(self, data):
        if len(self.threads) > 1:
            thread = self.thread(data)
            self.threads.remove(thread)
            self.guest.call(self.library.end_thread(thread))

    @rule(is_full=st.booleans())
    def memory_ends(self, is_full):
        self.is_full = is_full

    @invariant()
    def every_chunk_is_somewhere_once(self):
        if hasattr(self, "live"):
            Walk(self.library, self.live).check()
            assert not self.guest.held, "a lock was not given back"
            assert not self.library.words.words[NR_LOST], "a page found no room"


TestHeap = Heap.TestCase
TestHeap.settings = settings(max_examples=30, stateful_step_count=40)
