"""Shared cells: integers that several actors touch; the operation is the label.

Each operation waits for its turn, acts at once, and says what it touches and how. Adds commute with
adds as long as nobody looks at the result, so only `add` is labelled as one. `Cell` holds its own
value, `ColumnCell` stands for one element of a column such as the reference counts of all pages.
"""

from typing import Final

from mmactors.engine.baton import Engine
from mmactors.engine.guard import Column
from mmactors.label import Label, Mode


class ColumnCell:
    """One element of a shared column, with atomic operations."""

    def __init__(self, engine: Engine, column: Column, index: int, *, name: str) -> None:
        self.name: Final = f"{name}[{index}]"
        self._engine: Final = engine
        self._column: Final = column
        self._index: Final = index

    async def read(self) -> int:
        """Return the value (READ_ONCE, atomic_read)."""
        await self._step("read", Mode.READ)
        return self._column[self._index]

    async def write(self, value: int) -> None:
        """Set the value (WRITE_ONCE, atomic_set)."""
        await self._step("write", Mode.WRITE)
        self._column[self._index] = value

    async def add(self, value: int) -> None:
        """Add without looking (atomic_add)."""
        await self._step("add", Mode.ADD)
        self._column[self._index] += value

    async def inc(self) -> None:
        """Add one without looking (atomic_inc)."""
        await self.add(1)

    async def add_return(self, value: int) -> int:
        """Add and return the new value (atomic_add_return)."""
        await self._step("add_return", Mode.WRITE)
        self._column[self._index] += value
        return self._column[self._index]

    async def dec_and_test(self) -> bool:
        """Subtract one and return whether that made it zero (atomic_dec_and_test)."""
        await self._step("dec_and_test", Mode.WRITE)
        self._column[self._index] -= 1
        return self._column[self._index] == 0

    async def get_and_clear(self) -> int:
        """Set zero and return what was there (ptep_get_and_clear)."""
        return await self.xchg(0)

    async def xchg(self, value: int) -> int:
        """Set the value and return what was there."""
        await self._step("xchg", Mode.WRITE)
        before = self._column[self._index]
        self._column[self._index] = value
        return before

    async def cmpxchg(self, *, expected: int, value: int) -> bool:
        """Set the value if it is `expected`; return whether it was (try_cmpxchg)."""
        await self._step("cmpxchg", Mode.WRITE)
        if self._column[self._index] != expected:
            return False
        self._column[self._index] = value
        return True

    async def _step(self, operation: str, mode: Mode) -> None:
        engine = self._engine
        if engine.wants_step():
            await engine.step(Label(f"{operation} {self.name}", ((self.name, mode),)))


class Cell(ColumnCell):
    """A shared integer of its own, guarded in guard mode."""

    def __init__(self, engine: Engine, value: int = 0, *, name: str) -> None:
        super().__init__(engine, engine.guard.column([value], name), 0, name=name)
