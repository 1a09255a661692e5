"""Futexes: words that threads sleep at, and what is built upon them (kernel/futex, v6.1).

Imports of actors/ what program/ imports.
"""
