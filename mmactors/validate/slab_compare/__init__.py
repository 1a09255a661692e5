"""Recordings of the same requests on SLAB, SLOB and SLUB against the models.

May import form.py, document.py and result.py, of mm/ the object allocators, of observe/ the
figures that runs have too (object_usage.py).
"""
