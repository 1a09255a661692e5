"""Moving pages.

May import entries/, reclaim/ and what lies below them.
"""
