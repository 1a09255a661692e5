"""Atomics for models, with the orders of C and C++ as x86 compiles them.

A load is a plain load and a store a plain store, whatever they acquire or release: x86 keeps loads
in order, and stores in order (x86-TSO). A sequentially consistent store is a locked exchange, and
everything that reads and writes at once is locked in every order. So the orders differ only where
stores may be late (`STORE_IS_LATE`), and only for stores. What a compiler may do with a relaxed
access is left out.
"""

from collections.abc import Hashable
from typing import Any, Final, Literal

from mmactors.errors import Place, Problem, UserError
from mmactors.explore.engine.exact import exact
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.shared import Shared, must_be_declared
from mmactors.label import Mode

Order = Literal["relaxed", "acquire", "release", "acq_rel", "seq_cst"]
_LOADS: Final = ("relaxed", "acquire", "seq_cst")
_STORES: Final = ("relaxed", "release", "seq_cst")
_BOTH: Final = ("relaxed", "acquire", "release", "acq_rel", "seq_cst")


class SharedAtomic(Shared):
    """A shared value; all operations are sequentially consistent unless they say otherwise."""

    __slots__ = ("_add", "_cmpxchg", "_fetch_add", "_load", "_store_step", "_value", "_xchg")

    def __init__(self, engine: SearchEngine, name: str, value: Any) -> None:
        super().__init__(engine, name)
        self._value = value
        self._load: Final = self._step("load", Mode.READ)
        self._store_step: Final = self._step("store")
        self._xchg: Final = self._step("xchg")
        self._cmpxchg: Final = self._step("cmpxchg", may_fail=True)
        self._fetch_add: Final = self._step("fetch_add")
        self._add: Final = self._step("add", Mode.ADD)

    @property
    def value(self) -> Any:
        """The value in memory: for laws, and for actors in a `world.step` that declares it."""
        must_be_declared(self._engine, self.name, may_write=False)
        return self._value

    def key(self) -> Hashable:
        """Return the value, by type and content."""
        return exact(self._value)

    def held(self) -> tuple[object, ...]:
        """Return the value, for who looks at whether it is changed in place."""
        return (self._value,)

    def show(self) -> str:
        """Return the value as text."""
        return repr(self._value)

    async def load(self, order: Order = "seq_cst") -> Any:
        """Return the value: mov, in every order."""
        self._expect(order, _LOADS, "load")
        await self._turn(self._load)
        newest = self._newest(self._buffer())
        return self._value if newest is None else newest.value

    async def store(self, value: Any, order: Order = "seq_cst") -> None:
        """Set the value: mov, but xchg if it is sequentially consistent."""
        self._expect(order, _STORES, "store")
        if order == "seq_cst":
            await self._locked(self._store_step)
            self._become(value)
        else:
            await self._store(self._store_step, lambda: self._become(value), value)

    async def xchg(self, value: Any, order: Order = "seq_cst") -> Any:
        """Set the value and return what was there (exchange)."""
        self._expect(order, _BOTH, "xchg")
        await self._locked(self._xchg)
        before = self._value
        self._value = value
        return before

    async def cmpxchg(self, *, expected: Any, value: Any, order: Order = "seq_cst") -> bool:
        """Set the value if it is `expected`; return whether it was (compare_exchange_strong)."""
        self._expect(order, _BOTH, "cmpxchg")
        await self._locked(self._cmpxchg)
        if self._value != expected:
            return False
        self._acted()
        self._value = value
        return True

    async def fetch_add(self, number: int, order: Order = "seq_cst") -> Any:
        """Add and return what was there: lock xadd."""
        self._expect(order, _BOTH, "fetch_add")
        await self._locked(self._fetch_add)
        before = self._value
        self._value = before + number
        return before

    async def add(self, number: int, order: Order = "seq_cst") -> None:
        """Add without looking: lock add; adds commute with adds."""
        self._expect(order, _BOTH, "add")
        await self._locked(self._add)
        self._value += number

    def _become(self, value: Any) -> None:
        self._value = value

    def _expect(self, order: str, legal: tuple[str, ...], what: str) -> None:
        if order not in legal:
            raise UserError(
                Problem(
                    place=Place(f"{what} {self.name}"),
                    found=f"the order is {order!r}",
                    legal=f"expected one of {', '.join(legal)}",
                    advice="leave it out for seq_cst; a load cannot release, nor a store acquire",
                )
            )
