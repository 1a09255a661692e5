"""Programs: processes, threads, the interpreter of operations, and what each operation does.

The top of actors/: may import all other rooms.
"""
