"""The SLAB allocator of Linux 6.1: arrays of free objects for each CPU and node, before slabs.

Imports of mm/ only page_alloc, vmstat and what all object allocators share.
"""
