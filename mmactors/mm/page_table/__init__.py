"""Tables and entries: where they lie, how they are read, what an absent one says.

Imports no other room of mm/.
"""
