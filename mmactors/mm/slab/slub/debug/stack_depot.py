"""Stacks that callers of the allocator had, each kept once (lib/stackdepot.c, v6.1)."""

from attrs import define, field


@define(eq=False)
class StackDepot:
    """The stacks that were seen; a handle is 1 + a number (lib/stackdepot.c)."""

    _handles: dict[tuple[str, ...], int] = field(factory=dict)
    _stacks: list[tuple[str, ...]] = field(factory=list)

    def save(self, stack: tuple[str, ...]) -> int:
        """Return the handle of a stack."""
        handle = self._handles.get(stack)
        if handle is None:
            self._stacks.append(stack)
            handle = self._handles[stack] = len(self._stacks)
        return handle

    def fetch(self, handle: int) -> tuple[str, ...]:
        """Return the stack of a handle; of one that somebody overwrote, nothing."""
        return self._stacks[handle - 1] if 0 < handle <= len(self._stacks) else ()
