"""What a kernel module does for a program with the kernel's object allocators.

Imports of actors/ what program/ imports.
"""
