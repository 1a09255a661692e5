"""Words in frames, against the bytes that they are."""

from hypothesis import given
from hypothesis import strategies as st

from mmactors.arch.arena import Arena
from mmactors.arch.frame_words import WORD_BYTES, WORD_MASK, FrameWords
from mmactors.arch.page import PageColumns
from mmactors.units import PAGE_SIZE

PAGES = (3, 5)
OFFSETS = st.sampled_from([*range(12), *range(PAGE_SIZE - 12, PAGE_SIZE)])
STEPS = st.one_of(
    st.tuples(
        st.just("store"),
        st.sampled_from(PAGES),
        OFFSETS,
        st.integers(0, WORD_MASK),
        st.integers(1, 4),
    ),
    st.tuples(
        st.sampled_from(["copy", "write", "read", "drop", "give back"]), st.sampled_from(PAGES)
    ),
)


@given(st.lists(STEPS, max_size=20))
def test_words_are_the_bytes_that_were_stored(steps):
    """Of any alignment and length, copied, written to a device and read again, and given back."""
    pages = PageColumns(Arena(), 8)
    words = FrameWords(pages)
    model = {pfn: bytearray(PAGE_SIZE) for pfn in PAGES}
    device = bytearray(PAGE_SIZE)
    for verb, pfn, *rest in steps:
        other = PAGES[pfn == PAGES[0]]
        match verb:
            case "store":
                offset, value, nr_bytes = rest
                nr_bytes = min(nr_bytes, PAGE_SIZE - offset)
                words.store(pfn, offset, value, nr_bytes)
                stored = value & (1 << 8 * nr_bytes) - 1
                model[pfn][offset : offset + nr_bytes] = stored.to_bytes(nr_bytes, "little")
            case "copy":
                words.copy(pfn, other)
                model[other][:] = model[pfn]
            case "write":
                words.write_page(pfn, "file", 0)
                device[:] = model[pfn]
            case "read":
                words.read_page(pfn, "file", 0)
                model[pfn][:] = device
            case "drop":
                words.drop_page("file", 0)
                device[:] = bytes(PAGE_SIZE)
            case "give back":
                pages.generation_view[pfn] += 1
                model[pfn][:] = bytes(PAGE_SIZE)

    for pfn, there in model.items():
        for offset in (*range(12), *range(PAGE_SIZE - 12, PAGE_SIZE - 3)):
            word = int.from_bytes(there[offset : offset + WORD_BYTES], "little")
            assert word == words.load(pfn, offset), f"page {pfn}, offset {offset}"
        assert (words.key(pfn) == ()) == (not any(there))
