"""What glibc's calls tell of its own heap in a process that is linked with another library.

That heap was never used: glibc's malloc_info, malloc_stats and mallinfo2 find an empty main arena.
"""

from typing import Final

from mmactors.malloc.library import HeapNumbers

UNUSED_NUMBERS: Final = HeapNumbers(ordblks=1)
"""mallinfo2 of a heap that was never used: its top counts as a block."""
_NOTHING: Final = """\
<system type="current" size="0"/>
<system type="max" size="0"/>
<aspace type="total" size="0"/>
<aspace type="mprotect" size="0"/>
"""
UNUSED_INFO: Final = f"""\
<malloc version="1">
<heap nr="0">
<sizes>
</sizes>
<total type="fast" count="0" size="0"/>
<total type="rest" count="1" size="0"/>
{_NOTHING}</heap>
<total type="fast" count="0" size="0"/>
<total type="rest" count="1" size="0"/>
<total type="mmap" count="0" size="0"/>
{_NOTHING}</malloc>
"""
"""malloc_info of it."""
UNUSED_STATS: Final = """\
Arena 0:
system bytes     =          0
in use bytes     =          0
Total (incl. mmap):
system bytes     =          0
in use bytes     =          0
max mmap regions =          0
max mmap bytes   =          0
"""
"""malloc_stats of it."""
