"""Recorded heap traces: readers, one file a format, writers, and what is legal in them.

Of other rooms of workload/ it imports only trace/, which knows files.
"""
