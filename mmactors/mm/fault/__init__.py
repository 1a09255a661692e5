"""Page faults: what is decided, from the exception to the entry; get_user_pages.

May import lru/ and what lies below it.
"""
