"""All counters of a machine: what there is (`table.py`), its values (`read.py`), samples in time.

May import what observe/ may.
"""
