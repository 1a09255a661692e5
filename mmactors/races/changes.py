"""Large arrays as values: where they differ from the state at rest, which is the same for all."""

from collections.abc import Hashable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray


class Changes:
    """Where arrays differ from what they are now: from the state at rest."""

    def __init__(self, *arrays: NDArray[Any], mask: int = -1) -> None:
        """`mask`: the bits of integers that count."""
        self._arrays: Final = [array.reshape(-1) for array in arrays]
        assert all(map(np.shares_memory, self._arrays, arrays)), "a copy would not change"
        self._mask: Final = mask
        self._at_rest: Final = [array.copy() for array in arrays]

    def key(self) -> Hashable:
        """Return the places and their contents."""
        found = []
        for array, at_rest in zip(self._arrays, self._at_rest, strict=True):
            places = (array != at_rest).nonzero()[0]
            if self._mask != -1:
                places = places[(array[places] ^ at_rest[places]) & self._mask != 0]
            found.append((places.tobytes(), (array[places] & self._mask).tobytes()))
        return tuple(found)
