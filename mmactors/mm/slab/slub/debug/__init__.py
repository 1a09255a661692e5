"""What SLUB checks and says when it is told to debug, and what any kernel says of broken objects.

Imports of slub/ only what it looks at: caches, layouts, lists.
"""
