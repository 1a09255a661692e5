"""Areas of an address space: struct mm_struct, vma, their tree, splitting and merging, anon_vma.

May import vmstat.py, page_table/, slab/. The one room whose modules know each other in a circle, as
mm_struct, vma and anon_vma do.
"""
