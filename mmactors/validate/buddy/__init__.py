"""Recordings of the page allocator against the model.

May import result.py, and of mm/ the allocator.
"""
