"""How fast the C libraries' allocators are: operations per second, as JSON on standard output.

    python benchmarks/malloc.py [--seconds 0.5]

Recorded heap traces (tests/reference) are run by `validate`'s replay, each from the start of its
process: what needs no system call or lock in compiled calls, the rest by the generators, whose
system calls are answered as recorded. There is no machine. Figures are medians of processor time.

`recorded` are ptmalloc's, `tcmalloc` and `jemalloc` those of the others. Then ptmalloc's traces run
on a machine of one CPU (`heap_trace`), where system calls are those of the
simulated kernel and each block's first byte is written, without log; with and without what the
library itself reads and writes. From the first step to the last: the machine is there already.
"""

from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from measure import REPOSITORY, asked_seconds, print_figures, rates, run_machine, scenario_of

from mmactors.validate.malloc.heap_run import HeapRun
from mmactors.validate.malloc.linked import library_of, linked
from mmactors.validate.malloc.recorded_kernel import RecordedKernel
from mmactors.validate.malloc.recorded_start import RecordedStart
from mmactors.validate.malloc.recording import Configuration, HeapRecording, read_recording

PRELOADED = ("real_gitgc", "real_tar", "syn_mt_many_b")
TRACES = ("real_gdb", "real_gitgc", "syn_memalign_mix_b", "syn_mt_many_b", "syn_top_trim_b")


def replayed(recording: HeapRecording, configuration: Configuration) -> int:
    """Run a trace from its begin to its end; return how many operations it has."""
    nr_operations = len(recording.operations)
    calls = configuration.calls
    replay = HeapRun(
        linked=linked(configuration.meta["env"], calls.initial_maps, calls.stacks()),
        kernel=RecordedKernel(calls),
        operations=recording.operations,
    )
    replay.begin(RecordedStart(calls.break_base, calls.initial_maps))
    replay.run(nr_operations)
    return nr_operations


def on_machine(name: str, *, metadata_in_memory: bool) -> tuple[int, float]:
    """Run a trace on a machine; return its operations, and seconds."""
    scenario = scenario_of(
        "machine: {cpus: 1, memory: {size: 1G}}\n"
        "engine: {driver: inline}\n"
        "processes:\n"
        "  - name: p\n"
        f"    metadata_in_memory: {str(metadata_in_memory).lower()}\n"
        f"    program: [heap_trace {REPOSITORY}/tests/reference/malloc/{name}.npz]\n"
    )
    run = run_machine(scenario)
    return run.summary.counters["process[p].malloc_calls"], run.seconds


def machine_figures(key: str, *, metadata_in_memory: bool) -> dict[str, Any]:
    """Return operations a second on a machine: of each trace, and of all after one another."""
    medians = {}
    for name in TRACES:
        runs = [on_machine(name, metadata_in_memory=metadata_in_memory) for _ in range(4)][1:]
        medians[name] = runs[0][0], median(seconds for _, seconds in runs)
    all_calls, all_seconds = (sum(column) for column in zip(*medians.values(), strict=True))
    return {
        key: {name: round(calls / seconds) for name, (calls, seconds) in medians.items()},
        f"{key}_per_s": round(all_calls / all_seconds),
    }


def steps_of(folder: str, names: tuple[str, ...], configuration: str) -> dict[str, Any]:
    """Return what replays each trace under a configuration."""
    steps = {}
    for name in names:
        recording = read_recording(Path(REPOSITORY / f"tests/reference/malloc/{folder}{name}.npz"))
        meta = recording.meta_of(configuration)
        library = library_of(meta["env"])
        assert library is not None, f"{meta['env']} names a library that is modelled"
        read = recording.configuration(configuration, meta, library)
        steps[name] = partial(replayed, recording, read)
    return steps


def main() -> None:
    seconds = asked_seconds("Operations per second of the C libraries' allocators.")
    figures = rates("recorded", steps_of("", TRACES, "glibc"), seconds)
    figures |= rates("tcmalloc", steps_of("preloaded/", PRELOADED, "tc"), seconds)
    figures |= rates("jemalloc", steps_of("preloaded/", PRELOADED, "je_n1"), seconds)
    figures |= machine_figures("machine", metadata_in_memory=True)
    figures |= machine_figures("machine_without_metadata", metadata_in_memory=False)
    print_figures("malloc", figures)


if __name__ == "__main__":
    main()
