"""How large a recording may be: the one place for what its readers refuse to hold.

The largest recordings of Linux that there are have 1.6 MB of JSON with 420,000 values, guests of
5 GiB, and traces of 3.5 million accesses.
"""

from typing import Final

from mmactors.units import GIB, MIB, MS

DOCUMENT_BYTES_MAX: Final = 32 * MIB
"""Of a JSON document, unpacked."""
VALUES_MAX: Final = 2_000_000
"""Of a JSON document: numbers, texts, lists and objects, counted by their separators."""
DEPTH_MAX: Final = 32
"""Lists and objects within each other."""
TEXT_CHARS_MAX: Final = 1 * MIB
"""Of one text, such as a whole file of /proc."""
LINE_CHARS_MAX: Final = 4096
"""Of one operation, name, event, or line of a text."""
NUMBER_MAX: Final = (1 << 64) - 1
NUMBER_MIN: Final = -(1 << 63)
"""What one counter, address or result of a kernel of 64 bits holds."""
OPERATIONS_MAX: Final = 512
WORKERS_MAX: Final = 20
"""Operations of a list, and who does them: what the recordings' interpreter has room for."""
CPUS_MAX: Final = 64
"""Of a recorded guest."""
MEMORY_MIB_MAX: Final = 16 << 10
"""Of a recorded guest; the model holds about 64 bytes for each of its pages."""
FRAMES_MAX: Final = 16 * GIB >> 12
"""Page frames of a recorded page allocator."""
SWITCHES_MAX: Final = 400_000
ACCESSES_OF_CASE_MAX: Final = 10_000_000
SYSTEM_NS_MAX: Final = 60 * MS
"""Of all machines on which a recorded case is run: switches between threads, accesses to memory,
time of CPUs in the kernel. The longest recordings of Linux, in which faults race with `churn`, have
168,000, 22,000 and 12 ms. `churn N 4K touch` takes a host longest: 180 ms for one."""
ACCESSES_MAX: Final = 20_000_000
"""Of a recorded trace: they are held in memory, 16 bytes each."""
GEOMETRIES_MAX: Final = 64
"""Of a recorded trace, for each of the tools: the trace is run through every one."""
TRACE_PAGES_MAX: Final = 20_000
"""That a recorded trace touches: each may need four page tables of its own."""
PROBLEMS_MAX: Final = 20
"""That are told of one file."""
HEAP_OPERATIONS_MAX: Final = 4_000_000
"""Of a recorded heap trace; an operation has 100 bytes in memory."""
HEAP_CALLS_MAX: Final = 1 << 20
"""System calls of a recorded heap trace."""
HEAP_CONFIGURATIONS_MAX: Final = 64
"""Of a recorded heap trace: it is run through every one."""
