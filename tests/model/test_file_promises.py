"""Random programs on files: what they store is found again, is private, and comes to disk.

The sanitizer of contents is the model: it knows what each page of a file and of private memory has
to hold, and what fsync and msync promised.
"""

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import run, scenario_of

from mmactors.sanitize.config import SanitizeConfig

NR_PAGES = 3
BEGIN = (
    "ftruncate F 12K",
    "mmap P 12K file=F flags=private",
    "mmap S 12K file=F flags=shared",
    "thread T cpu=1",
    "fork C",
    "mmap Q 12K file=F flags=private",
)
WHO = st.sampled_from(["", "T: ", "T& ", "C: ", "C& "])
AREAS = st.sampled_from("PS")


@st.composite
def pieces(draw):
    """Draw a range of pages."""
    first = draw(st.integers(0, NR_PAGES - 1))
    return first, draw(st.integers(first + 1, NR_PAGES))


ADVICE = ["DONTNEED", "WILLNEED", "RANDOM", "SEQUENTIAL", "NORMAL"]


@st.composite
def operations(draw):
    """Draw an operation of the parent, of its thread or of its child."""
    first, end = draw(pieces())
    size = f"{(end - first) * 4}K"
    store = f"touch {draw(AREAS)} {first}..{end} write"
    texts = [
        *[store] * 4,
        f"touch {draw(AREAS)} {first}..{end} read",
        f"write F {first * 4}K {size} bs=4K",
        f"write F {first * 4}K {size} bs=4K from=S",
        f"read F {first * 4}K {size} bs=4K",
        "fsync F",
        f"msync S {first}..{end} flags={draw(st.sampled_from(['sync', 'async,invalidate']))}",
        f"madvise S {first}..{end} REMOVE",
        f"madvise {draw(AREAS)} {first}..{end} DONTNEED",
        f"ftruncate F {end * 4}K",
        f"fadvise F {first * 4}K {size} {draw(st.sampled_from(ADVICE))}",
        f"readahead F {first * 4}K {size}",
        f"madvise S {first}..{end} {draw(st.sampled_from(['WILLNEED', 'POPULATE_READ']))}",
        "madvise S COLLAPSE",
        f"mprotect P {first}..{end} prot={draw(st.sampled_from(['r', 'rw']))}",
    ]
    return draw(WHO) + draw(st.sampled_from(texts))


@given(
    path=st.sampled_from(["/shm/f", "/mnt/f"]),
    program=st.lists(operations(), min_size=20, max_size=40),
    on_signal=st.sampled_from(["die", "continue"]),
)
@settings(max_examples=15)
def test_a_file_keeps_what_is_promised(path, program, on_signal):
    """Whatever parent, thread and child do with it; nothing is left at the end."""
    begin = [f"open F {path} create", *BEGIN]
    done = [*begin, *program, "wait", "fsync F", f"unlink {path}"]
    scenario = scenario_of(done, cpus=2, on_signal=on_signal)
    config = evolve(SanitizeConfig.everything(), lockdep=False)

    ran = run(evolve(scenario, sanitize=config), is_logged=False)

    assert () == ran.machine.findings()
