"""Flushes, shootdowns and context switches: what CPUs' TLBs forget, and when.

May import state/.
"""
