"""The kernel's own mappings, made, used and taken away from where a CPU stands.

Imports of actors/ slab, alloc, tlb and state.
"""
