"""Which schedule comes next: depth first, PCT, POS, a random walk.

May import engine/, world/, execution/.
"""
