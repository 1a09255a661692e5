"""SLOB, the object allocator of small machines (mm/slob.c, v6.1; removed in v6.4).

Imports of mm/ what slab/ imports.
"""
