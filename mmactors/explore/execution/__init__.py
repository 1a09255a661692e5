"""One schedule: whose turn it can be, what each actor did and saw, how it broke.

May import engine/, world/.
"""
