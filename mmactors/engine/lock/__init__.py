"""The kernel's locks in virtual time, RCU and sequence counts; who watches and counts them.

Uses the baton and CPUs; knows nothing of memory.
"""
