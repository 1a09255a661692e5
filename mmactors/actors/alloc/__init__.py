"""Allocating and freeing: pages, page tables, isolation, hotplug, and the actor that is zone->lock.

May import state/. Never what reclaims: it asks for that (the slow path, `state/slow_path.py`).
"""
