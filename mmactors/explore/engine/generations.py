"""A table that is bounded: what is not made use of for two generations is forgotten.

What was forgotten is found out again when it comes up: that takes longer and is as sure.
"""

from collections.abc import Hashable
from typing import Final, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Generations(dict[K, V]):
    """This generation, by key; who does not find a key here asks for it by `recall` or `renew`."""

    __slots__ = ("_size", "older")

    def __init__(self, size: int) -> None:
        """`size`: so many entries are made before those are forgotten that were not used since."""
        self._size: Final = size
        self.older: dict[K, V] = {}
        """The generation before."""

    def recall(self, key: K) -> V | None:
        """Return what the generation before knew of `key`, which is known here from now on."""
        value = self.older.get(key)
        if value is not None:
            self.put(key, value)
        return value

    def renew(self, key: K, value: V) -> V | None:
        """Return what the generation before knew of `key`; if that is nothing, take `value` down.

        Either is known here from now on.
        """
        known = self.older.get(key) if self.older else None
        self.put(key, value if known is None else known)
        return known

    def put(self, key: K, value: V) -> None:
        """Take something down of a key that this generation does not know yet."""
        if len(self) >= self._size:
            self._age()
        self[key] = value

    def clear(self) -> None:
        """Forget all."""
        super().clear()
        self.older.clear()

    def _age(self) -> None:
        self.older = dict(self)
        super().clear()
