"""A file's pages: finding, reading, truncating, writing back.

May import state/, alloc/, tlb/, rmap/, entries/.
"""
