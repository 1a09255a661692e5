"""Objects of the kernel's caches, allocated and freed from where a CPU stands (mm/slub.c, v6.1).

Imports of actors/ alloc, tlb and state.
"""
