"""Caches of objects: SLUB (slub/), and what all object allocators share.

Imports of mm/ only page_alloc (flags, orders) and vmstat.
"""
