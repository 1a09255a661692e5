"""Per-CPU memory: areas of which each CPU has its own copy (mm/percpu.c, v6.1).

Imports of mm/ only vmalloc, boot (how the units lie) and page_alloc (flags).
"""
