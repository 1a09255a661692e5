"""Random programs on one machine: at each moment the count of promises is what stands behind it."""

from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import drive, scenario_of

from mmactors.mm.area.overcommit import OvercommitPolicy
from mmactors.sanitize.at_rest import Mapped, counter_problems
from mmactors.scenario.schema import KernelConfig
from mmactors.units import MIB

BEGIN = (
    "open F /tmp/f create",
    "ftruncate F 64K",
    "mmap A 64K",
    "mmap S 64K flags=shared,anon",
    "fork C",
)
WHO = st.sampled_from(["", "C: "])
ANY = st.sampled_from(["A", "B", "S", "N", "P", "G"])
FILES = ["/proc/meminfo", "/proc/self/smaps", "/proc/sys/vm/overcommit_ratio", "/proc/9/maps"]


@st.composite
def operations(draw):
    """Draw an operation of the parent or of its child."""
    first = draw(st.integers(0, 14))
    end = draw(st.integers(first + 1, 16))
    name = draw(ANY)
    place = f"{name} {first}..{end}"
    reserve = draw(st.sampled_from(["", ",noreserve"]))
    prot = draw(st.sampled_from(["r", "rw", "none"]))
    texts = [
        f"mmap B {end * 4}K prot={prot} flags=private,anon{reserve}",
        f"mmap N {end * 4}K flags=shared,anon{reserve}",
        f"mmap S {end * 256}K flags=shared,anon",
        f"mmap P 64K prot={prot} flags=private{reserve} file=F",
        f"mmap G {end * 4}K prot={prot} flags=private,anon,growsdown{reserve}",
        f"munmap {place}",
        f"mprotect {place} prot={prot}",
        f"mremap {place} len={end * 8}K flags=maymove",
        *[f"touch {place} write"] * 3,
        f"touch {place} read",
        f"madvise {place} {draw(st.sampled_from(['DONTNEED', 'REMOVE', 'DONTFORK']))}",
        f"brk {draw(st.sampled_from(['+', '-']))}{end * 4}K",
        f"write F {first * 4}K {(end - first) * 4}K bs=4K",
        f"read F {first * 4}K {(end - first) * 4}K bs=4K",
        f"ftruncate F {end * 4}K",
        f"put /proc/sys/vm/overcommit_memory {draw(st.sampled_from('012'))}",
        f"put /proc/sys/vm/overcommit_kbytes {draw(st.integers(0, 4096))}",
        f"put /proc/sys/vm/drop_caches {draw(st.integers(0, 5))}",
        f"get {draw(st.sampled_from(FILES))}",
        "snap s",
        f"oomadj {draw(st.integers(-1000, 1000))}",
    ]
    who = draw(WHO)
    return draw(st.sampled_from(["fork D", "kill C", *[who + text for text in texts]]))


@define
class Watcher:
    """Looks at the machine after each operation of the program."""

    kernel: object
    nr_looks: int = 0

    def before(self, nth, operation):
        return operation

    def after(self, nth, result):
        with self.kernel.engine.guard.suspended():
            assert [] == counter_problems(self.kernel, Mapped(self.kernel))
        self.nr_looks += 1


@given(
    policy=st.builds(
        OvercommitPolicy, memory=st.integers(0, 2), kbytes=st.sampled_from([0, 1024, 4096])
    ),
    program=st.lists(operations(), min_size=20, max_size=60),
    on_signal=st.sampled_from(["die", "continue"]),
)
@settings(max_examples=30)
def test_each_promise_stands_for_an_area_or_a_page(policy, program, on_signal):
    """Whatever is mapped, grown, moved, forked, truncated or refused: no promise is lost."""
    named = [text.replace("fork D", f"fork D{nth}") for nth, text in enumerate(program)]
    scenario = scenario_of(
        [*BEGIN, *named],
        cpus=2,
        size=32 * MIB,
        kernel=KernelConfig(overcommit=policy),
        on_signal=on_signal,
    )
    watchers = []

    def watch(kernel):
        watchers.append(Watcher(kernel))
        return watchers[0]

    kernel = drive(scenario, watch=watch).kernel

    files = sum(mapping.nr_accounted for mapping in kernel.file_system.mappings())
    assert kernel.overcommit.committed == files + kernel.overcommit.nr_forgotten
    assert watchers[0].nr_looks > 0
