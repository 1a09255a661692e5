"""From a page to the areas that map it.

May import area/.
"""
