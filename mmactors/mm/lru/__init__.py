"""The lists of pages by use, and the batches on their way there.

May import area/, rmap/, vmstat.py.
"""
