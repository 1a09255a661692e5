"""Recordings of vmalloc against the model.

May import form.py, document.py and result.py, and of mm/ vmalloc.
"""
