"""Recorded boots: memblock's calls, its lists, and the zones they lead to.

May import mm/ and the rest of validate/.
"""
