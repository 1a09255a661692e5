"""Checks of programs: what they do with the blocks that their C library's allocator gave them."""
