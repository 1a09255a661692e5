"""Caches of threads: lists of free blocks by class, and how large they may be."""
