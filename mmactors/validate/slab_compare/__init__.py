"""Recordings of the same requests on SLAB, SLOB and SLUB against the models.

May import form.py, document.py and result.py, and of mm/ the object allocators.
"""
