"""The kernel's own addresses: areas of vmalloc, blocks of vm_map_ram, mappings of init_mm.

May import page_table/, and of slab/ and page_alloc/ flags, sites and requests.
"""
