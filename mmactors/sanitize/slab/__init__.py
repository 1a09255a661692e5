"""Checkers of the kernel's objects: who has which (objects.py), and what slabs hold (walk.py)."""
