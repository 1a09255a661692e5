"""How a test behaves, besides its laws: what it forgets to await, shares unseen, and catches.

May import engine/, world/, and loud.py of execution/.
"""
