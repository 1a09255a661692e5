"""Did the log change? Digests of events.jsonl; README.md says how to renew them."""

import hashlib
import json
import lzma
import os
from itertools import zip_longest
from pathlib import Path

import pytest
from attrs import evolve
from machines import SANITIZE_VARIABLE, run, scenario_of

from mmactors.scenario.faults.config import (
    FailPageAlloc,
    FaultsConfig,
    LateIpi,
    SpuriousWakeUp,
)
from mmactors.scenario.schema import RecordConfig
from mmactors.units import MIB

GOLDEN = Path(__file__).parent
DIGESTS = GOLDEN / "digests.json"
NR_BEFORE = 5
SEEDS = (1, 2, 3)

SCENARIOS = {
    "faults": lambda seed: scenario_of(
        ["mmap A 256K", "touch A write", "munmap A 3..17", "touch A 0..3 read"],
        ["mmap A 128K", "touch A read", "touch A write order=rev", "brk +16K", "munmap Q"],
        cpus=2,
        policy="seeded",
        seed=seed,
    ),
    "threads": lambda seed: scenario_of(
        [
            "mmap A 128K",
            "thread T1 cpu=1",
            "thread T2 cpu=2",
            "T1& touch A write",
            "T2& generate uniform A count=500 write_percent=50",
            "touch A write order=rev",
            "wait",
            "munmap A 8..16",
            "T2: touch A read",
        ],
        cpus=3,
        on_signal="continue",
        quantum_ns=0,
        policy="seeded",
        seed=seed,
    ),
    "malloc": lambda seed: scenario_of(
        [
            *("malloc p 100", "malloc q 200K", "thread T cpu=1", "T& malloc a 3000"),
            *("realloc q 300K", "T& free a", "T& malloc b 70000", "fork C", "C: free p"),
            *("T: free b", "T: exit", "free q", "malloc r 120K", "touch r write", "free r"),
            *("malloc_trim", "free p"),
        ],
        cpus=2,
        quantum_ns=0,
        policy="seeded",
        seed=seed,
    ),
    "injected": lambda seed: evolve(
        scenario_of(
            [
                "mmap A 32K",
                "thread T cpu=1",
                "T& touch A write",
                "fork c",
                "c: touch A write",
                "munmap A 0..3",
                "wait",
            ],
            cpus=2,
            seed=seed,
        ),
        faults=FaultsConfig(
            fail_page_alloc=FailPageAlloc(
                probability=30,
                times=-1,
                reject=("pgd_alloc", "alloc_slab_page"),
                min_order=0,
                ignore_gfp_wait=False,
                ignore_gfp_highmem=False,
            ),
            late_ipi=LateIpi(probability=50, times=-1),
            spurious_wake_up=SpuriousWakeUp(probability=50, times=-1),
        ),
    ),
    "pressure": lambda seed: evolve(
        scenario_of(
            [
                "put /proc/sys/vm/overcommit_memory 1",
                "mmap A 64M",
                "touch A write",
                "sleep 1",
                "cpu 0",
            ],
            ["cpu 0", "sleep 2", "mmap A 8M", "touch A write", "barrier b 1"],
            cpus=2,
            size=32 * MIB,
            policy="seeded",
            jitter_percent=10,
            seed=seed,
        ),
        record=RecordConfig(events=("s*", "tlb_flush", "mm_vmscan_*", "mm_page_alloc_extfrag")),
    ),
}
CASES = [(name, seed) for name in SCENARIOS for seed in SEEDS]


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_the_log_is_the_one_we_know(name, seed):
    """A difference is shown where it begins."""
    log = run(SCENARIOS[name](seed)).log
    digest = hashlib.blake2b(log, digest_size=16).hexdigest()
    digests = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    case = f"{name}-{seed}"
    if os.environ.get("MMACTORS_RENEW_GOLDEN") == "1":
        digests[case] = digest
        DIGESTS.write_text(json.dumps(digests, indent=2, sort_keys=True) + "\n")
        (GOLDEN / f"{case}.jsonl.xz").write_bytes(lzma.compress(log, preset=9))

    if digest != digests[case]:
        golden = lzma.decompress((GOLDEN / f"{case}.jsonl.xz").read_bytes())
        pytest.fail(first_difference(golden, log))


@pytest.mark.parametrize("name", SCENARIOS)
def test_sanitizers_are_silent_and_change_no_event(name, monkeypatch):
    """With all of them on, the log stays the one we know."""
    monkeypatch.setenv(SANITIZE_VARIABLE, "1")
    log = run(SCENARIOS[name](SEEDS[0])).log
    digest = hashlib.blake2b(log, digest_size=16).hexdigest()

    assert json.loads(DIGESTS.read_text())[f"{name}-{SEEDS[0]}"] == digest


def first_difference(golden, log):
    """Return the text that shows the first line that differs, and the lines before it."""
    pairs = list(zip_longest(golden.splitlines(), log.splitlines(), fillvalue=b"(no more)"))
    nth = next(n for n, (was, now) in enumerate(pairs) if was != now)
    lines = [was.decode() for was, _ in pairs[max(nth - NR_BEFORE, 0) : nth]]
    was, now = pairs[nth]
    return "\n".join(
        [
            f"the log changed at line {nth + 1}; tests/golden/README.md says how to renew it",
            *(f"    {line}" for line in lines),
            f"was {was.decode()}",
            f"now {now.decode()}",
        ]
    )


def test_a_difference_is_shown_with_what_was_before_it():
    """Five lines, then both versions of the first that differs."""
    golden = b"".join(b"line %d\n" % number for number in range(20))
    text = first_difference(golden, golden.replace(b"line 12", b"another"))

    assert [f"    line {number}" for number in range(7, 12)] == text.splitlines()[1:6]
    assert ["was line 12", "now another"] == text.splitlines()[6:]


def test_a_log_that_ends_early_differs_at_its_end():
    """The missing line is named as such."""
    assert first_difference(b"a\nb\n", b"a\n").endswith("was b\nnow (no more)")
