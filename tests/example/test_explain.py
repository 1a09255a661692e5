"""`explain`: the words for what a scenario does."""

from pathlib import Path

from mmactors.scenario.explain import explain_boot, explain_scenario
from mmactors.scenario.load import load_scenario, parse_scenario

ROOT = Path(__file__).parents[2]


def test_the_quickstart_is_explained():
    """CPUs, caches, zones, each process, what is recorded and what is checked."""
    text = explain_scenario(load_scenario(ROOT / "configs/quickstart.yaml"))

    for expected in (
        "Machine: 4 CPUs, 4-level page tables",
        "shared: LLC 8M (16 ways, 64-byte lines, lru), non-inclusive",
        "Memory: 512M on 1 node; after boot",
        "ties are permuted by seed 1",
        "grep: 1 process on CPU 0",
        "Recorded: all events",
        "Checked at the end: pgfault >= 100",
    ):
        assert expected in text


def test_a_program_is_explained_operation_by_operation():
    """Equal operations are counted, labels and threads said, exit added."""
    scenario = parse_scenario(
        "machine: {cpus: 2}\n"
        "processes:\n"
        "  - name: app\n"
        "    copies: 2\n"
        "    program: [mmap A 1M, touch A write step=2, thread T cpu=1, T& touch A read,\n"
        "              compute 3us, compute 3us, generate zipf A 0..4 seed=2, wait,\n"
        "              munmap A 0..16]\n",
        file="x",
        folder=ROOT,
    )

    lines = explain_scenario(scenario).splitlines()

    at = lines.index("  app.0 ... (alike): 2 processes on CPUs 0-1")
    assert [
        "    1. maps 1M of anonymous memory as A",
        "    2. writes one byte of each page of A (step=2)",
        "    3. starts the thread T on CPU 1, which shares its memory",
        "    4. T reads one byte of each page of A, without waiting for it",
        "    5. computes for 3us without touching memory, 2 times",
        "    6. accesses A 0..4 by the pattern zipf (seed=2)",
        "    7. waits for all operations under way",
        "    8. unmaps A 0..16",
        "    9. exits",
    ] == lines[at + 1 : at + 10]


def test_what_is_sampled_is_explained():
    """Only if anything is."""
    scenario = load_scenario(ROOT / "configs/quickstart.yaml", ["record.sample=20us"])

    assert "Sampled every 20us: pgfault, " in explain_scenario(scenario)
    assert "Sampled" not in explain_scenario(load_scenario(ROOT / "configs/quickstart.yaml"))


def test_boot_is_told_call_by_call_up_to_the_hand_over():
    """Calls before anybody could print them come first; what is handed over is all that is free."""
    scenario = load_scenario(
        ROOT / "configs/quickstart.yaml", ("machine.memory.cmdline=movablecore=64M",)
    )

    lines = explain_boot(scenario).splitlines()
    free = [int(line.split()[-2]) for line in lines if line.startswith("  [mem")]
    zones = [int(line.split()[-2]) for line in lines if line.startswith("Node 0, zone")]

    assert lines[0] == "BIOS-provided physical RAM map:"
    assert "memblock_reserve: [0x0000000001000000-0x00000000043fffff] early_reserve_memory" in lines
    assert "  Node 0: 0x000000001c000000" in lines
    assert 3 == len(zones)
    assert sum(zones) == sum(free)
