"""How processes begin and end: fork, kill, wait, signals, and who is told of it.

May import everything below this folder but the other rooms of `program/`.
"""
