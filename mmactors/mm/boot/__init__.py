"""From the memory map of the firmware to zones: e820, memblock, sizes, watermarks.

May import page_alloc/.
"""
