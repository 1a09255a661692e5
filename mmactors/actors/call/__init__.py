"""System calls on areas, as the kernel does them.

May import all rooms of actors/ but daemon/ and program/.
"""
