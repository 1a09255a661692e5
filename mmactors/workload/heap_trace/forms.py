"""The forms of heap traces, by name: what `format` may be."""

from enum import Enum
from typing import Final


class HeapTraceFormat(Enum):
    """The forms of heap traces that can be read."""

    NPZ = "npz"
    CSV = "csv"
    JSON_LINES = "jsonl"
    MTRACE = "mtrace"
    LTRACE = "ltrace"


HEAP_TRACE_FORMATS: Final = tuple(form.value for form in HeapTraceFormat)
"""What `format` of a heap trace may be."""
