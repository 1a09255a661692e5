"""SLUB, the object allocator of Debian's kernel (mm/slub.c, v6.1).

Imports of mm/ what slab/ imports.
"""
