"""Recordings of C libraries' allocators against the model.

May import form.py, document.py and result.py, of malloc/ the libraries, and of workload/ the
readers of heap traces.
"""
