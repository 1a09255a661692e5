"""Recordings of the per-CPU allocator against the model.

May import form.py, document.py and result.py, and of mm/ the per-CPU allocator.
"""
