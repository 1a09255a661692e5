"""Caches of objects.

Imports no other room of mm/.
"""
