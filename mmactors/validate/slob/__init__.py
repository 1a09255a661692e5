"""Recordings of SLOB against the model.

May import form.py, document.py and result.py, and of mm/ the object allocators.
"""
