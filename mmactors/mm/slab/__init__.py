"""Caches of objects: what any allocator of them is (allocator.py), SLUB (slub/), what all share.

Imports of mm/ only page_alloc (flags, orders) and vmstat.
"""
