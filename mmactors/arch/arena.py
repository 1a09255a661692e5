"""The arena: all arrays of the machine by name, so that its state can be kept and put back."""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Snapshot = dict[str, Array]


class Arena:
    """Names all arrays that hold mechanism state.

    Invariant: an array handed out is never replaced, only written, so that compiled functions and
    memoryviews may keep it.
    """

    def __init__(self) -> None:
        self._arrays: Final[dict[str, Array]] = {}

    def array(self, name: str, shape: int | tuple[int, ...], dtype: Any = np.int64) -> Array:
        """Make a zeroed array. The host gives it memory when it is first written."""
        assert name not in self._arrays, f"array {name} exists already"
        array = np.zeros(shape, dtype)
        self._arrays[name] = array
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    @property
    def nr_bytes(self) -> int:
        """The size of all arrays; the host may hold less of it."""
        return sum(array.nbytes for array in self._arrays.values())

    def snapshot(self) -> Snapshot:
        """Return a copy of all state."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def restore(self, snapshot: Snapshot) -> None:
        """Put back what `snapshot` returned."""
        assert snapshot.keys() == self._arrays.keys(), "the snapshot is of another arena"
        for name, array in self._arrays.items():
            array[...] = snapshot[name]

    def key(self) -> bytes:
        """Return a digest that is equal when all state is equal."""
        digest = hashlib.blake2b(digest_size=16)
        for name, array in self._arrays.items():
            digest.update(name.encode())
            digest.update(array.data if array.flags.c_contiguous else array.tobytes())
        return digest.digest()
