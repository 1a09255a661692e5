"""The engine without time: steps, actors that a search gives turns to, store buffers.

Imports no other room of explore/.
"""
