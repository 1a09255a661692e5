"""Programs on three CPUs: the lists count what pages' flags say, and no page is lost or kept."""

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import run_to_nothing, scenario_of

from mmactors.sanitize.config import SanitizeConfig
from mmactors.units import MIB

ADVICE = (
    "COLD",
    "PAGEOUT",
    "FREE",
    "DONTNEED",
    "REMOVE",
    "WILLNEED",
    "POPULATE_READ",
    "POPULATE_WRITE",
    "SEQUENTIAL",
    "NORMAL",
)
RANGES = st.tuples(st.sampled_from("ASFP"), st.integers(0, 40), st.integers(1, 24)).map(
    lambda drawn: f"{drawn[0]} {drawn[1]}..{drawn[1] + drawn[2]}"
)
"""Anonymous memory, shared memory, a shared file, a private one: 64 pages each."""
CALLS = st.one_of(
    st.builds("touch {} {}".format, RANGES, st.sampled_from(["read", "write"])),
    st.builds("{} {}".format, st.sampled_from(["mlock", "munlock", "mlock2"]), RANGES),
    st.builds("madvise {} {}".format, RANGES, st.sampled_from(ADVICE)),
    st.builds("munmap {}".format, RANGES),
    st.builds(
        "{} {} 64K bs=4K".format,
        st.sampled_from(["read G", "write G", "read H", "write H"]),
        st.sampled_from([0, 65536, 131072]),
    ),
    st.builds("fadvise {} 0 256K DONTNEED".format, st.sampled_from("GH")),
    st.builds("ftruncate {} {}".format, st.sampled_from("GH"), st.sampled_from([10000, 262144])),
    st.sampled_from(["mlockall 1", "mlockall 2", "munlockall", "fsync H", "migrate A 0..16"]),
)
WHO = st.sampled_from(["", "T1: ", "T2: ", "T1& ", "T2& "])
"""The first thread, or another one that is waited for, or not."""
PROGRAMS = st.lists(st.tuples(WHO, CALLS).map("".join), max_size=30)
BEGIN = (
    "open G /shm/g create",
    "open H /mnt/h create",
    "ftruncate G 262144",
    "ftruncate H 262144",
    "mmap A 256K",
    "mmap S 256K flags=shared file=G",
    "mmap F 256K flags=shared file=H",
    "mmap P 256K flags=private file=H",
    "thread T1 cpu=1",
    "thread T2 cpu=2",
)
OTHER = ["sleep 1000", "unlink /shm/g", "unlink /mnt/h"]
"""Files outlive who made them, and may have died."""


@settings(max_examples=30)
@given(
    program=PROGRAMS,
    quantum_ns=st.sampled_from([0, 1000]),
    seed=st.integers(0, 3),
    on_signal=st.sampled_from(["die", "continue"]),
)
def test_lists_count_what_flags_say_and_nothing_is_left(program, quantum_ns, seed, on_signal):
    """All sanitizers are silent, at the end and in the middle; what is left waits in a batch."""
    scenario = scenario_of(
        [*BEGIN, *program, "wait"],
        OTHER,
        cpus=3,
        size=64 * MIB,
        on_signal=on_signal,
        quantum_ns=quantum_ns,
        policy="seeded",
        seed=seed,
    )
    ran = run_to_nothing(evolve(scenario, sanitize=SanitizeConfig.everything()))

    assert () == ran.machine.findings()
