"""What the kernel's own mappings hold, as text: the teller's part of mm/vmalloc (told/told.py)."""

from typing import Final

from mmactors.actors.state.kernel import Kernel
from mmactors.mm.vmalloc.vmap_block import BlockLink, VmapBlock

Parts = dict[str, str]
_FEW: Final = 4
"""So many blocks of a list are named."""


class ToldVmalloc:
    """The parts of blocks and of their lists on one machine."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel: Final = kernel

    def block(self, index: int) -> Parts:
        """Return what a block of vm_map_ram has left, and has had unmapped."""
        space = self._kernel.vmalloc_space
        block = None if space is None else space.blocks.get(index)
        if block is None:
            return {}
        of = f"of block {index}"
        return {f"free pages {of}": f"{block.free}", f"dirty pages {of}": f"{block.dirty}"}

    def queue(self, cpu: int) -> Parts:
        """Return the list of a CPU's blocks, forth and back."""
        space = self._kernel.vmalloc_space
        if space is None:
            return {}
        head = space.queues[cpu]
        of = f"of cpu{cpu}"
        return {
            f"blocks {of}": self._walk(head, is_forth=True),
            f"blocks {of}, backwards": self._walk(head, is_forth=False),
        }

    def _walk(self, head: BlockLink, *, is_forth: bool) -> str:
        words: list[str] = []
        link = head.next if is_forth else head.prev
        while link is not head and len(words) <= _FEW:
            words.append(f"{link.index}" if isinstance(link, VmapBlock) else "another list")
            link = link.next if is_forth else link.prev
        more = ", ..." if len(words) > _FEW else ""
        return ", ".join(words[:_FEW]) + more or "none"
