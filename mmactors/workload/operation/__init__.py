"""The operation language: one file a noun, its grammar, and generated access patterns.

May import trace/.
"""
