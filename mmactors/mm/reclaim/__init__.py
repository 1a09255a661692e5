"""Taking pages away from who does not use them.

May import fault/ and what lies below it.
"""
