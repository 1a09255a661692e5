"""Recordings of TLBs and caches against the model.

May import result.py, hw/, and of mm/ the page table.
"""
