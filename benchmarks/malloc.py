"""How fast ptmalloc is: operations per second, as JSON on standard output.

    python benchmarks/malloc.py [--seconds 0.5]

Recorded heap traces (tests/reference) are run by `validate`'s replay, each from the start of its
process: what needs no system call or lock in compiled calls, the rest by the generators, whose
system calls are answered as recorded. There is no machine. Figures are medians of processor time.
"""

from functools import partial
from pathlib import Path

from measure import REPOSITORY, asked_seconds, print_figures, rates

from mmactors.validate.malloc.heap_run import HeapRun
from mmactors.validate.malloc.linked import glibc_of
from mmactors.validate.malloc.recorded_kernel import RecordedKernel
from mmactors.validate.malloc.recording import Configuration, HeapRecording, read_recording

TRACES = ("real_gdb", "real_gitgc", "syn_memalign_mix_b", "syn_mt_many_b", "syn_top_trim_b")


def replayed(recording: HeapRecording, configuration: Configuration) -> int:
    """Run a trace from its begin to its end; return how many operations it has."""
    nr_operations = len(recording.operations)
    replay = HeapRun(
        library=glibc_of(configuration.meta["env"]),
        kernel=RecordedKernel(configuration.calls),
        operations=recording.operations,
    )
    replay.begin()
    replay.run(nr_operations)
    return nr_operations


def main() -> None:
    seconds = asked_seconds("Operations per second of ptmalloc.")
    steps = {}
    for name in TRACES:
        recording = read_recording(Path(REPOSITORY / f"tests/reference/malloc/{name}.npz"))
        configuration = recording.configuration("glibc", recording.meta_of("glibc"))
        steps[name] = partial(replayed, recording, configuration)
    print_figures("malloc", rates("recorded", steps, seconds))


if __name__ == "__main__":
    main()
