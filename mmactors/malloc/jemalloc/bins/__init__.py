"""Bins of an arena: its slabs, and the regions of these."""
