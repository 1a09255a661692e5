"""Recorded programs on the machine that `run` runs.

May import result.py, scenario/, actors/; no mechanism of faults, zaps or areas.
"""
