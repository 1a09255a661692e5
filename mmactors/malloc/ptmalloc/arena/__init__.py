"""Arenas: which there are, who allocates from which, and the heaps that all but the main one have
(malloc/arena.c).
"""
