"""The types of arrays that compiled functions take, by the width of an element.

They are declared, not guessed: a compiled function has one signature, which its annotations say
(arch/native/signature.py), whatever it is called with first.
"""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.int8]
Shorts = NDArray[np.int16]
Column = NDArray[np.int32]
Words = NDArray[np.int64]
Table = np.ndarray[tuple[int, int], np.dtype[np.int64]]
"""Words in rows, such as counters by CPU and item."""

ColumnView = Column | memoryview
WordsView = Words | memoryview
"""What a function takes that Python runs on memoryviews and compiled functions on arrays."""
