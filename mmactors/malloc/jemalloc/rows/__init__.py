"""Rows of heap traces in compiled loops, and what goes on where they stop."""
