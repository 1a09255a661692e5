"""How much a file from a stranger may ask for: every reader's limits, each with its reason.

Counts and sizes bound the time, too, and give the same answer on every host; a clock would not.
With these a file is refused, or read, within seconds and well below 1 GB.
"""

from typing import Final

from mmactors.units import KIB, MIB

TEXT_BYTES_MAX: Final = 256 * MIB
"""Of a schedule file, or any text that is read as a whole: the schedule of a run of days is below
it, and a text of that size takes a second."""

SCENARIO_CHARS_MAX: Final = 1 * MIB
"""The longest scenario of this project has 7 KB; YAML is read at about half a megabyte a second."""
SCENARIO_LINES_MAX: Final = 100_000
"""Of a scenario, as above."""
SCENARIO_VALUES_MAX: Final = 200_000
"""Aliases are counted where they are used, so nine aliases of nine aliases stay small."""
SCENARIO_WRITTEN_MAX: Final = 60_000
"""Values that are written out: ten thousand take a second."""
SCENARIO_DEPTH_MAX: Final = 24
"""Levels of lists and mappings; the schema has 6."""

PYTHON_BYTES_MAX: Final = 1 * MIB
"""Of a module whose laws a race names: its syntax tree takes a hundred times its bytes."""

PROBLEMS_MAX: Final = 1_000
"""Problems that are collected; nobody mends more of them before looking again."""
PROBLEMS_SHOWN_MAX: Final = 100
"""Lines of an error; the last says how many there are."""
FOUND_CHARS_MAX: Final = 1_000
"""Of what was found, and of an advice."""
LEGAL_CHARS_MAX: Final = 10_000
"""Of what is legal: the names of all counters have about 4,000."""

UNPACKED_FREE_BYTES: Final = 256 * MIB
"""What a compressed trace may hold, however well it was compressed: about a second to read."""
UNPACKED_RATIO_MAX: Final = 200
"""How much longer than the compressed file the rest may make it. lackey's text of real programs
is 10 to 60 times as long as its gzip or xz; what only repeats a line is 1,000 times and more."""
ARRAYS_RATIO_MAX: Final = 2_000
"""The same for arrays of differences: those of a loop pack to a thousandth."""
LZMA_BYTES_MAX: Final = 512 * MIB
"""What an xz stream may ask for its dictionary; `xz -9` asks for 65 MiB."""
ZIP_DIRECTORY_BYTES_MAX: Final = 128 * KIB
"""A directory of four arrays has 250 bytes; each entry costs ten times its bytes in memory."""

HEAP_TRACE_THREADS_MAX: Final = 1 << 15
"""Threads of a heap trace: PID_MAX_DEFAULT of Linux. Their numbers are given by the trace."""
HEAP_TRACE_META_BYTES_MAX: Final = 1 * MIB
"""Of a heap trace's meta, which has some hundred bytes."""

SCHEDULE_ENTRIES_MAX: Final = 1 << 26
"""Turns of a run: 256 MiB in memory. A machine takes a hundred thousand a second."""
SCHEDULE_NAMES_MAX: Final = 1 << 20
"""Kinds of entries: actors times labels."""
SCRIPT_BYTES_MAX: Final = 64 * MIB
"""Unpacked entries of a schedule of `explore`, whose searches end after some thousand steps."""
KEPT_FILES_MAX: Final = 64
"""Kept schedules of a test that are looked at; eight are written."""

META_BYTES_MAX: Final = 1 * MIB
"""Of a run's meta.json, which has about a kilobyte."""
LOG_LINE_BYTES_MAX: Final = 1 * MIB
"""An event has less than a kilobyte; a longer line is no event and is never held as a whole."""
