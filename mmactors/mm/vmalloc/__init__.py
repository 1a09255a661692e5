"""The kernel's own mappings.

May import page_table/.
"""
