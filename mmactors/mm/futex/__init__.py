"""What futexes are told apart by, and in which bucket they are (kernel/futex, v6.1).

Imports nothing of mm/.
"""
