"""Per-CPU memory for the threads of a machine, and its balance work.

Imports of actors/ vmalloc, slab, alloc, tlb and state.
"""
