"""Readers of recorded traces, one file a format.

Imports no other room of workload/.
"""
