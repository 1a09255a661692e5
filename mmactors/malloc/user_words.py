"""The words that a C library wrote into its process's memory, and which of them it touches.

User memory holds tags in this machine (docs/ARCHITECTURE.md), not bytes; what an allocator keeps in
it, headers of chunks, links of free ones, arenas, thread caches, is here, by virtual address: 64-bit
words in pages of 512, found by a hash of the page's number. A page that was never written reads 0.
"""
