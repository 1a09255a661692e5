"""Shared cells for models: one value that several actors touch, of any hashable type.

The operations are those of `mmactors.engine.cell.Cell`, and so are the labels: each waits for its
turn, acts at once, and says what it touches and how.

The hottest ones are generators that yield PARK themselves: one object a step instead of three.
"""

from collections.abc import Callable, Generator, Hashable
from typing import Any, Final, Generic, TypeVar

from mmactors.engine.actor import PARK, PARKING
from mmactors.explore.engine.exact import PLAIN, exact
from mmactors.explore.engine.step import Step, StepTable
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.question import must_be_plain
from mmactors.explore.world.shared import must_be_declared, operation
from mmactors.label import Mode

V = TypeVar("V", bound=Hashable)


class _CellSteps:
    """The steps of one cell, made once a search."""

    __slots__ = (
        "add",
        "add_return",
        "clear",
        "cmpxchg",
        "dec_and_test",
        "read",
        "until",
        "write",
        "xchg",
    )

    def __init__(self, steps: StepTable, name: str) -> None:
        def of(operation: str, mode: Mode, *, may_fail: bool = False) -> Step:
            return steps.of(f"{operation} {name}", ((name, mode),), may_fail=may_fail)

        self.read: Final = of("read", Mode.READ)
        self.until: Final = of("wait for", Mode.READ)
        self.write: Final = of("write", Mode.WRITE)
        self.add: Final = of("add", Mode.ADD)
        self.add_return: Final = of("add_return", Mode.WRITE)
        self.dec_and_test: Final = of("dec_and_test", Mode.WRITE)
        self.clear: Final = of("get_and_clear", Mode.WRITE)
        self.xchg: Final = of("xchg", Mode.WRITE)
        self.cmpxchg: Final = of("cmpxchg", Mode.WRITE, may_fail=True)


class SharedCell(Generic[V]):
    """A shared value with atomic operations."""

    __slots__ = ("_engine", "_name", "_named", "_steps", "_value", "name")

    def __init__(self, engine: SearchEngine, name: str, value: V) -> None:
        self.name: Final = name
        self._engine: Final = engine
        self._value = value
        self._named: object = None
        """The value whose name is kept."""
        self._name: Hashable = None
        self._steps: Final = _CellSteps(engine.steps, name)

    def renew(self, value: V) -> None:
        """Be the cell of this name in the next schedule."""
        self._value = value

    @property
    def value(self) -> V:
        """The value: for laws and reports, and for actors in a `world.step` that declares it."""
        if self._engine.running is not None:
            must_be_declared(self._engine, self.name, may_write=False)
        return self._value

    @value.setter
    def value(self, value: V) -> None:
        if self._engine.running is not None:
            must_be_declared(self._engine, self.name, may_write=True)
        self._value = value

    def __repr__(self) -> str:
        return f"<{self.name}: {self._value!r}>"

    def key(self) -> Hashable:
        """Return the value, by type and content."""
        value = self._value
        if value.__class__ in PLAIN:
            return value
        if value is not self._named:
            self._name = exact(value)
            self._named = value
        return self._name

    def held(self) -> tuple[object, ...]:
        """Return the value, for who looks at whether it is changed in place."""
        return (self._value,)

    def show(self) -> str:
        """Return the value as text."""
        return repr(self._value)

    @operation
    def read(self) -> Generator[object, None, V]:
        """Return the value (READ_ONCE, atomic_read)."""
        engine = self._engine
        engine.parked = self._steps.read
        yield PARK
        if engine.detour:
            yield from engine.take_interrupts(self._steps.read).__await__()
        return self._value

    @operation
    def write(self, value: V) -> Generator[object, None, None]:
        """Set the value (WRITE_ONCE, atomic_set)."""
        engine = self._engine
        engine.parked = self._steps.write
        yield PARK
        if engine.detour:
            yield from engine.take_interrupts(self._steps.write).__await__()
        self._value = value

    async def until(self, is_good: Callable[[V], bool]) -> V:
        """Wait, without spinning, until `is_good(value)`; return the value.

        A loop that reads until it sees what it wants is this: the reads that see nothing new do not
        matter. `is_good` looks at the value and at nothing else.
        """
        must_be_plain("the condition", is_good)
        engine = self._engine
        actor = engine.current
        step = self._steps.until
        actor.gate = lambda: is_good(self._value)  # type: ignore[attr-defined]
        engine.parked = step
        await PARKING
        if engine.detour:
            await engine.take_interrupts(step)
        actor.gate = None  # type: ignore[attr-defined]
        return self._value

    async def xchg(self, value: V) -> V:
        """Set the value and return what was there."""
        await self._turn(self._steps.xchg)
        before = self._value
        self._value = value
        return before

    async def cmpxchg(self, *, expected: V, value: V) -> bool:
        """Set the value if it is `expected`; return whether it was (try_cmpxchg)."""
        await self._turn(self._steps.cmpxchg)
        if self._value != expected:
            return False
        actor: Any = self._engine.running
        actor.acted()
        self._value = value
        return True

    @operation
    def _turn(self, step: Step) -> Generator[object, None, None]:
        engine = self._engine
        engine.parked = step
        yield PARK
        if engine.detour:
            yield from engine.take_interrupts(step).__await__()


class SharedCount(SharedCell[int]):
    """A shared integer."""

    __slots__ = ()

    async def add(self, value: int) -> None:
        """Add without looking (atomic_add); adds commute with adds."""
        await self._turn(self._steps.add)
        self._value += value

    async def inc(self) -> None:
        """Add one without looking (atomic_inc)."""
        await self.add(1)

    async def add_return(self, value: int) -> int:
        """Add and return the new value (atomic_add_return)."""
        await self._turn(self._steps.add_return)
        self._value += value
        return self._value

    async def dec_and_test(self) -> bool:
        """Subtract one and return whether that made it zero (atomic_dec_and_test)."""
        await self._turn(self._steps.dec_and_test)
        self._value -= 1
        return self._value == 0

    async def get_and_clear(self) -> int:
        """Set zero and return what was there (ptep_get_and_clear)."""
        await self._turn(self._steps.clear)
        before = self._value
        self._value = 0
        return before
