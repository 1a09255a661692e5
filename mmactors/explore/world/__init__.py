"""What is explored: a world of actors, cells, locks, mailboxes.

May import engine/.
"""
