"""The buddy allocator: zones, per-CPU lists, watermarks, isolation.

May import vmstat.py.
"""
