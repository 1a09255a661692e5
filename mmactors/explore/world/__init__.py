"""What is explored: a world of actors, and the objects that they share, a file each.

May import engine/.
"""
