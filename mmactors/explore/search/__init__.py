"""A whole search: its options, budget, processes, verdict, shrinking, report.

The top of explore/: may import all other rooms.
"""
